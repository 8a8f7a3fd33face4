/** Seals over the journal (src/ledger/seal.ts): a chain of hashes that shows whether a posting was touched afterwards. */
export const seal = /* sql */ `
CREATE TABLE seal (
  -- AUTOINCREMENT, so that SQLite remembers how many there were when the last ones are cut off.
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  first_posting INTEGER NOT NULL,
  last_posting INTEGER NOT NULL,
  -- SHA-256 of the postings' canonical lines, in order, hex.
  digest TEXT NOT NULL,
  -- Sum of the CRC-32 of each line without its id: the same in any order, so it tells a reordering from a change.
  checksum INTEGER NOT NULL,
  -- Hash of the seal before; zeros for the first.
  previous TEXT NOT NULL,
  -- SHA-256 of all the other columns, hex.
  hash TEXT NOT NULL UNIQUE,
  at INTEGER NOT NULL,
  CHECK (first_posting BETWEEN 1 AND last_posting)
) STRICT;

CREATE TRIGGER seal_is_append_only BEFORE UPDATE ON seal BEGIN SELECT RAISE(ABORT, 'seal is append-only'); END;
CREATE TRIGGER seal_is_kept BEFORE DELETE ON seal BEGIN SELECT RAISE(ABORT, 'seal is append-only'); END;

-- Each seal begins where the one before ended, whoever writes it.
CREATE TRIGGER seal_continues BEFORE INSERT ON seal
BEGIN
  SELECT RAISE(ABORT, 'seal does not continue the chain') WHERE
    NEW.number <> coalesce((SELECT max(number) FROM seal), 0) + 1
    OR NEW.first_posting <> coalesce((SELECT last_posting FROM seal ORDER BY number DESC LIMIT 1), 0) + 1
    OR NEW.previous <> coalesce((SELECT hash FROM seal ORDER BY number DESC LIMIT 1), printf('%064d', 0))
    OR NOT EXISTS (SELECT 1 FROM posting WHERE id = NEW.last_posting);
END;
`
