/** Books lapsed credits as breakage. Spending never waits for this: a hold books what has lapsed before it. */
import { type Statement, statement } from '../db/db.ts'
import type { Ledger } from './ledger.ts'
import { expireLots, NEVER } from './lots.ts'

const PAGE = 512n

/** In the order of the index on the moment, so that what is not due is not read. */
interface Due {
  readonly id: string
  readonly next_expiry: bigint
}

/**
 * Lets the lots of all accounts lapse that are past their expiry and that no hold needs. Any number of processes may do
 * so at once.
 *
 * @returns how many accounts it looked at. @throws {BursarError} database_unavailable
 */
export async function expireCredits(ledger: Ledger): Promise<number> {
  const at = ledger.runtime.now()
  let seen = 0
  let after: Due = { id: '', next_expiry: -1n }
  for (;;) {
    const due = await ledger.db.query<Due>(
      `SELECT id, next_expiry FROM account WHERE next_expiry <= ? AND (next_expiry, id) > (?, ?)
       ORDER BY next_expiry, id LIMIT ?`,
      [BigInt(at), after.next_expiry, after.id, PAGE],
    )
    if (due.length > 0)
      await ledger.db.commit(
        expireStatements(
          due.map(({ id }) => id),
          at,
        ),
      )
    seen += due.length
    after = due.at(-1) ?? after
    if (BigInt(due.length) < PAGE) return seen
  }
}

function expireStatements(accounts: readonly string[], at: number): Statement[] {
  return [
    expireLots({ accounts }, at),
    statement(
      `UPDATE account SET next_expiry = coalesce(
         (SELECT min(l.expires_at) FROM lot l WHERE l.account = account.id AND l.remaining > 0), ?2)
       WHERE id IN (SELECT value FROM json_each(?1))`,
      [JSON.stringify(accounts), NEVER],
    ),
  ]
}
