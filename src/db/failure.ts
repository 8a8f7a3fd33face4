/** What a failure of the driver means for the writes or reads that met it. */
import { LibsqlBatchError, LibsqlError } from '@libsql/client'
import { BursarError } from '../errors.ts'

/**
 * - `busy`: another process holds the file; nothing was written, the same again may work
 * - `lost`: the connection to a server broke; whether it wrote is unknown
 * - `refused`: a constraint, a trigger or a guard said no; nothing was written
 * - `broken`: the file or the disk fails; nothing was written
 * - `bug`: anything else, such as wrong SQL
 */
export type Failure = 'busy' | 'lost' | 'refused' | 'broken' | 'bug'

const BROKEN = new Set([
  'SQLITE_IOERR',
  'SQLITE_FULL',
  'SQLITE_CANTOPEN',
  'SQLITE_CORRUPT',
  'SQLITE_NOTADB',
  'SQLITE_READONLY',
])

export function failureOf(thrown: unknown, remote: boolean): Failure {
  const code = thrown instanceof LibsqlError ? thrown.code : ''
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) return 'busy'
  if (code.startsWith('SQLITE_CONSTRAINT')) return 'refused'
  if (BROKEN.has(code)) return 'broken'
  if (remote && !code.startsWith('SQLITE_')) return 'lost'
  return 'bug'
}

/** Index of the failed statement in its batch, or -1. */
export function failedStatement(thrown: unknown): number {
  return thrown instanceof LibsqlBatchError ? thrown.statementIndex : -1
}

export function unavailable(message: string, cause: unknown): BursarError {
  return new BursarError('database_unavailable', message, {
    remedy: 'Try again in a moment; if it stays, the operator looks at the database (bursar doctor).',
    cause,
  })
}
