/** What a failure of the driver means for the writes or reads that met it. */
import { LibsqlBatchError, LibsqlError } from '@libsql/client'
import { BursarError } from '../errors.ts'

/**
 * - `busy`: another process holds the file; nothing was written, the same again may work
 * - `lost`: the connection to a server broke; whether it wrote is unknown
 * - `declined`: a server, or what stands before it, did not take the request; nothing was written, nor would be next time
 * - `refused`: a constraint, a trigger or a guard said no; nothing was written
 * - `broken`: the file or the disk fails; nothing was written. But where the disk failed as a commit was being made sure,
 *   and the process dies before it commits again, the next one may find that commit in the log
 * - `bug`: anything else, such as wrong SQL
 */
export type Failure = 'busy' | 'lost' | 'declined' | 'refused' | 'broken' | 'bug'

/** SQLite's extended code for a file that was moved since it was opened. */
export const MOVED_CODE = 'SQLITE_READONLY_DBMOVED'

const BROKEN = new Set([
  'SQLITE_IOERR',
  'SQLITE_FULL',
  'SQLITE_CANTOPEN',
  'SQLITE_CORRUPT',
  'SQLITE_NOTADB',
  'SQLITE_READONLY',
  'SQLITE_PERM',
])

/** In place of an answer: a status that says that nothing was done. */
export class DeclinedRequest extends Error {
  readonly status: number

  constructor(status: number) {
    super(`HTTP ${status}`)
    this.name = 'DeclinedRequest'
    this.status = status
  }
}

/** Whether a request with this status was not even looked at, and would not be the next time: 408, 425 and 429 mean later. */
export function isDeclining(status: number): boolean {
  // 400 comes from the server itself, with its reason.
  return status >= 300 && status < 500 && ![400, 408, 425, 429].includes(status)
}

/** Before anything was sent: the other side does not speak TLS, or is not who it should be. */
const NO_TLS = 'ERR_SSL_WRONG_VERSION_NUMBER'
const CERTIFICATE = /CERT|^UNABLE_TO_(?:VERIFY|GET)/

export function failureOf(thrown: unknown, remote: boolean): Failure {
  const network = networkCode(thrown)
  if (thrown instanceof DeclinedRequest || network === NO_TLS || CERTIFICATE.test(network)) return 'declined'
  const code = codeOf(thrown)
  if (code === 'SQLITE_BUSY' || code === 'SQLITE_LOCKED') return 'busy'
  if (code === 'SQLITE_CONSTRAINT') return 'refused'
  if (BROKEN.has(code)) return 'broken'
  if (remote && !code.startsWith('SQLITE_')) return 'lost'
  return 'bug'
}

/** SQLite's primary code: a server names the extended one, such as SQLITE_IOERR_FSYNC. Otherwise the driver's own. */
function codeOf(thrown: unknown): string {
  const code = thrown instanceof LibsqlError ? thrown.code : ''
  return /^SQLITE_[A-Z]+/.exec(code)?.[0] ?? code
}

/** Of the connection, such as ECONNREFUSED; libraries wrap it. */
function networkCode(thrown: unknown): string {
  for (let error = thrown; error instanceof Error && !(error instanceof LibsqlError); error = error.cause) {
    const { code } = error as { code?: unknown }
    if (typeof code === 'string') return code
  }
  return ''
}

/** Index of the failed statement in its batch, or -1. */
export function failedStatement(thrown: unknown): number {
  return thrown instanceof LibsqlBatchError ? thrown.statementIndex : -1
}

/** For a `broken` failure: what is wrong with the file or its disk. The reader may be a buyer or the seller. */
export function broken(what: string, thrown: unknown, file?: string): BursarError {
  const isMoved = thrown instanceof LibsqlError && thrown.extendedCode === MOVED_CODE
  const [why, remedy] = (isMoved ? MOVED : REASONS[codeOf(thrown)]) ?? [
    `${what}.`,
    'the seller looks at its disk (bursar doctor)',
  ]
  const message = file === undefined ? why : why.replace('The database file', `The database file ${file}`)
  return new BursarError('database_unavailable', message, {
    remedy: `Nothing that was acknowledged is lost. Try again later; ${remedy}.`,
    cause: thrown,
  })
}

