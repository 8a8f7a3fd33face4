/**
 * Lots: what each payment granted, and how much of it is left. The lots of an account always add up to what it has,
 * available and held together; below zero there are none. Spent oldest expiry first.
 */
import { type Statement, statement } from '../db/db.ts'

/** The expiry of credits that never expire: 9999-12-31. */
export const NEVER = 253_402_300_799_999n

/** SQL for a set of accounts, column `id`, with one parameter (?1). */
const LISTED = '(SELECT value AS id FROM json_each(?1))'
const OF_LOT = '(SELECT account AS id FROM lot WHERE ref = ?1)'

/**
 * SQL: what of an account `a` has lapsed by a time (the name of a parameter) and is not booked yet. Holds keep alive what
 * expires first.
 */
export function unbookedLapse(now: string): string {
  return `max(0, (SELECT coalesce(sum(l.remaining), 0) FROM lot l
    WHERE l.account = a.id AND l.remaining > 0 AND l.expires_at <= ${now}) - a.held)`
}

export type Accounts = { readonly accounts: readonly string[] } | { readonly ofLot: string }

function sourceOf(set: Accounts): { from: string; arg: string } {
  if ('ofLot' in set) return { from: OF_LOT, arg: set.ofLot }
  return { from: LISTED, arg: JSON.stringify([...new Set(set.accounts)]) }
}

/**
 * Takes what an account's lots hold too much from the lots that expire first: what a capture charged, a debt that a
 * grant covers, or what a reversed lot had already paid for.
 */
export function settleLots(set: Accounts): Statement {
  const { from, arg } = sourceOf(set)
  // It walks from lot to lot only as far as there is something to take: mostly to one of many.
  return statement(
    `WITH RECURSIVE due (account, excess) AS MATERIALIZED (
       SELECT a.id, (SELECT sum(l.remaining) FROM lot l WHERE l.account = a.id AND l.remaining > 0)
         - max(0, a.available + a.held)
       FROM ${from} t CROSS JOIN account a ON a.id = t.id
     ), walk (account, ref, expires_at, amount, rest) AS (
       SELECT l.account, l.ref, l.expires_at, min(l.remaining, d.excess), d.excess - l.remaining
       FROM due d CROSS JOIN lot l ON l.ref = (
         SELECT ref FROM lot f WHERE f.account = d.account AND f.remaining > 0 ORDER BY f.expires_at, f.ref LIMIT 1)
       WHERE d.excess > 0
       UNION ALL
       SELECT l.account, l.ref, l.expires_at, min(l.remaining, w.rest), w.rest - l.remaining
       FROM walk w CROSS JOIN lot l ON l.ref = (
         SELECT ref FROM lot f WHERE f.account = w.account AND f.remaining > 0
           AND (f.expires_at, f.ref) > (w.expires_at, w.ref) ORDER BY f.expires_at, f.ref LIMIT 1)
       WHERE w.rest > 0
     )
     UPDATE lot SET remaining = lot.remaining - walk.amount FROM walk WHERE lot.ref = walk.ref`,
    [arg],
  )
}

/**
 * Lets lots lapse that are past their expiry, except for what holds keep alive: the credits that expire first, which are
 * those that a capture takes. So it does not matter whether this comes before an outcome or after. A trigger posts it.
 * Comes before anything that could bring lapsed credits back: a new hold, a reversal.
 */
export function expireLots(set: Accounts, at: number): Statement {
  const { from, arg } = sourceOf(set)
  return statement(
    `UPDATE lot SET remaining = lot.remaining - lapsed.amount, expired = lot.expired + lapsed.amount, expired_at = ?2
     FROM (
       SELECT ref, min(remaining, remaining + before - held) AS amount FROM (
         SELECT l.ref, l.remaining, a.held,
           ${BEFORE} AS before
         FROM ${from} t JOIN account a ON a.id = t.id AND a.next_expiry <= ?2
           JOIN lot l ON l.account = a.id AND l.remaining > 0 AND l.expires_at <= ?2
       ) WHERE remaining + before > held
     ) AS lapsed
     WHERE lot.ref = lapsed.ref`,
    [arg, BigInt(at)],
  )
}

/** What the lots hold that come before this one. */
const BEFORE = `coalesce(sum(l.remaining) OVER (PARTITION BY l.account ORDER BY l.expires_at, l.ref
  ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)`
