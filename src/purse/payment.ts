/**
 * A payment and its states. Money is set aside before anything is signed; the signed bytes are stored before they are
 * sent; and what may have been sent counts as spent until the chain shows otherwise.
 *
 * | state     | what is certain                                       | takes of the budget       | next                                            |
 * |-----------|-------------------------------------------------------|---------------------------|-------------------------------------------------|
 * | reserved  | nothing is signed                                     | amount + highest fee      | signed; failed when the invoice ends first or its human no longer allows it |
 * | signed    | the signed bytes are stored and were never sent       | amount + highest fee      | unknown; failed as above                        |
 * | unknown   | it may have been sent; no node says that it has it    | amount + highest fee      | broadcast, confirmed, failed; sent again        |
 * | broadcast | a node has taken it; perhaps a block holds it         | amount + highest fee      | confirmed, failed; sent again if nodes forgot it |
 * | confirmed | it is mined and deep enough                           | amount + the fee charged  | -                                               |
 * | failed    | never sent, displaced by another transaction with its nonce, or mined and reverted | nothing, or the fee charged | -    |
 *
 * One that was displaced and whose recipient has the money may be paid all the same (a human sent it again, or nodes have
 * forgotten it): it stays as it is, with its reservation.
 *
 * Triggers in the database allow these steps only, and never change what a payment promises.
 */
import type { Hex } from 'viem'
import { type Arg, type Db, guard, type Statement, statement } from '../db/db.ts'
import { BursarError } from '../errors.ts'

export type State = 'reserved' | 'signed' | 'unknown' | 'broadcast' | 'confirmed' | 'failed'

/** Why a payment waits or failed. */
export type Reason =
  /** No node answered, or not clearly: it may have been sent. */
  | 'no_answer'
  /** A node refused it for lack of funds. */
  | 'refused_funds'
  /** A node refused it because its fee is too low now, or another transaction with its nonce pays more. */
  | 'refused_fee'
  /** A node refused it for a reason of its own. */
  | 'refused'
  /** The invoice ended before it was sent. */
  | 'expired'
  /** Its human no longer allows it, and it was never sent. */
  | 'withdrawn'
  /** Never signed, as far as this database remembers; and the recipient has what it was to get. */
  | 'paid_before'
  /** Another transaction of this wallet took its nonce. */
  | 'displaced'
  /** The same, or no node knows our transaction any more; and the recipient has what it was to get. */
  | 'replaced'
  /** The chain executed it and undid it; only the fee is gone. */
  | 'reverted'

export interface Payment {
  readonly id: string
  readonly payee: string
  readonly payee_name: string
  readonly invoice: string
  readonly rail: string
  readonly network: string
  readonly symbol: string
  readonly decimals: bigint
  readonly contract: string | null
  readonly recipient: string
  readonly amount: string
  readonly expires_at: bigint
  readonly usd: bigint
  readonly amount_usd: bigint
  readonly fee_usd: bigint
  readonly native_price_e8: string
  readonly native_decimals: bigint
  readonly day: string
  readonly month: string
  readonly wallet: string
  readonly gas: bigint
  readonly max_fee_per_gas: string
  readonly max_priority_fee_per_gas: string
  readonly max_fee: string
  readonly state: State
  readonly nonce: bigint | null
  readonly raw: Hex | null
  readonly txid: Hex | null
  readonly reason: Reason | null
  readonly block: bigint | null
  readonly displaced_at: bigint | null
  readonly fee: string | null
  readonly created_at: bigint
  readonly updated_at: bigint
}

/** @throws {BursarError} not_found */
export async function readPayment(db: Db, id: string): Promise<Payment> {
  const [payment] = await db.query<Payment>('SELECT * FROM payment WHERE id = ?', [id])
  if (payment) return payment
  throw new BursarError('not_found', 'This purse has made no payment with that id.', {
    remedy: 'Use the id that paying returned, or look the payment up by its invoice and payee.',
  })
}

export async function findPayment(db: Db, payee: string, invoice: string): Promise<Payment | null> {
  const [payment] = await db.query<Payment>('SELECT * FROM payment WHERE payee = ? AND invoice = ?', [
    payee,
    invoice,
  ])
  return payment ?? null
}

/**
 * Payments on a network that have not ended, in the order in which they take their nonces.
 *
 * @param wallet only those of one wallet; by default also those of wallets that this purse had before.
 */
export function openPayments(db: Db, network: string, wallet?: string): Promise<Payment[]> {
  return db.query<Payment>(
    `SELECT * FROM payment WHERE network = ? AND wallet = coalesce(?, wallet)
       AND state IN ('reserved', 'signed', 'unknown', 'broadcast') ORDER BY nonce IS NULL, nonce, id`,
    [network, wallet ?? null],
  )
}

/** Nonces, contracts and amounts of one network mean something else on another. */
export function mustBeOf({ caip2 }: { readonly caip2: string }, { id, network }: Payment): void {
  if (network !== caip2) throw new Error(`payment ${id} is on ${network}, not on ${caip2}`)
}

type Changes = Partial<
  Pick<Payment, 'state' | 'usd' | 'nonce' | 'raw' | 'txid' | 'reason' | 'block' | 'displaced_at' | 'fee'>
>

/**
 * Moves a payment on, if it is still as it was read: whoever comes second changes nothing.
 *
 * @returns the payment as it now stands, by this step or by another's.
 * @throws {BursarError} database_unavailable
 */
export async function step(db: Db, now: number, from: Payment, to: Changes): Promise<Payment> {
  try {
    await db.commit(stepStatements(now, from, to))
  } catch (error) {
    if (!(error instanceof BursarError) || error.code !== 'conflict') throw error
  }
  return readPayment(db, from.id)
}

/** Ends a payment that was certainly never sent, and gives its money back to the budget. */
export function giveBack(
  db: Db,
  now: number,
  payment: Payment,
  reason: 'expired' | 'withdrawn',
): Promise<Payment> {
  // The signed bytes are forgotten: nobody can send them any more.
  return step(db, now, payment, { state: 'failed', reason, usd: 0n, nonce: null, raw: null, txid: null })
}

function stepStatements(now: number, from: Payment, to: Changes): Statement[] {
  const columns = Object.keys(to) as (keyof Changes)[]
  const values = columns.map((column): Arg => to[column] ?? null)
  return [
    guard(
      'EXISTS (SELECT 1 FROM payment WHERE id = ? AND state = ? AND raw IS ?)',
      [from.id, from.state, from.raw],
      () => new BursarError('conflict', 'The payment has moved on meanwhile.'),
    ),
    statement(
      `UPDATE payment SET ${columns.map((c) => `${c} = ?`).join(', ')}, updated_at = ? WHERE id = ?`,
      [...values, BigInt(now), from.id],
    ),
  ]
}
