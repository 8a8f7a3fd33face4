/** Whether this database came back from a backup and has not been reconciled: it takes no hold, invoice or payment then. */
import { type Db, guard, type Statement, statement } from '../db/db.ts'
import { BursarError } from '../errors.ts'

/** SQL: true while the till is frozen. */
export const IS_RESTORED = 'EXISTS (SELECT 1 FROM restore WHERE confirmed_at IS NULL)'

export function restored(): BursarError {
  return new BursarError('frozen', 'This till was restored from a backup and sells nothing yet.', {
    remedy: 'Ask the seller, who looks with bursar restore --check and then runs bursar restore --confirm.',
  })
}

/** A guard: rolls the batch back while the till is frozen. */
export function notRestored(): Statement {
  return guard(`NOT ${IS_RESTORED}`, [], restored)
}

export interface OpenRestore {
  /** The moment of the backup, Unix milliseconds: nothing after it is known. */
  readonly backupAt: number
}

/** The oldest backup that is not reconciled; null: the till is not frozen. @throws {BursarError} database_unavailable */
export async function openRestore(db: Pick<Db, 'query'>): Promise<OpenRestore | null> {
  const [row] = await db.query<{ at: bigint | null }>(
    'SELECT min(backup_at) AS at FROM restore WHERE confirmed_at IS NULL',
  )
  return row && row.at !== null ? { backupAt: Number(row.at) } : null
}

/**
 * For those who run the till.
 * @throws {BursarError} frozen: it was restored and is not confirmed; database_unavailable
 */
export async function refuseRestored(db: Pick<Db, 'query'>): Promise<void> {
  const open = await openRestore(db)
  if (!open) return
  const at = new Date(open.backupAt).toISOString()
  throw new BursarError('frozen', `This till was restored from a backup of ${at} and is frozen.`, {
    remedy: 'The operator looks with bursar restore --check and then runs bursar restore --confirm.',
    details: { backup_at: at },
  })
}

/** The end of the freeze. */
export function confirmRestore(skipped: number, at: number): Statement {
  return statement('UPDATE restore SET confirmed_at = ?, skipped = ? WHERE confirmed_at IS NULL', [
    BigInt(at),
    BigInt(skipped),
  ])
}
