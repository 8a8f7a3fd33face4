/** The smallest schema: one table of items, and what commit() itself needs. */
import type { Migration } from '../../src/db/migrate.ts'

export const items: readonly Migration[] = [
  {
    version: 1,
    name: 'items',
    sql: `
CREATE TABLE item (id INTEGER PRIMARY KEY, note TEXT, amount INTEGER) STRICT;
CREATE TABLE part (item INTEGER NOT NULL REFERENCES item(id)) STRICT;
CREATE TABLE operation (id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE guard (failed INTEGER NOT NULL) STRICT;
CREATE TRIGGER guard_raises BEFORE INSERT ON guard BEGIN SELECT RAISE(ABORT, 'guard'); END;
`,
  },
]
