/**
 * One connection to a database file, through the driver beneath @libsql/client. It keeps its statements prepared: to
 * prepare one costs far more than to run it, triggers included, and @libsql/client prepares at every call. Calls block
 * until they are done.
 *
 * The connection is given up after every failure that is not a constraint's, because a statement that failed may stay
 * open on it (libsql-client-ts#352): later writes would be acknowledged and lost, later reads see yesterday's rows.
 */
import { statSync } from 'node:fs'
import { LibsqlBatchError } from '@libsql/client'
import Database from 'libsql'
import { BursarError } from '../errors.ts'
import type { Arg, Row, Statement } from './db.ts'
import { MOVED_CODE } from './failure.ts'

export interface LocalOptions {
  readonly path: string
  /** How long a call waits for another process's lock. */
  readonly busyTimeoutMs: number
  /** `read`: cannot write. */
  readonly use: 'read' | 'write'
  /** Which file stood there when the database was opened (`fileAt`); without it, any will do and none is made. */
  readonly file?: bigint
  /** How long a commit relies on what an earlier one saw of the file's place, milliseconds; by default `PLACE_MS`. */
  readonly placeMs?: number
}

/**
 * Not at each commit: where the system keeps fine timestamps (Linux 6.13), to ask for a file's status makes the next write
 * change its inode as well, and the sync after it wait for that: an eighth of what a lone caller gets.
 */
const PLACE_MS = 100

export interface Local {
  /** Commits all statements or none. Returns the result of each. @throws {LibsqlBatchError} with the statement's index */
  commit(statements: readonly Pick<Statement, 'sql' | 'args'>[]): Result[]
  /** @throws {LibsqlBatchError} */
  query(sql: string, args: readonly Arg[]): Result
  /** Runs SQL without values, whatever rows it has. @throws {LibsqlBatchError} */
  exec(sql: string): void
  /** The file is let go when the prepared statements are collected. */
  close(): void
}

export interface Result {
  readonly columns: readonly string[]
  readonly values: readonly (readonly unknown[])[]
}

interface Prepared {
  readonly statement: Database.Statement
  /** Whether it has rows. */
  readonly reads: boolean
}

interface Connection {
  readonly database: Database.Database
  readonly prepared: Map<string, Prepared>
  /** Which file the log was at the first commit. */
  log?: bigint | undefined
  /** When the place of both was looked at. */
  placedAt?: number
}

/** Statements kept prepared: more than the till has, but for searches that are put together from parts. */
const KEPT = 256

/** Memory for pages, KiB, as they are needed: the upper levels of the indexes over tens of millions of rows. */
const CACHE_KIB = 65_536

/**
 * Pages in the log at which a commit moves them into the file. At the driver's own 1,000 that would be every few groups,
 * each time with two more waits for the disk.
 */
const CHECKPOINT_PAGES = 4_000

/**
 * Bytes that the log keeps when it begins anew. It grows for as long as somebody reads one moment of the file, as a backup
 * or `bursar verify` does, and would keep its greatest size for ever: on a small disk, that is the space it needs.
 */
export const LOG_LIMIT = 67_108_864

export function openLocal(options: LocalOptions): Local {
  let open: Connection | undefined
  let lostLog: unknown

  function use<T>(work: (connection: Connection) => T): T {
    if (lostLog !== undefined) throw lostLog
    try {
      open ??= connect(options)
      return work(open)
    } catch (thrown) {
      if (open && hasLostLog(options, open)) {
        lostLog = thrown
        saveLog(open)
      }
      const error = thrown instanceof LibsqlBatchError ? thrown : errorOf(thrown, -1)
      if (!(error instanceof LibsqlBatchError && error.code === 'SQLITE_CONSTRAINT')) giveUp()
      throw error
    }
  }

  function giveUp(): void {
    const given = open
    open = undefined
    given?.prepared.clear()
    given?.database.close()
  }

  return {
    commit: (statements) => use((connection) => commit(connection, statements, options)),
    query: (sql, args) => use((connection) => runPrepared(connection, sql, args)),
    exec: (sql) => use(({ database }) => void database.exec(sql)),
    close: giveUp,
  }
}

