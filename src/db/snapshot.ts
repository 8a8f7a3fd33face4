/**
 * A database as it is at one moment, for reading only: many queries see the same state, while others go on writing.
 * Nothing is migrated and no file is made.
 */
import { access } from 'node:fs/promises'
import { BursarError } from '../errors.ts'
import { pathOf } from '../files.ts'
import { connect, nameOf, type OpenDb } from './client.ts'
import { toDriver } from './commit.ts'
import type { Arg, Row } from './db.ts'
import { broken, failureOf, unavailable } from './failure.ts'

export interface Snapshot {
  /** A libSQL server: some PRAGMAs are not to be had there. */
  readonly remote: boolean
  /**
   * Rows of a SELECT. Bytes arrive as text, each broken character as U+FFFD: what may be damaged is read with
   * CAST(... AS BLOB), because the driver cuts text at a NUL and dies of text that is not UTF-8.
   *
   * @throws the driver's error, as it is: whoever examines a database wants to know.
   */
  query<T = Row>(sql: string, args?: readonly Arg[]): Promise<T[]>
  close(): void
}

/** @throws {BursarError} not_found: no such file; database_unavailable */
export async function openSnapshot({
  url,
  runtime,
  authToken,
}: Pick<OpenDb, 'url' | 'runtime' | 'authToken'>): Promise<Snapshot> {
  const remote = !url.startsWith('file:')
  if (!remote) await mustExist(pathOf(url))
  const token = authToken === undefined ? {} : { authToken }
  const opened = async () => {
    const client = connect({ url, runtime, concurrency: 1, busyTimeoutMs: 5_000, ...token })
    try {
      const transaction = await client.transaction('read')
      // Locally the moment is that of the first read.
      await transaction.execute('SELECT count(*) FROM sqlite_schema')
      return { client, transaction }
    } catch (thrown) {
      client.close()
      throw thrown
    }
  }
  try {
    const { client, transaction } = await opened()
    return {
      remote,
      async query<T>(sql: string, args: readonly Arg[] = []) {
        const { columns, rows } = await transaction.execute(toDriver({ sql, args }))
        return rows.map((row) =>
          Object.fromEntries(columns.map((column) => [column, readable(row[column])])),
        ) as T[]
      },
      close() {
        transaction.close()
        client.close()
      },
    }
  } catch (thrown) {
    const what = `The database ${nameOf(url)} cannot be read`
    throw failureOf(thrown, remote) === 'broken'
      ? broken(what, thrown, nameOf(url))
      : unavailable(`${what}.`, thrown)
  }
}

async function mustExist(path: string): Promise<void> {
  try {
    await access(path)
  } catch (cause) {
    throw new BursarError('not_found', `There is no database at ${path}.`, {
      remedy: 'Give the path of one with BURSAR_DB, or start the till once to make it.',
      cause,
    })
  }
}

function readable(value: unknown): unknown {
  return value instanceof ArrayBuffer ? Buffer.from(value).toString('utf8') : value
}
