/** A database as SQL text and back: fixtures of old versions, and schemas to compare. */
import { createClient } from '@libsql/client'
import type { Db } from '../../src/db/db.ts'

interface Definition {
  readonly type: string
  readonly name: string
  readonly sql: string
}

/** Everything that a migration made, in the order in which it was made. */
export function definitionsOf(db: Pick<Db, 'query'>): Promise<Definition[]> {
  return db.query<Definition>(
    "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%' ORDER BY rowid",
  )
}

/** Tables, rows, then indexes and triggers, so that loading fires none of them. Each statement ends with `;` and a line. */
export async function dump(db: Pick<Db, 'query'>): Promise<string> {
  const definitions = await definitionsOf(db)
  const tables = definitions.filter(({ type }) => type === 'table')
  const lines = tables.map(({ sql }) => `${sql};`)
  for (const { name } of tables) {
    for (const row of await db.query<Record<string, unknown>>(`SELECT * FROM "${name}"`)) {
      const columns = Object.keys(row).join(', ')
      lines.push(`INSERT INTO ${name} (${columns}) VALUES (${Object.values(row).map(literal).join(', ')});`)
    }
  }
  lines.push(...definitions.filter(({ type }) => type !== 'table').map(({ sql }) => `${sql};`))
  return `${lines.join('\n\n')}\n`
}

/** Writes a dump into a new database file. */
export async function load(url: string, sql: string): Promise<void> {
  const client = createClient({ url, concurrency: 1 })
  await client.executeMultiple(`PRAGMA foreign_keys = OFF;\nBEGIN IMMEDIATE;\n${sql}\nCOMMIT;`)
  client.close()
}

function literal(value: unknown): string {
  if (value === null) return 'NULL'
  if (typeof value === 'bigint') return String(value)
  if (typeof value === 'string') return `'${value.replaceAll("'", "''")}'`
  throw new TypeError(`A fixture has a value of type ${typeof value}.`)
}