/** What tells one file from another in its place: what SQLite itself compares. Undefined where there is none. */
export function fileAt(path: string): bigint | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino
}

/** @throws {LibsqlBatchError} SQLITE_READONLY_DBMOVED */
function mustBeInPlace(options: LocalOptions, connection: Connection): void {
  const now = performance.now()
  const { placedAt = Number.NEGATIVE_INFINITY } = connection
  if (now - placedAt < (options.placeMs ?? PLACE_MS)) return
  mustBeThere(options)
  mustHaveLog(options, connection)
  connection.placedAt = now
}

/**
 * SQLite goes on writing to files that were moved or removed, in WAL mode without a word: all that is acknowledged from
 * then on is lost, or goes to another place than what a second process writes. And a new connection would make an empty
 * file in its place.
 */
function mustBeThere({ path, file }: LocalOptions): void {
  if (file !== undefined && fileAt(path) !== file)
    throw moved('the database file was moved, removed or replaced')
}

/** The same for its log. It cannot be made good while this process runs: a new one would not be that of the readers. */
function mustHaveLog(options: LocalOptions, connection: Connection): void {
  if (hasLostLog(options, connection)) throw moved('the log of the database was moved or removed')
}

/** Only while the file itself is in its place: the two are moved, and put back, together. */
function hasLostLog({ path, file }: LocalOptions, { log }: Connection): boolean {
  return log !== undefined && fileAt(path) === file && fileAt(`${path}-wal`) !== log
}

/** Moves into the file what was acknowledged and is in the lost log alone, which is there while this connection is. */
function saveLog({ database }: Connection): void {
  try {
    database.exec('PRAGMA wal_checkpoint(FULL)')
  } catch {
    // Whoever commits hears what is wrong.
  }
}

/**
 * Moves what the log holds into the file, for whoever copies the file alone after a clean stop. Waits for nobody: where
 * another process reads or writes at this moment, the rest stays in the log, which is where SQLite looks for it.
 */
export function clearLog({ path, file }: Pick<LocalOptions, 'path' | 'file'>): void {
  try {
    const log = statSync(`${path}-wal`, { throwIfNoEntry: false })
    if (!log || log.size === 0 || (file !== undefined && fileAt(path) !== file)) return
    const database = new Database(path, { timeout: 0 })
    try {
      // Without a lock that others would wait for; what is then left to do under one takes no time.
      database.exec('PRAGMA wal_checkpoint(PASSIVE)')
      database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    } finally {
      database.close()
    }
  } catch {
    // All of it is in the log, as it was.
  }
}

/** SQLite's own error for a file that was moved, which it notices only without a log. */
function moved(message: string): LibsqlBatchError {
  const cause = new Error(message)
  return new LibsqlBatchError(message, -1, 'SQLITE_READONLY', MOVED_CODE, 1032, cause)
}

function connect(options: LocalOptions): Connection {
  const { path, busyTimeoutMs, use } = options
  mustBeThere(options)
  const database = new Database(path, { timeout: busyTimeoutMs })
  const connection = { database, prepared: new Map<string, Prepared>() }
  database.exec(`PRAGMA cache_size = -${CACHE_KIB}`)
  if (use === 'read') {
    database.exec('PRAGMA query_only = ON')
    return connection
  }
  database.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
  database.exec(`PRAGMA journal_size_limit = ${LOG_LIMIT}`)
  // The driver's defaults today; a ledger does not rest on defaults.
  database.exec('PRAGMA synchronous = FULL')
  database.exec('PRAGMA foreign_keys = ON')
  const settings = 'SELECT s.synchronous, f.foreign_keys FROM pragma_synchronous s, pragma_foreign_keys f'
  const [values] = runPrepared(connection, settings, []).values
  if (values?.[0] !== 2n || values[1] !== 1n) {
    throw new BursarError('internal', 'The database does not keep its durability settings.')
  }
  return connection
}