const DAMAGED = [
  'The database file is damaged.',
  'the seller stops the till, sees what is wrong with bursar verify, and restores a backup (bursar restore)',
] as const
const READ_ONLY = [
  'The database file, or its folder, cannot be written.',
  'the seller makes both writable for the user that runs Bursar',
] as const
const MOVED = [
  'The database file, or its log, was moved, removed or replaced while it was in use.',
  'the seller stops the till, and starts it again when the file is in its place with what belongs to it (-wal, -shm)',
] as const
const REASONS: Readonly<Record<string, readonly [string, string]>> = {
  SQLITE_FULL: [
    'The disk of the database is full.',
    'the seller frees space on it, and the till goes on by itself',
  ],
  SQLITE_IOERR: ['The disk of the database fails, or is full.', 'the seller looks at it and frees space'],
  SQLITE_CORRUPT: DAMAGED,
  SQLITE_NOTADB: DAMAGED,
  SQLITE_READONLY: READ_ONLY,
  SQLITE_CANTOPEN: READ_ONLY,
  SQLITE_PERM: READ_ONLY,
}

/** The same for a file whose pages were examined, and are wrong. */
export function damaged(thrown: unknown): BursarError {
  const [message, remedy] = DAMAGED
  return new BursarError('database_unavailable', message, {
    remedy: `Nothing was changed; ${remedy}.`,
    cause: thrown,
  })
}

/** For what waited so long behind others that it is not tried any more. */
export function tooLate(): BursarError {
  return unavailable('Too much waits for the database; this was not begun.', undefined)
}

export function unavailable(message: string, cause: unknown): BursarError {
  return new BursarError('database_unavailable', message, {
    remedy: 'Try again in a moment; if it stays, the operator looks at the database (bursar doctor).',
    cause,
  })
}

/** For a `declined` request. @param before what an earlier attempt has left open */
export function declined(thrown: unknown, before = 'Nothing was changed'): BursarError {
  const [message, remedy] =
    thrown instanceof DeclinedRequest
      ? declinedStatus(thrown.status)
      : declinedConnection(networkCode(thrown))
  return new BursarError('database_unavailable', message, {
    remedy: `${before}; the seller ${remedy}.`,
    cause: thrown,
  })
}

function declinedStatus(status: number): readonly [string, string] {
  if (status === 401 || status === 403) {
    return [
      `The database server does not take the token that it is shown, or wants one (HTTP ${status}).`,
      'puts one that is in force into BURSAR_DB (?authToken=...) and starts the till again',
    ]
  }
  if (status < 400) {
    return [
      `The database server sends Bursar to another address (HTTP ${status}), where it does not follow.`,
      'names the server itself in BURSAR_DB',
    ]
  }
  if (status === 404 || status === 405) {
    return [
      `What answers at the address of the database is no libSQL server (HTTP ${status}).`,
      'looks at BURSAR_DB, and at what stands before the server',
    ]
  }
  return [
    `The database server, or what stands before it, refuses a request (HTTP ${status}).`,
    'looks at its log, and at what stands before it',
  ]
}

function declinedConnection(code: string): readonly [string, string] {
  if (code === NO_TLS) {
    return [
      'The database server does not speak TLS there.',
      'writes http:// into BURSAR_DB, or names the port that does',
    ]
  }
  return [
    `The certificate of the database server is not valid here (${code}).`,
    'renews it, or names its authority in NODE_EXTRA_CA_CERTS; or the clock of this machine is wrong',
  ]
}

/** For a server that was asked for long enough: what it did instead of answering. */
export function unreachable(thrown: unknown): string {
  const code = networkCode(thrown)
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `The name of the database server cannot be looked up (${code}).`
  if (code === 'ECONNREFUSED') return 'Nothing listens at the address of the database server.'
  const said = thrown instanceof LibsqlError ? thrown.message : ''
  const [, status] = /HTTP status (\d{3})/.exec(said) ?? []
  if (status !== undefined) return `The database server answers HTTP ${status}.`
  if (thrown instanceof SyntaxError || said.includes('HRANA_PROTO_ERROR')) {
    return 'What answers at the address of the database is no libSQL server.'
  }
  return 'The database server does not answer.'
}
