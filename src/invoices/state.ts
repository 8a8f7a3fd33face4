/**
 * An invoice's state, derived from its payments and the time. Pure; nothing stores it.
 *
 * "arrived" counts payments that are seen, confirming or credited; "settled" only the credited ones. On the
 * invoice's rail a payment counts with its amount; elsewhere (another coin, the same address on another chain) with
 * the share of the invoice that its credits are. What was refused as dust counts nothing.
 *
 * | first that holds                                | state      |
 * |-------------------------------------------------|------------|
 * | settled >= amount                               | paid       |
 * | arrived >= amount                               | processing |
 * | something was credited and has left the chain   | reversed   |
 * | now >= expiry                                   | expired    |
 * | arrived > 0                                     | partial    |
 * | otherwise                                       | open       |
 *
 * | flag  | when                                                          |
 * |-------|---------------------------------------------------------------|
 * | late  | something arrived after the lock ended                        |
 * | over  | more than the amount arrived                                  |
 * | under | something, but less than the amount, arrived                  |
 *
 * Missing is the amount minus what arrived, never below zero; a view shows no less than what would be credited. A
 * reversed invoice whose payment comes back is processing, then paid, like any other; an expired one that is paid late
 * is paid.
 */
import type { InvoiceState, InvoiceView, PaymentState } from '../bursar.ts'
import { type Atomic, type MicroCredits, max } from '../money.ts'
import { onRail } from './pricing.ts'

export interface Counted {
  readonly state: PaymentState
  /** What it counts towards the invoice, atomic units of the invoice's asset. */
  readonly counts: Atomic
  /** How often it has been credited. */
  readonly epoch: number
  readonly late: boolean
}

export interface Derived {
  readonly state: InvoiceState
  readonly flags: InvoiceView['flags']
  readonly missing: Atomic
  readonly arrived: Atomic
  readonly settled: Atomic
  /** Some of `settled` came after the lock ended. */
  readonly settledLate: boolean
}

export function deriveState(
  invoice: { readonly amount: Atomic; readonly expiresAt: number },
  payments: readonly Counted[],
  now: number,
): Derived {
  const arrivals = payments.filter((payment) => isLive(payment.state))
  const arrived = sum(arrivals)
  const credited = arrivals.filter((payment) => payment.state === 'credited')
  const settled = sum(credited)
  return {
    state: stateOf(),
    flags: [
      ...(arrivals.some((payment) => payment.late) ? (['late'] as const) : []),
      ...(arrived > invoice.amount ? (['over'] as const) : []),
      ...(arrived > 0n && arrived < invoice.amount ? (['under'] as const) : []),
    ],
    missing: max(0n, invoice.amount - arrived),
    arrived,
    settled,
    settledLate: credited.some((payment) => payment.late),
  }

  function stateOf(): InvoiceState {
    if (settled >= invoice.amount) return 'paid'
    if (arrived >= invoice.amount) return 'processing'
    if (payments.some((payment) => payment.epoch > 0 && !isLive(payment.state))) return 'reversed'
    if (now >= invoice.expiresAt) return 'expired'
    return arrived > 0n ? 'partial' : 'open'
  }
}

/** On its way, or there. */
export function isLive(state: PaymentState): boolean {
  return state === 'seen' || state === 'confirming' || state === 'credited'
}

/** What a payment counts towards an invoice, atomic units of the invoice's asset; rounds down. */
export function countedAmount(
  invoice: {
    readonly chain: string
    readonly symbol: string
    readonly amount: Atomic
    readonly credits: MicroCredits
    readonly discount: MicroCredits
  },
  payment: {
    readonly chain: string
    readonly symbol: string
    readonly amount: Atomic
    readonly credits: MicroCredits
  },
): Atomic {
  if (onRail(invoice, payment)) return payment.amount
  return (payment.credits * invoice.amount) / (invoice.credits - invoice.discount)
}

function sum(payments: readonly Counted[]): Atomic {
  return payments.reduce((total, payment) => total + payment.counts, 0n)
}