function commit(
  connection: Connection,
  statements: readonly Pick<Statement, 'sql' | 'args'>[],
  options: LocalOptions,
): Result[] {
  const { database } = connection
  let index = -1
  try {
    // exec leaves no statement open when it fails, as a prepared BEGIN that met a lock does.
    database.exec('BEGIN IMMEDIATE')
    connection.log ??= fileAt(`${options.path}-wal`)
    const results: Result[] = []
    for (const { sql, args } of statements) {
      index++
      if (!database.inTransaction) throw new Error('A statement ended the transaction of its commit.')
      results.push(runPrepared(connection, sql, args))
    }
    index = -1
    mustBeInPlace(options, connection)
    database.exec('COMMIT')
    return results
  } catch (thrown) {
    const error = errorOf(thrown, index)
    if (database.inTransaction) database.exec('ROLLBACK')
    throw error
  }
}

const NOTHING: Result = { columns: [], values: [] }

function runPrepared(connection: Connection, sql: string, args: readonly Arg[]): Result {
  const { statement, reads } = connection.prepared.get(sql) ?? prepare(connection, sql)
  if (!reads) {
    statement.run(args)
    return NOTHING
  }
  const values = statement.all(args) as unknown[][]
  // Asked for afterwards: a statement is prepared anew by itself when the schema has changed.
  if (values.length === 0) return NOTHING
  for (const row of values) {
    for (const [index, value] of row.entries()) {
      if (value instanceof Uint8Array) row[index] = new Uint8Array(value).buffer
    }
  }
  return { columns: statement.columns().map(({ name }) => name), values }
}

function prepare({ database, prepared }: Connection, sql: string): Prepared {
  const statement = database.prepare(sql)
  const reads = statement.reader
  if (reads) statement.raw(true).safeIntegers(true)
  const [oldest] = prepared.keys()
  if (prepared.size >= KEPT && oldest !== undefined) prepared.delete(oldest)
  prepared.set(sql, { statement, reads })
  return { statement, reads }
}

export function rowsOf({ columns, values }: Result): Row[] {
  return values.map((row) => Object.fromEntries(columns.map((column, index) => [column, row[index]])))
}

/** SQLite's primary result codes (sqlite.org, "Result and Error Codes"), where the driver has no name for an extended one. */
const PRIMARY: Readonly<Record<number, string>> = {
  5: 'SQLITE_BUSY',
  6: 'SQLITE_LOCKED',
  8: 'SQLITE_READONLY',
  10: 'SQLITE_IOERR',
  11: 'SQLITE_CORRUPT',
  13: 'SQLITE_FULL',
  14: 'SQLITE_CANTOPEN',
  19: 'SQLITE_CONSTRAINT',
}

/** The error that @libsql/client throws in the same case. */
function errorOf(thrown: unknown, index: number): unknown {
  if (thrown instanceof Database.SqliteError) {
    const { message, code, rawCode = 0 } = thrown
    // SQLITE_CONSTRAINT_UNIQUE is a kind of SQLITE_CONSTRAINT.
    const base = PRIMARY[rawCode & 0xff] ?? /^SQLITE_[A-Z]+/.exec(code)?.[0] ?? code
    return new LibsqlBatchError(message, index, base, code, rawCode, thrown)
  }
  // Of a file that cannot be opened, the driver has the code in its words alone.
  const refused = thrown instanceof Error && /^ConnectionFailed\(.*: (\d+)"\)$/.exec(thrown.message)
  const code = refused ? PRIMARY[Number(refused[1]) & 0xff] : undefined
  if (code === undefined) return thrown
  return new LibsqlBatchError(
    (thrown as Error).message,
    index,
    code,
    code,
    Number(refused && refused[1]),
    thrown as Error,
  )
}
