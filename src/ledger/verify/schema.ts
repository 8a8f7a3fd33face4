/** The file itself: that SQLite can read it, that its schema is the one the ledger rests on, that references lead somewhere. */
import { LibsqlError } from '@libsql/client'
import { type Migration, splitStatements } from '../../db/migrate.ts'
import { isMaze, problemsIn } from '../../db/pages.ts'
import type { Snapshot } from '../../db/snapshot.ts'
import { BursarError } from '../../errors.ts'
import type { Check } from './check.ts'
import { type Findings, KEPT_PER_KIND } from './finding.ts'

/** @throws {BursarError} invalid_config: not a database of this version */
export async function requireVersion(snapshot: Snapshot, migrations: readonly Migration[]): Promise<void> {
  const newest = BigInt(migrations.at(-1)?.version ?? 0)
  const [table] = await snapshot.query("SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'")
  const rows = table
    ? await snapshot.query<{ found: bigint | null }>('SELECT max(version) AS found FROM schema_version')
    : []
  const found = rows[0]?.found ?? null
  if (found === newest) return
  throw new BursarError(
    'invalid_config',
    found === null
      ? 'This is not a database of Bursar.'
      : `The database has schema ${found}; this version of Bursar verifies schema ${newest}.`,
    {
      remedy:
        found !== null && found < newest
          ? 'Start this version on it once, which brings it to the newest schema.'
          : 'Use the version of Bursar that wrote it.',
    },
  )
}

/**
 * Reads the whole file, and every constraint of every row. A server does not offer it.
 *
 * @returns false: the pages cannot be relied on to form trees (db/pages.ts). Nothing more may be read then.
 */
export async function checkFile(snapshot: Snapshot, findings: Findings): Promise<boolean> {
  if (snapshot.remote) return true
  const corrupt = (table: string, message: string): void =>
    findings.add({ kind: 'file_corrupt', table, row: '', message })
  try {
    const [first] = await problemsOf(snapshot, 1)
    if (first === undefined) return true
    if (!isMaze(first)) {
      await listProblems(snapshot, findings)
      return true
    }
    const table = await tableOfTree(snapshot, /^Tree (\d+) /.exec(first)?.[1])
    corrupt(table, `The database file is damaged${table && ` in the table ${table}`}; SQLite says: ${first}.`)
  } catch (thrown) {
    if (!(thrown instanceof LibsqlError)) throw thrown
    corrupt('', `The database file is damaged; SQLite says: ${thrown.message}.`)
  }
  return false
}

/** At most so many rows of problems, none when there is none. */
async function problemsOf(snapshot: Snapshot, limit: number): Promise<string[]> {
  const rows = await snapshot.query<{ integrity_check: string }>(`PRAGMA integrity_check(${limit})`)
  return problemsIn(rows.map((row) => row.integrity_check))
}

async function listProblems(snapshot: Snapshot, findings: Findings): Promise<void> {
  for (const problem of await problemsOf(snapshot, KEPT_PER_KIND)) {
    // "CHECK constraint failed in posting", "NULL value in posting.ref", "non-unique entry in index ..."
    const broken = /^(?:CHECK constraint|NULL value|non-\w+ value|\w+ value in|non-unique)/.test(problem)
    findings.add({
      kind: broken ? 'constraint_broken' : 'file_corrupt',
      table: /\bin (\w+)(?:\.\w+)?$/.exec(problem)?.[1] ?? '',
      row: '',
      message: `SQLite says: ${problem}.`,
    })
  }
}

/** Safe in a maze: SQLite has read the schema to its end before it runs any query. */
async function tableOfTree(snapshot: Snapshot, root: string | undefined): Promise<string> {
  if (root === undefined) return ''
  const [tree] = await snapshot.query<{ name: string }>(
    'SELECT CAST(tbl_name AS BLOB) AS name FROM sqlite_schema WHERE rootpage = ?',
    [BigInt(root)],
  )
  return tree?.name ?? ''
}

