/**
 * Brings a database to the newest schema: each migration in one commit with the row that records it, so that a crash
 * leaves either none of it or all of it, and two processes that start together apply it once.
 *
 * What `commit()` needs itself (tables `guard` and `operation`) belongs to the first migration of every database.
 */
import { LibsqlError } from '@libsql/client'
import { BursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import { type Db, statement } from './db.ts'

export interface Migration {
  /** 1, 2, 3 ... without gaps. */
  readonly version: number
  readonly name: string
  /** Statements, each ended by a semicolon at the end of a line; a trigger's by `END;`. */
  readonly sql: string
}

/**
 * @throws {BursarError} invalid_config: the database was written by a newer version, or by something else;
 *   database_unavailable
 */
export async function migrate(
  db: Pick<Db, 'commit' | 'query'>,
  migrations: readonly Migration[],
  runtime: Runtime,
): Promise<void> {
  let applied = await appliedVersions(db)
  for (const migration of migrations) {
    const recorded = applied.get(migration.version)
    if (recorded === undefined) {
      try {
        await apply(db, migration, runtime)
      } catch (thrown) {
        // Another process may have been faster; whatever else it was is still wrong on the second look.
        applied = await appliedVersions(db)
        if (!(thrown instanceof LibsqlError) || !applied.has(migration.version)) throw thrown
      }
    } else if (recorded !== migration.name) {
      throw foreign(`its schema ${migration.version} is "${recorded}", here it is "${migration.name}"`)
    }
  }
  const newest = migrations.at(-1)?.version ?? 0
  const found = Math.max(0, ...applied.keys())
  if (found > newest) {
    throw new BursarError(
      'invalid_config',
      `The database has schema ${found}; this version of Bursar knows schemas up to ${newest}.`,
      {
        remedy:
          'Start the newer version of Bursar that wrote it, or restore a backup from before the upgrade.',
      },
    )
  }
}

async function apply(db: Pick<Db, 'commit'>, migration: Migration, runtime: Runtime): Promise<void> {
  const statements = splitStatements(migration.sql).map((sql) => statement(sql))
  const record = statement('INSERT INTO schema_version (version, name, applied_at) VALUES (?, ?, ?)', [
    BigInt(migration.version),
    migration.name,
    BigInt(runtime.now()),
  ])
  const table = statement(`CREATE TABLE IF NOT EXISTS schema_version (
    version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT`)
  // The record comes first: where it is there already, nothing of the migration runs.
  await db.commit([table, record, ...statements])
}

async function appliedVersions(db: Pick<Db, 'query'>): Promise<Map<number, string>> {
  const tables = await db.query<{ name: string }>(
    `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'`,
  )
  if (!tables.some(({ name }) => name === 'schema_version')) {
    if (tables.length > 0) throw foreign('it has tables that Bursar did not make')
    return new Map()
  }
  const rows = await db.query<{ version: bigint; name: string }>('SELECT version, name FROM schema_version')
  return new Map(rows.map(({ version, name }) => [Number(version), name]))
}

function foreign(why: string): BursarError {
  return new BursarError('invalid_config', `The database does not belong to this program: ${why}.`, {
    remedy: 'Give the path of a new file, or of the database that Bursar made (BURSAR_DB).',
  })
}

/** Cuts SQL text into statements by the rule that `Migration.sql` states; not a parser. */
export function splitStatements(sql: string): string[] {
  const statements: string[] = []
  let current: string[] = []
  for (const line of sql.split('\n')) {
    if (current.length === 0 && /^\s*(--.*)?$/.test(line)) continue
    current.push(line)
    const end = /^\s*CREATE TRIGGER\b/i.test(current[0] ?? '') ? /\bEND;\s*$/ : /;\s*$/
    if (!end.test(line) || /^\s*--/.test(line)) continue
    statements.push(current.join('\n').trim())
    current = []
  }
  if (current.length > 0) throw new Error(`A statement does not end: ${current[0]}`)
  return statements
}
