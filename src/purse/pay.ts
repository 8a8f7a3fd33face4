/**
 * Pays an invoice, once: verify, reserve, sign, store, send. What is paid and to whom comes from the verified
 * invoice alone; what may be spent, from the purse's own budget and prices.
 */
import type { PursePayment } from '../bursar.ts'
import { BursarError, invalid } from '../errors.ts'
import type { SignedInvoice } from '../signed-invoice.ts'
import { countedNonce, requireUnpaid } from './forgotten.ts'
import { requireFunds } from './funds.ts'
import { readOrder, requireTime } from './payee.ts'
import { findPayment, openPayments, type Payment, readPayment } from './payment.ts'
import type { Network, Order, Purse } from './purse.ts'
import { bindKey, keyTaken, reserve } from './reserve.ts'
import { resumeOne } from './resume.ts'
import { advance, requireResolved } from './send.ts'
import { boundFee } from './transaction.ts'
import { viewOf } from './view.ts'

export interface PayRequest {
  readonly signed: SignedInvoice
  /** Bound to the invoice; an invoice is paid once with or without it. */
  readonly idempotencyKey?: string
}

/**
 * Pays an invoice, or returns the payment that was made for it before, whatever became of it.
 *
 * @returns the payment; `unknown` means that it may have been sent: it is sent again by itself, the same bytes.
 * @throws {BursarError} invalid_request (altered, malformed), unknown_payee, invoice_not_payable (expired, or not a
 *   rail of this purse), budget_exceeded, insufficient_funds, idempotency_conflict, rate_unavailable,
 *   chain_unavailable (nothing was signed), payment_unresolved (an earlier payment must end first)
 */
export async function payInvoice(purse: Purse, request: PayRequest): Promise<PursePayment> {
  const { idempotencyKey } = request
  if (idempotencyKey !== undefined && !/^[\x20-\x7e]{1,255}$/.test(idempotencyKey)) {
    throw invalid('An idempotency key has 1 to 255 printable ASCII characters.')
  }
  const order = readOrder(purse, request.signed)
  const { payment, replayed } = await purse.turns.take(order.network.caip2, () =>
    payInTurn(purse, order, idempotencyKey),
  )
  return viewOf(purse, replayed ? await asItStands(purse, payment) : payment, replayed)
}

/** @throws {BursarError} not_found */
export async function getPayment(purse: Purse, id: string): Promise<PursePayment> {
  return viewOf(purse, await readPayment(purse.db, id), true)
}

/** The payment of an invoice, or null where there is none. */
export async function getPaymentOf(
  purse: Purse,
  payee: string,
  invoice: string,
): Promise<PursePayment | null> {
  const payment = await findPayment(purse.db, payee, invoice)
  return payment && viewOf(purse, payment, true)
}

async function payInTurn(
  purse: Purse,
  order: Order,
  idempotencyKey: string | undefined,
): Promise<{ payment: Payment; replayed: boolean }> {
  const { network } = order
  await requireKeyIsFree(purse, order, idempotencyKey)
  const earlier = await findPayment(purse.db, order.payee.key, order.invoice)
  if (earlier) {
    if (idempotencyKey !== undefined) await purse.db.commit(bindKey(idempotencyKey, earlier.id))
    return { payment: earlier, replayed: true }
  }
  requireTime(order, purse.runtime.now())
  await finishEarlier(purse, network)
  await requireFunds(purse, order, 0n)
  const fee = await boundFee(network, purse.wallet.address, order)
  await requireFunds(purse, order, fee.maxFee)
  // Asked before anything is reserved: from there on only the database and the key are needed.
  const counted = await countedNonce(purse, network)
  await requireUnpaid(network, order)
  const payment = await reserve(purse, order, fee, idempotencyKey)
  // Its payee has signed the same invoice for another network too, and was asked for that one at the same time.
  if (payment.network !== network.caip2) return { payment, replayed: true }
  return { payment: await advance(purse, network, payment, counted), replayed: false }
}

/**
 * An answer about an earlier payment needs no chain: where none can be reached, it is what is stored. It is looked up
 * on the network that it was reserved for: what is signed for the invoice now may name another.
 */
async function asItStands(purse: Purse, payment: Payment): Promise<Payment> {
  const network = purse.networks.find(({ caip2 }) => caip2 === payment.network)
  if (!network) return payment
  try {
    return await purse.turns.take(network.caip2, async () =>
      resumeOne(purse, network, await readPayment(purse.db, payment.id)),
    )
  } catch (error) {
    if (!(error instanceof BursarError) || error.code !== 'chain_unavailable') throw error
    return readPayment(purse.db, payment.id)
  }
}

async function requireKeyIsFree(purse: Purse, order: Order, key: string | undefined): Promise<void> {
  if (key === undefined) return
  const [bound] = await purse.db.query<{ payee: string; invoice: string }>(
    'SELECT p.payee, p.invoice FROM idempotency i JOIN payment p ON p.id = i.payment WHERE i.key = ?',
    [key],
  )
  if (bound && (bound.payee !== order.payee.key || bound.invoice !== order.invoice)) throw keyTaken()
}

/**
 * Nothing new is signed behind a payment that no node has taken: it would have to wait for it.
 *
 * @throws {BursarError} payment_unresolved, chain_unavailable
 */
async function finishEarlier(purse: Purse, network: Network): Promise<void> {
  for (const payment of await openPayments(purse.db, network.caip2, purse.wallet.address)) {
    if (payment.state !== 'broadcast') requireResolved(await resumeOne(purse, network, payment))
  }
}
