/**
 * A till that was restored from a backup stands still until a human has reconciled it. The row that says so is written
 * into the backup itself, so it holds however the file gets back into its place. A new hold asks for it in
 * the statement that takes a whole group of them (src/ledger/open-holds.ts), so that no single one pays for the look.
 */
export const restore = /* sql */ `
CREATE TABLE restore (
  id TEXT PRIMARY KEY,
  -- What happened after this moment is not in the database.
  backup_at INTEGER NOT NULL,
  -- Null: the till is frozen.
  confirmed_at INTEGER,
  -- Addresses that were skipped, of each key.
  skipped INTEGER,
  CHECK ((confirmed_at IS NULL) = (skipped IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX restore_open ON restore (id) WHERE confirmed_at IS NULL;

CREATE TRIGGER restored_till_sells_nothing BEFORE INSERT ON invoice
BEGIN
  SELECT RAISE(ABORT, 'the till was restored') WHERE EXISTS (SELECT 1 FROM restore WHERE confirmed_at IS NULL);
END;

CREATE TRIGGER restored_till_credits_nothing BEFORE INSERT ON lot
BEGIN
  SELECT RAISE(ABORT, 'the till was restored') WHERE EXISTS (SELECT 1 FROM restore WHERE confirmed_at IS NULL);
END;
`
