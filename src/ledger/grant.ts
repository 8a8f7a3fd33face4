/**
 * Credits that come with a payment, and the reversal that takes them back when the payment leaves the chain. Both are
 * statements: the settlement commits them together with the payment, its events and the chain's cursor.
 */
import { guard, type Statement, statement } from '../db/db.ts'
import { BursarError, invalid } from '../errors.ts'
import { MAX_MICRO, type MicroCredits } from '../money.ts'
import { accountExists } from './accounts.ts'
import { expireLots, NEVER, settleLots } from './lots.ts'

export interface Grant {
  /** Of (payment, epoch) or (invoice, epoch): the same ref never grants twice. */
  readonly ref: string
  readonly account: string
  /** Zero is possible: a payment below one micro-credit. */
  readonly credits: MicroCredits
  readonly kind: 'grant' | 'discount'
  /** Unix milliseconds; null: never. */
  readonly expiresAt: number | null
  readonly at: number
}

/**
 * Adds a lot. A debt that a reversal left is covered first. Repeated, it changes nothing.
 *
 * @throws {BursarError} invalid_request; from the commit: not_found (no such account), conflict (this ref has granted
 *   something else)
 */
export function grantStatements({ ref, account, credits, kind, expiresAt, at }: Grant): Statement[] {
  if (credits < 0n || credits > MAX_MICRO)
    throw invalid('A grant must be between zero and a billion credits.')
  const until = expiresAt === null ? NEVER : BigInt(expiresAt)
  return [
    accountExists(account),
    statement(
      `INSERT INTO posting (ref, phase, kind, account, available, held, book, counter, at)
       SELECT ?1, 0, ?2, ?3, ?4, 0, ?5, -?4, ?6
       WHERE NOT EXISTS (SELECT 1 FROM posting WHERE ref = ?1 AND phase = 0)`,
      [ref, kind, account, credits, kind === 'grant' ? 'payments' : 'discounts', BigInt(at)],
    ),
    guard(
      `EXISTS (SELECT 1 FROM posting
        WHERE ref = ?1 AND phase = 0 AND kind = ?2 AND account = ?3 AND available = ?4)`,
      [ref, kind, account, credits],
      () => new BursarError('conflict', `Something else was granted under ${ref} before.`),
    ),
    statement(
      `INSERT INTO lot (ref, account, granted, remaining, expires_at, at) SELECT ?1, ?2, ?3, ?3, ?4, ?5
       WHERE ?3 > 0 AND NOT EXISTS (SELECT 1 FROM lot WHERE ref = ?1)`,
      [ref, account, credits, until, BigInt(at)],
    ),
    settleLots({ accounts: [account] }),
  ]
}

/**
 * Takes back what `ref` granted. What is left of its lot goes; what was spent of it is taken from the other lots, as
 * far as they go; the rest is a debt, the one way in which a balance goes below zero. What had lapsed of the lot is
 * not taken a second time. Repeated, it changes nothing.
 *
 * @throws {BursarError} from the commit: not_found (nothing was granted under this ref)
 */
export function reverseStatements({ ref, at }: { readonly ref: string; readonly at: number }): Statement[] {
  return [
    expireLots({ ofLot: ref }, at),
    statement(
      `INSERT INTO posting (ref, phase, kind, account, available, held, book, counter, at)
       SELECT ref, 1, 'reverse', account, -available, 0, book, available, ?2 FROM posting
       WHERE ref = ?1 AND phase = 0 AND kind IN ('grant', 'discount')
         AND NOT EXISTS (SELECT 1 FROM posting WHERE ref = ?1 AND phase = 1)`,
      [ref, BigInt(at)],
    ),
    guard(
      "EXISTS (SELECT 1 FROM posting WHERE ref = ? AND phase = 1 AND kind = 'reverse')",
      [ref],
      () => new BursarError('not_found', `Nothing was granted under ${ref}.`),
    ),
    statement('UPDATE lot SET remaining = 0, expired = 0, expired_at = ?2 WHERE ref = ?1', [ref, BigInt(at)]),
    settleLots({ ofLot: ref }),
  ]
}
