/**
 * Reads, on a connection that cannot write. A read that failed may stay open on its connection and show yesterday's
 * rows from then on: every failure gets a new connection.
 */
import type { Client, ResultSet } from '@libsql/client'
import { BursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import { toDriver } from './commit.ts'
import type { Arg, Row, TypedRead } from './db.ts'
import { broken, declined, failureOf, tooLate, unavailable, unreachable } from './failure.ts'
import { type Local, type Result, rowsOf } from './local.ts'
import { createPatience } from './patience.ts'
import { createTurns } from './turns.ts'

export interface Reader {
  query<T = Row>(sql: string, args?: readonly Arg[]): Promise<T[]>
  /** Typed reads over the tables of schema.ts. */
  typed(): Promise<TypedRead>
  close(): void
}

/** Requests to a server at once. */
export const READS_AT_ONCE = 20

export function createReader(from: Local | Client, runtime: Runtime): Reader {
  const remote = !('query' in from)
  const turns = createTurns(READS_AT_ONCE)

  async function run(sql: string, args: readonly Arg[]): Promise<Result> {
    const patience = createPatience(runtime)
    let last: unknown
    const givingUp = (): BursarError => {
      if (last === undefined) return tooLate()
      return unavailable(remote ? unreachable(last) : 'The database does not answer.', last)
    }
    for (;;) {
      try {
        if (!remote) return from.query(sql, args)
        return await turns.take(async () => {
          if (patience.isOver()) throw givingUp()
          return resultOf(await from.execute(toDriver({ sql, args })))
        })
      } catch (thrown) {
        if (thrown instanceof BursarError) throw thrown
        const failure = failureOf(thrown, remote)
        if (remote) from.reconnect()
        if (failure === 'declined') throw declined(thrown)
        if (failure === 'broken') throw broken('The database cannot be read', thrown)
        if (failure !== 'busy' && failure !== 'lost') throw thrown
        last = thrown
        if (!(await patience.wait())) throw givingUp()
      }
    }
  }

  return {
    query: async <T>(sql: string, args: readonly Arg[] = []) => rowsOf(await run(sql, args)) as T[],
    async typed() {
      const { drizzle } = await import('drizzle-orm/sqlite-proxy')
      return drizzle(async (sql, params, method) => {
        const { values } = await run(sql, params.map(toArg))
        // For a single row that is not there, drizzle wants undefined and its type does not say so.
        return { rows: (method === 'get' ? values[0] : values) as unknown[] }
      })
    },
    close: () => from.close(),
  }
}

function resultOf({ columns, rows }: ResultSet): Result {
  return { columns, values: rows.map((row) => Array.from(row)) }
}

/** drizzle's own numbers (LIMIT, OFFSET, counts) are integers; a JS number would bind as REAL. */
function toArg(value: unknown): Arg {
  if (typeof value === 'number') return BigInt(value)
  if (
    value === null ||
    typeof value === 'string' ||
    typeof value === 'bigint' ||
    value instanceof Uint8Array
  ) {
    return value
  }
  throw new BursarError('internal', `A query has a parameter of type ${typeof value}.`)
}
