/**
 * Takes a reserved payment to a node: sign, store, send. Each step can be repeated after a crash at any point; the
 * bytes that are sent are always the bytes that were stored first.
 */
import { BursarError } from '../errors.ts'
import { nodeAnswer } from './ask.ts'
import { countedNonce, endIfPaid, endUnsent } from './forgotten.ts'
import { EXPIRY_MARGIN_MS } from './payee.ts'
import { openPayments, type Payment, type Reason, step } from './payment.ts'
import type { Network, Purse } from './purse.ts'
import { signPayment } from './transaction.ts'

/**
 * Moves a payment on as far as it goes now. To be called in the network's turn.
 *
 * @param counted what `countedNonce` said, where it has been asked and the recipient has been looked at.
 * @returns the payment: `broadcast`, `unknown` (no node has said that it took it), or `failed` (its invoice ended
 *   before anything was sent).
 * @throws {BursarError} chain_unavailable (before anything was signed), database_unavailable
 */
export async function advance(
  purse: Purse,
  network: Network,
  payment: Payment,
  counted?: number,
): Promise<Payment> {
  let current = payment
  if (current.state === 'reserved' || current.state === 'signed') {
    current = await endIfLate(purse, network, current)
  }
  // One that was reserved for a wallet the purse had before can only end: its key is not here.
  const ours = current.wallet === purse.wallet.address
  if (current.state === 'reserved' && ours) {
    const nonce = counted ?? (await countedNonce(purse, network))
    if (counted === undefined) current = await endIfPaid(purse, network, current)
    if (current.state === 'reserved') current = await signNext(purse, network, current, nonce)
  }
  if (current.state === 'signed') {
    // From here on it may be on its way: said before it is, so that no crash can deny it.
    current = await step(purse.db, purse.runtime.now(), current, { state: 'unknown', reason: 'no_answer' })
  }
  if (current.state === 'unknown') current = await send(purse, network, current)
  return current
}

/**
 * Sends the stored bytes, again or for the first time; a node that has them already has taken them.
 * To be called for a payment that is `unknown` or `broadcast`.
 */
export async function send(purse: Purse, network: Network, payment: Payment): Promise<Payment> {
  if (payment.raw === null) throw new Error(`payment ${payment.id} has no transaction`)
  const reason = await trySend(network, payment.raw)
  if (reason === null) {
    return step(purse.db, purse.runtime.now(), payment, { state: 'broadcast', reason: null })
  }
  if (reason === payment.reason) return payment
  purse.runtime.log.warn({ payment: payment.id, network: network.id, reason }, 'a payment was not taken')
  // Refused or not, a copy may have been passed on: the outcome stays open and its reservation stays.
  return step(purse.db, purse.runtime.now(), payment, { reason })
}

async function endIfLate(purse: Purse, network: Network, payment: Payment): Promise<Payment> {
  if (Number(payment.expires_at) - purse.runtime.now() >= EXPIRY_MARGIN_MS) return payment
  return endUnsent(purse, network, payment, 'expired')
}

/**
 * Signs with the next unused nonce: what the chain has counted, or one above the highest that an open payment holds.
 * Payments take turns, and one that was never sent gives its nonce up only while it is the highest: no gap opens.
 */
async function signNext(purse: Purse, network: Network, payment: Payment, counted: number): Promise<Payment> {
  const open = await openPayments(purse.db, network.caip2, purse.wallet.address)
  const nonce = open.reduce(
    (next, { nonce: held }) => (held === null ? next : Math.max(next, Number(held) + 1)),
    counted,
  )
  const { raw, txid } = await signPayment(network, purse.wallet, payment, nonce)
  return step(purse.db, purse.runtime.now(), payment, { state: 'signed', nonce: BigInt(nonce), raw, txid })
}

const TAKEN = /already known|already imported|known transaction|already exists|alreadyknown/i
const NO_FUNDS = /insufficient funds|insufficient balance|exceeds transaction sender account balance/i
const LOW_FEE = /underpriced|fee too low|fee cap|less than block base fee|replacement/i
const NO_ANSWER = /rate limit|limit exceeded|too many requests|timeout|internal error/i

/** Null: a node has it. Otherwise why not, in our own words. */
async function trySend(network: Network, raw: NonNullable<Payment['raw']>): Promise<Reason | null> {
  try {
    await network.client().sendRawTransaction({ serializedTransaction: raw })
    return null
  } catch (error) {
    const answer = nodeAnswer(error)
    if (answer === null) return 'no_answer'
    if (TAKEN.test(answer)) return null
    if (NO_FUNDS.test(answer)) return 'refused_funds'
    if (LOW_FEE.test(answer)) return 'refused_fee'
    return NO_ANSWER.test(answer) ? 'no_answer' : 'refused'
  }
}

/**
 * Nothing new is signed behind a payment that no node has taken: it would wait for it, or overtake it.
 *
 * @throws {BursarError} payment_unresolved
 */
export function requireResolved(payment: Payment): void {
  // One whose nonce is gone holds nobody up.
  if (payment.state !== 'unknown' || payment.displaced_at !== null) return
  throw new BursarError('payment_unresolved', unresolvedText(payment), {
    remedy:
      payment.reason === 'refused_funds'
        ? `Send funds to ${payment.wallet}; the same transaction is then sent again by itself.`
        : 'Wait: the same transaction is sent again by itself, and never a second one.',
    details: {
      payment_id: payment.id,
      invoice: payment.invoice,
      txid: payment.txid,
      reason: payment.reason,
    },
  })
}

function unresolvedText(payment: Payment): string {
  const why: Record<string, string> = {
    refused_funds: 'the node refuses it because the wallet lacks the funds',
    refused_fee: 'the node refuses it because network fees have risen above its ceiling',
    refused: 'the node refuses it',
  }
  return `The earlier payment ${payment.id} is unresolved: ${why[payment.reason ?? ''] ?? 'no node has answered for it'}.`
}
