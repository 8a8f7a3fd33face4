/**
 * The one place that writes. Every commit is one transaction, one after the other within this process: to a file on a
 * connection of our own (local.ts), which takes them as they come; to a server as one `batch(..., 'write')`.
 *
 * The driver's durability trap (libsql-client-ts#352): a statement that met SQLITE_BUSY stays open on its connection,
 * and whatever a later `execute(INSERT)` acknowledges there is never committed. Hence no `execute` for writes, and a
 * new connection after every failure that is not a constraint's.
 */
import type { Client, InArgs, ResultSet } from '@libsql/client'
import { BursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import type { Row, Statement } from './db.ts'
import { broken, declined, failedStatement, failureOf, tooLate, unavailable, unreachable } from './failure.ts'
import type { FileWriter } from './file-writer.ts'
import { createPatience, type Patience } from './patience.ts'
import { createTurns } from './turns.ts'

export interface WriterOptions {
  readonly runtime: Runtime
  readonly to: FileWriter | Server
}

/** A libSQL server: a commit's outcome can get lost on the way back. */
interface Server {
  readonly client: Client
}

export interface Writer {
  commit(statements: readonly Statement[]): Promise<Row[][]>
  /** A commit that a key of its own keeps from being applied twice: a migration, which makes `operation` first. */
  commitKeyed(statements: readonly Statement[]): Promise<Row[][]>
  /** As said in `Db`. */
  unwritable(): BursarError | null
  /** Waits for the commits under way, and takes no more. */
  close(): Promise<void>
}

/** To a file: enough that the thread never waits for this side, few enough that a lock stops only these. */
const AT_ONCE = 4

/** Then somebody may try again: whoever is sent elsewhere meanwhile does not find out that it can be written again. */
const REMEMBERED_MS = 60_000

export function createWriter({ runtime, to }: WriterOptions): Writer {
  const underWay = new Set<Promise<unknown>>()
  const turns = createTurns('client' in to ? 1 : AT_ONCE)
  let closed = false
  let failed: { readonly error: BursarError; readonly at: number } | null = null

  function written(): void {
    failed = null
  }

  function notWritten(thrown: unknown): void {
    if (!(thrown instanceof BursarError) || thrown.code !== 'database_unavailable') return
    failed = { error: thrown, at: runtime.now() }
  }

  function write(statements: readonly Statement[], recorded: boolean): Promise<Row[][]> {
    if (closed) return Promise.reject(unavailable('The database is closed.', undefined))
    // From now on, not from its turn: behind a lock that stays, the hundredth would wait a hundred times as long.
    const patience = createPatience(runtime)
    const done = turns.take(async () => {
      if (patience.isOver()) throw tooLate()
      return 'client' in to
        ? await commitRemotely({ client: to.client, runtime, patience }, statements, recorded)
        : await commitLocally(to, patience, statements)
    })
    const ended = done.then(written, notWritten).finally(() => underWay.delete(ended))
    underWay.add(ended)
    return done
  }

  return {
    commit: (statements) => write(statements, true),
    commitKeyed: (statements) => write(statements, false),
    unwritable() {
      const age = failed ? runtime.now() - failed.at : REMEMBERED_MS
      return failed && age >= 0 && age < REMEMBERED_MS ? failed.error : null
    },
    async close() {
      closed = true
      await Promise.all(underWay)
      await ('client' in to ? to.client : to).close()
    },
  }
}

async function commitLocally(
  file: FileWriter,
  patience: Patience,
  statements: readonly Statement[],
): Promise<Row[][]> {
  for (;;) {
    try {
      return await file.commit(statements)
    } catch (thrown) {
      const failure = failureOf(thrown, false)
      if (failure === 'refused') throw meaningOf(thrown, statements, 0)
      if (failure === 'broken') throw broken('The database file cannot be written', thrown)
      if (failure !== 'busy') throw thrown
      if (!(await patience.wait())) throw unavailable('The database stays locked by another process.', thrown)
    }
  }
}

/**
 * A commit to a server carries an operation id as its first row. After a lost answer the row is looked for before
 * anything is sent again; should the lost request arrive late, the row's key refuses the second one.
 */
async function commitRemotely(
  { client, runtime, patience }: Server & { readonly runtime: Runtime; readonly patience: Patience },
  statements: readonly Statement[],
  recorded: boolean,
): Promise<Row[][]> {
  const operation = runtime.id('op')
  const record = {
    sql: 'INSERT INTO operation (id, at) VALUES (?, ?)',
    args: [operation, BigInt(runtime.now())],
  }
  const offset = recorded ? 1 : 0
  let lost = false
  for (;;) {
    try {
      if (lost && recorded && (await isApplied(client, operation))) return await readAgain(client, statements)
      const batch = [...(recorded ? [record] : []), ...statements.map(toDriver)]
      return rowsOf(await client.batch(batch, 'write')).slice(offset)
    } catch (thrown) {
      const failure = failureOf(thrown, true)
      if (failure === 'refused' && recorded && failedStatement(thrown) === 0) {
        lost = true
      } else if (failure === 'refused') {
        throw meaningOf(thrown, statements, offset)
      } else if (failure === 'lost') {
        lost = true
        client.reconnect()
      } else if (failure === 'declined') {
        client.reconnect()
        throw declined(thrown, lost ? 'Whether the last write arrived is not known yet' : undefined)
      } else if (failure !== 'busy') {
        throw failure === 'broken' ? broken('The database server cannot write', thrown) : thrown
      }
      if (!(await patience.wait())) {
        throw unavailable(
          lost
            ? `${unreachable(thrown)} Whether the last write arrived is not known yet.`
            : 'The database server stays busy.',
          thrown,
        )
      }
    }
  }
}

/** Asked as a write, so that a replica cannot answer. */
async function isApplied(client: Client, operation: string): Promise<boolean> {
  const look = { sql: 'SELECT 1 FROM operation WHERE id = ?', args: [operation] }
  const [found] = await client.batch([look], 'write')
  return (found?.rows.length ?? 0) > 0
}

/** The rows of a commit whose answer got lost: what it wrote is there, so its SELECTs find it. */
async function readAgain(client: Client, statements: readonly Statement[]): Promise<Row[][]> {
  const isRead = ({ sql }: Statement): boolean => /^\s*SELECT\b/i.test(sql)
  const reads = statements.filter(isRead)
  const found = reads.length > 0 ? rowsOf(await client.batch(reads.map(toDriver), 'write')) : []
  return statements.map((each) => (isRead(each) ? (found[reads.indexOf(each)] ?? []) : []))
}

function meaningOf(thrown: unknown, statements: readonly Statement[], offset: number): unknown {
  return statements[failedStatement(thrown) - offset]?.otherwise?.() ?? thrown
}

export function toDriver({ sql, args }: Pick<Statement, 'sql' | 'args'>): { sql: string; args: InArgs } {
  return { sql, args: [...args] }
}

function rowsOf(results: readonly ResultSet[]): Row[][] {
  return results.map(({ rows }) => rows as unknown as Row[])
}