/** The triggers and constraints are what keeps the ledger right while it runs: each must be as its migration made it. */
export async function checkSchema(
  snapshot: Snapshot,
  findings: Findings,
  migrations: readonly Migration[],
): Promise<void> {
  const rows = await snapshot.query<{ type: string; name: string; sql: string }>(
    "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%'",
  )
  const found = new Map(rows.map(({ type, name, sql }) => [`${type} ${name}`, sql]))
  for (const [name, sql] of expectedSchema(migrations)) {
    const is = found.get(name)
    if (is === sql) continue
    findings.add({
      kind: 'schema_changed',
      table: name.split(' ')[1] ?? '',
      row: name,
      message: is === undefined ? `The ${name} is missing.` : `The ${name} is not as Bursar made it.`,
    })
  }
  for (const { type, name } of rows) {
    if (type !== 'trigger' || expectedSchema(migrations).has(`${type} ${name}`)) continue
    findings.add({
      kind: 'schema_changed',
      table: name,
      row: `trigger ${name}`,
      message: `The trigger ${name} is not one of Bursar's.`,
    })
  }
}

/** What the migrations create and no later one alters or drops. */
function expectedSchema(migrations: readonly Migration[]): ReadonlyMap<string, string> {
  const expected = new Map<string, string>()
  for (const statement of migrations.flatMap(({ sql }) => splitStatements(sql))) {
    const [, verb = '', type = '', name = ''] =
      /^(CREATE|ALTER|DROP)(?: UNIQUE)? (TABLE|INDEX|TRIGGER) (?:IF EXISTS )?(\w+)/.exec(statement) ?? []
    const key = `${type.toLowerCase()} ${name}`
    if (verb === 'CREATE') expected.set(key, statement.replace(/;$/, ''))
    else if (verb !== '') expected.delete(key)
  }
  return expected
}

interface Reference {
  readonly table: string
  /** SQL for the row's key. */
  readonly key: string
  readonly column: string
  readonly parent: string
  readonly parentKey: string
}

const to = (parent: string, parentKey = 'id') => ({ parent, parentKey })
const references: readonly Reference[] = [
  { table: 'agent', key: 'c.id', column: 'account', ...to('account') },
  { table: 'api_key', key: 'c.id', column: 'account', ...to('account') },
  { table: 'api_key', key: 'c.id', column: 'agent', ...to('agent') },
  { table: 'posting', key: 'c.id', column: 'agent', ...to('agent') },
  { table: 'hold', key: 'c.ref', column: 'account', ...to('account') },
  { table: 'hold', key: 'c.ref', column: 'agent', ...to('agent') },
  { table: 'lot', key: 'c.ref', column: 'account', ...to('account') },
  { table: 'spend', key: "c.account || ' ' || c.hour", column: 'account', ...to('account') },
  { table: 'agent_spend', key: "c.agent || ' ' || c.day", column: 'agent', ...to('agent') },
  { table: 'invoice', key: 'c.id', column: 'account', ...to('account') },
  { table: 'invoice', key: 'c.id', column: 'address', ...to('address', 'address') },
  { table: 'payment', key: 'c.key', column: 'invoice', ...to('invoice') },
  { table: 'address', key: 'c.address', column: 'fingerprint', ...to('deriving_key', 'fingerprint') },
  { table: 'receipt', key: 'c.id', column: 'account', ...to('account') },
  { table: 'receipt', key: 'c.id', column: 'agent', ...to('agent') },
  { table: 'idempotency', key: "c.route || ' ' || c.key", column: 'account', ...to('account') },
]

export const referenceChecks: readonly Check[] = references.map(
  ({ table, key, column, parent, parentKey }) => ({
    kind: 'reference_missing',
    table,
    sql: `
    SELECT ${key} AS row, 'The ${column} of ${table} ' || ${key} || ' is ' || c.${column} || ', which does not exist.' AS message
    FROM ${table} c
    WHERE c.${column} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM ${parent} p WHERE p.${parentKey} = c.${column})`,
  }),
)
