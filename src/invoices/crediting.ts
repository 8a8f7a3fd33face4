/** Which payments of an invoice are credited now, and with how much. Pure. */
import type { Chain, Step } from '../chains/chain.ts'
import { MAX_MICRO, type Quote } from '../money.ts'
import { type Arrival, type Valued, valuePayments } from './pricing.ts'
import type { InvoiceRecord, PaymentRecord, PaymentWait } from './records.ts'

export interface Credit {
  readonly invoice: InvoiceRecord
  /** All payments to the invoice, on any chain. */
  readonly payments: readonly PaymentRecord[]
  /** The chain that was read; payments on others are left to their own watchers. */
  readonly chain: Pick<Chain, 'id'>
  /** Keys of payments that are confirmed and that the endpoints vouch for: no others are credited. */
  readonly vouched: ReadonlySet<string>
  readonly chains: ReadonlyMap<string, Pick<Chain, 'family' | 'assets'>>
  /** Current rates by symbol; a missing one cannot be had now. */
  readonly quotes: ReadonlyMap<string, Quote>
  readonly now: number
}

export interface Credited {
  /** All payments of the invoice, changed or not. */
  readonly payments: readonly PaymentRecord[]
  /** Confirmed, but not credited: why, by key. */
  readonly waiting: ReadonlyMap<string, PaymentWait>
}

/**
 * Credits what is confirmed. When a payment that used the lock has left the chain, what it leaves goes to payments
 * that were credited below the locked rate: they are granted again, as the next epoch, at their new worth.
 */
export function creditInvoice(given: Credit): Credited {
  const { invoice, payments, chain, now } = given
  const credited = payments
    .filter((payment) => payment.state === 'credited')
    .sort((a, b) => (a.creditedAt ?? 0) - (b.creditedAt ?? 0) || compareKeys(a, b))
  const ready = payments
    .filter((payment) => payment.chain === chain.id && given.vouched.has(payment.key))
    .sort((a, b) => (a.height ?? 0) - (b.height ?? 0) || compareKeys(a, b))
  const order = [...credited, ...ready].flatMap((payment) => {
    const arrival = arrivalOf(given, payment)
    return arrival ? [{ payment, arrival }] : []
  })
  const valued = valuePayments(
    invoice,
    order.map(({ arrival }) => arrival),
    MAX_MICRO,
  )

  const changed = new Map<string, PaymentRecord>()
  const waiting = new Map<string, PaymentWait>()
  for (const [i, { payment }] of order.entries()) {
    const value = valued[i]
    if (!value || payment.chain !== chain.id) continue
    if (value.kind === 'unpriced') waiting.set(payment.key, 'rate')
    else if (value.kind === 'too_large') waiting.set(payment.key, 'too_large')
    // What is credited stays credited, should a later version's dust floor be higher.
    else if (value.kind !== 'dust' || payment.state !== 'credited')
      changed.set(payment.key, apply(payment, value, now))
  }
  return { payments: payments.map((payment) => changed.get(payment.key) ?? payment), waiting }
}

/**
 * Deep enough: by the confirmations it needs, or because the chain itself calls its block final. While finality has
 * stalled only the latter counts: blocks that should be final by now and are not may yet be replaced.
 */
export function isConfirmed(
  payment: PaymentRecord,
  chain: Pick<Chain, 'stallBlocks'>,
  step: Pick<Step, 'cursor' | 'finalized' | 'tip'>,
): boolean {
  if (payment.state !== 'confirming' || payment.height === null) return false
  // Counted to the cursor, not to the tip: only up to there is the branch known to be one.
  if (payment.height > step.cursor.height) return false
  if (step.finalized !== null && payment.height <= step.finalized) return true
  return !isStalled(chain, step) && step.cursor.height - payment.height + 1 >= payment.needed
}

/** More blocks are not final than the chain ever has in normal times. */
export function isStalled(
  { stallBlocks }: Pick<Chain, 'stallBlocks'>,
  { tip, finalized }: Pick<Step, 'tip' | 'finalized'>,
): boolean {
  return stallBlocks !== null && finalized !== null && tip.height - finalized > stallBlocks
}

function apply(
  payment: PaymentRecord,
  value: Exclude<Valued, { kind: 'unpriced' | 'too_large' }>,
  now: number,
): PaymentRecord {
  if (value.kind === 'dust') return { ...payment, state: 'failed', pricing: value.pricing }
  if (payment.state === 'credited' && payment.credits === value.credits) {
    return { ...payment, pricing: value.pricing }
  }
  return {
    ...payment,
    state: 'credited',
    epoch: payment.epoch + 1,
    creditedAt: now,
    credits: value.credits,
    pricing: value.pricing,
  }
}

function arrivalOf(given: Credit, payment: PaymentRecord): Arrival | null {
  const chain = given.chains.get(payment.chain)
  const asset = chain?.assets.find((each) => each.symbol === payment.symbol)
  if (!chain || !asset) return null
  return {
    chain: payment.chain,
    family: chain.family,
    symbol: payment.symbol,
    decimals: asset.decimals,
    amount: payment.amount,
    blockTime: payment.blockTime,
    seenAt: payment.seenAt,
    locked: payment.pricing?.locked ?? 0n,
    quote: payment.pricing ? quoteOf(payment) : (given.quotes.get(payment.symbol) ?? null),
  }
}

/** The rate that a payment was credited with: it does not change with the market afterwards. */
function quoteOf({ pricing }: PaymentRecord): Arrival['quote'] {
  if (!pricing || pricing.restPriceE8 === null) return null
  return { priceE8: pricing.restPriceE8, source: pricing.source ?? '', at: pricing.at ?? 0 }
}

function compareKeys(a: PaymentRecord, b: PaymentRecord): number {
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0
}
