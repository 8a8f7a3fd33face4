/**
 * What a database is bound to, whoever opens it (src/invoices/deployment.ts), and what chains and payments wait for
 * (src/invoices/waiting.ts). A database that was in use before is bound to what it was used with.
 */
export const terms = /* sql */ `
CREATE TABLE deployment (
  -- key:<family>, network:<chain>, money, credit_usd
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO deployment (name, value, at)
SELECT 'key:' || family, fingerprint, max(created_at) FROM deriving_key WHERE next_index > 0 GROUP BY family;

INSERT INTO deployment (name, value, at)
SELECT 'network:' || substr(rail, 1, instr(rail, ':') - 1), signed ->> 'network', max(created_at) FROM invoice
WHERE signed ->> 'network' IS NOT NULL GROUP BY 1;

INSERT INTO deployment (name, value, at)
SELECT 'credit_usd', CAST(usd_per_credit AS TEXT), created_at FROM invoice ORDER BY id DESC LIMIT 1;

-- A row while it waits: written when that begins, deleted when it ends.
CREATE TABLE waiting (
  -- chain:<chain>, payment:<key>
  subject TEXT PRIMARY KEY,
  reason TEXT NOT NULL,
  since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`
