/** Changes a database behind the back of its triggers and constraints, as somebody with the file could. */
import { createClient } from '@libsql/client'

export interface Tampered {
  /** Rows that each statement changed. */
  readonly changed: readonly number[]
}

/** Triggers are put back as they were: only the rows tell. */
export async function tamper(url: string, statements: readonly (string | Edit)[]): Promise<Tampered> {
  const client = createClient({ url, concurrency: 1, intMode: 'bigint' })
  try {
    await client.execute('PRAGMA foreign_keys = OFF')
    await client.execute('PRAGMA ignore_check_constraints = ON')
    const found = await client.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
    const rows = found.rows as unknown as readonly { readonly name: string; readonly sql: string }[]
    const results = await client.batch(
      [
        ...rows.map(({ name }) => `DROP TRIGGER ${name}`),
        ...statements.map((each) =>
          typeof each === 'string' ? each : { sql: each.sql, args: [...each.args] },
        ),
        ...rows.map(({ sql }) => sql),
      ],
      'write',
    )
    return {
      changed: results
        .slice(rows.length, rows.length + statements.length)
        .map(({ rowsAffected }) => rowsAffected),
    }
  } finally {
    client.close()
  }
}

export interface Edit {
  readonly sql: string
  readonly args: readonly (string | bigint | null)[]
}

/** Copies what is committed into one new file; returns its URL. */
export async function copy(url: string, path: string): Promise<string> {
  const client = createClient({ url, concurrency: 1 })
  try {
    await client.execute({ sql: 'VACUUM INTO ?', args: [path] })
  } finally {
    client.close()
  }
  return `file:${path}`
}
