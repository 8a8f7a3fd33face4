/**
 * How payments change when a chain has been read on. Pure.
 *
 * | was                  | the step says                                  | becomes                       |
 * |----------------------|------------------------------------------------|-------------------------------|
 * | unknown              | in the mempool                                 | seen                          |
 * | unknown              | mined                                          | confirming                    |
 * | seen                 | mined                                          | confirming                    |
 * | seen                 | the mempool was read whole, without it         | replaced                      |
 * | confirming           | forked off, not listed again                   | orphaned                      |
 * | credited             | forked off, not listed again                   | reversed                      |
 * | credited             | forked off, mined again as it was              | credited, in its new block    |
 * | credited             | mined again with another amount, recipient or  | confirming: to be credited    |
 * |                      | on the other side of the lock's end            | again at its new worth        |
 * | any                  | forked off, in the mempool                     | seen                          |
 * | replaced, orphaned,  | in the mempool / mined                         | seen / confirming             |
 * | reversed             |                                                |                               |
 *
 * A payment that was ever credited never ends as replaced or orphaned, but as reversed.
 */
import type { Block, Chain, Step, Transfer } from '../chains/chain.ts'
import type { Atomic } from '../money.ts'
import { arrivedInTime, onRail } from './pricing.ts'
import type { InvoiceRecord, PaymentRecord } from './records.ts'

export interface Observe {
  readonly chain: Pick<Chain, 'id' | 'family'>
  readonly step: Step
  /** Every stored payment that the step could concern: listed, open, or mined above the fork. */
  readonly known: readonly PaymentRecord[]
  readonly invoiceAt: (address: string) => InvoiceRecord | null
  /** Confirmations that credit it. */
  readonly needed: (transfer: Transfer) => number
  readonly now: number
}

/** All `known` payments as they are after the step, changed or not, and the new ones. */
export function observe(given: Observe): PaymentRecord[] {
  // A transaction that has just been mined may still be listed as pending: the block counts.
  const listed = new Map<string, Transfer>()
  for (const transfer of [...given.step.pending, ...given.step.transfers]) listed.set(transfer.key, transfer)
  const known = given.known.map((payment) => {
    const transfer = listed.get(payment.key)
    listed.delete(payment.key)
    if (!transfer) return unlisted(given, payment)
    return transfer.block
      ? mined(given, payment, transfer, transfer.block)
      : pending(given, payment, transfer)
  })
  return [...known, ...[...listed.values()].map((transfer) => firstSeen(given, transfer))]
}

function firstSeen(given: Observe, transfer: Transfer): PaymentRecord {
  return {
    key: transfer.key,
    ...contentOf(given, transfer),
    ...placeOf(transfer.block),
    chain: given.chain.id,
    state: transfer.block ? 'confirming' : 'seen',
    epoch: 0,
    seenAt: given.now,
    waiting: null,
    ...uncredited,
  }
}

function mined(given: Observe, payment: PaymentRecord, transfer: Transfer, block: Block): PaymentRecord {
  const same = isSameContent(payment, transfer)
  if (same && payment.height === block.height && payment.blockHash === block.hash) return payment
  const moved: PaymentRecord = {
    ...payment,
    ...(same ? {} : contentOf(given, transfer)),
    ...placeOf(block),
  }
  if (same && payment.state === 'credited' && payment.pricing?.inTime === isInTime(given, moved)) return moved
  return { ...moved, state: 'confirming', ...uncredited }
}

function pending(given: Observe, payment: PaymentRecord, transfer: Transfer): PaymentRecord {
  if (payment.state === 'seen') return payment
  // Mined, and not forked off: a mempool that lags behind its own chain changes nothing.
  if (payment.height !== null && !isForkedOff(given.step, payment)) return payment
  const content = isSameContent(payment, transfer) ? {} : contentOf(given, transfer)
  return { ...payment, ...content, ...placeOf(null), state: 'seen', ...uncredited }
}

function unlisted({ step }: Observe, payment: PaymentRecord): PaymentRecord {
  if (isForkedOff(step, payment)) return leave(payment, 'orphaned')
  if (payment.state === 'seen' && step.pendingWhole) return leave(payment, 'replaced')
  return payment
}

function leave(payment: PaymentRecord, as: 'orphaned' | 'replaced'): PaymentRecord {
  return { ...payment, ...placeOf(null), state: payment.epoch > 0 ? 'reversed' : as, ...uncredited }
}

function isForkedOff(step: Step, payment: PaymentRecord): boolean {
  return step.forkedAt !== null && payment.height !== null && payment.height > step.forkedAt
}

function isInTime(given: Observe, payment: PaymentRecord): boolean {
  const invoice = given.invoiceAt(payment.address)
  const { family } = given.chain
  return invoice !== null && onRail(invoice, payment) && arrivedInTime(invoice, { ...payment, family })
}

const uncredited = { creditedAt: null, credits: 0n, pricing: null } as const

function placeOf(block: Block | null): Pick<PaymentRecord, 'height' | 'blockHash' | 'blockTime'> {
  return { height: block?.height ?? null, blockHash: block?.hash ?? null, blockTime: block?.time ?? null }
}

/** A transaction that is mined again may do something else: its contract runs on another state. */
function isSameContent(
  payment: PaymentRecord,
  transfer: { readonly symbol: string; readonly to: string; readonly amount: Atomic },
): boolean {
  return (
    payment.amount === transfer.amount &&
    payment.symbol === transfer.symbol &&
    payment.address === transfer.to
  )
}

function contentOf(
  given: Observe,
  transfer: Transfer,
): Pick<PaymentRecord, 'symbol' | 'txid' | 'address' | 'amount' | 'invoice' | 'needed'> {
  return {
    symbol: transfer.symbol,
    txid: transfer.txid,
    address: transfer.to,
    amount: transfer.amount,
    invoice: given.invoiceAt(transfer.to)?.id ?? null,
    needed: given.needed(transfer),
  }
}
