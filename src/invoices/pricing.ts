/**
 * What a payment is worth in credits. Pure; invariant 10 of the design.
 *
 * A lock covers the invoiced amount, on the invoice's own rail, in time. Everything else that arrives - the part
 * above the amount, a late payment, the same coin on another chain - counts at the lower of the locked and the
 * current rate, so that a payer gains nothing by waiting to see where the market goes. Another coin has no locked
 * rate and counts at the current one. A stablecoin is never worth more than $1.
 *
 * Each payment is valued by itself with a single division, rounding down: the credits of an invoice do not depend
 * on the order in which its payments are looked at, except for who uses up the lock.
 */
import {
  type Atomic,
  ceilDiv,
  MICRO,
  type MicroCredits,
  type MicroUsd,
  min,
  type PriceE8,
  type Quote,
  usdToAtomic,
} from '../money.ts'
import { saleablePrice } from '../rates/rates.ts'

/** How long a Bitcoin payment that was seen in time may take to be mined. */
export const MINED_WITHIN_MS = 3_600_000
/** Below this an EVM or other payment is kept, not credited: it is not worth the gas of collecting it. */
export const DUST_USD: MicroUsd = 10_000n

/** The fewest credits that an invoice is made for, on EVM chains; on Bitcoin that depends on the rate, and is more. */
export function leastSale(usdPerCredit: MicroUsd): MicroCredits {
  return ceilDiv(DUST_USD * MICRO, usdPerCredit)
}
/** Bitcoin Core's dust limit for the largest common output type; smaller outputs are not relayed. */
export const DUST_SATOSHI: Atomic = 546n

export interface Terms {
  readonly chain: string
  readonly symbol: string
  /** What the invoice asks for, atomic units of its asset. */
  readonly amount: Atomic
  /** When the lock ends, Unix milliseconds. */
  readonly expiresAt: number
  readonly priceE8: PriceE8
  readonly usdPerCredit: MicroUsd
}

export interface Arrival {
  readonly chain: string
  readonly family: 'evm' | 'bitcoin'
  readonly symbol: string
  readonly decimals: number
  readonly amount: Atomic
  /** Timestamp of its block, Unix milliseconds; null while it is not mined. */
  readonly blockTime: number | null
  readonly seenAt: number
  /** The part that the lock covered when it was credited before; 0 for a new payment. */
  readonly locked: Atomic
  /** The current rate, or the one this payment was credited with before; null: none can be had now. */
  readonly quote: Pick<Quote, 'priceE8' | 'source' | 'at'> | null
}

/** How a payment was valued: enough to value it again, or to explain it years later. */
export interface Pricing {
  readonly inTime: boolean
  /** The part that the lock covered, atomic units. */
  readonly locked: Atomic
  readonly lockedPriceE8: PriceE8
  /** The rest, and the price it counted at; the price is null where there was no rest. */
  readonly rest: Atomic
  readonly restPriceE8: PriceE8 | null
  readonly source: string | null
  /** When the current rate was quoted, Unix milliseconds. */
  readonly at: number | null
  /** Value at receipt, rounded down. */
  readonly usd: MicroUsd
}

export type Valued =
  | { readonly kind: 'credit'; readonly credits: MicroCredits; readonly pricing: Pricing }
  /** Below the rail's dust floor, or worth less than a micro-credit: kept, not credited. */
  | { readonly kind: 'dust'; readonly pricing: Pricing }
  /** Needs a current rate, and there is none: it waits. */
  | { readonly kind: 'unpriced' }
  /** Worth more credits than one grant can be: it waits for the seller. */
  | { readonly kind: 'too_large' }

/**
 * Values the payments of one invoice. Payments that were credited before keep the part of the lock that they have;
 * what is left of it, also when another payment left the chain, goes to the arrivals in the order given.
 *
 * @param most credits that one payment may be worth; more of them are `too_large`
 */
export function valuePayments(terms: Terms, arrivals: readonly Arrival[], most?: MicroCredits): Valued[] {
  let free = arrivals.reduce((left, arrival) => left - arrival.locked, terms.amount)
  return arrivals.map((arrival) => {
    const valued = within(valueOne(terms, arrival, arrival.locked + free), most)
    if (valued.kind === 'credit') free -= valued.pricing.locked - arrival.locked
    return valued
  })
}

function within(valued: Valued, most: MicroCredits | undefined): Valued {
  const fits = valued.kind !== 'credit' || most === undefined || valued.credits <= most
  return fits ? valued : { kind: 'too_large' }
}

/** The price of the invoice has arrived in time: a pack's discount is due. */
export function lockIsFilled(
  terms: Pick<Terms, 'amount'>,
  credited: readonly Pick<Pricing, 'locked'>[],
): boolean {
  return credited.reduce((sum, pricing) => sum + pricing.locked, 0n) >= terms.amount
}

/** So little that it is kept, not credited. */
export function isDust(
  family: Arrival['family'],
  { amount, usd }: { readonly amount: Atomic; readonly usd: MicroUsd },
): boolean {
  return family === 'bitcoin' ? amount < DUST_SATOSHI : usd < DUST_USD
}

/** The least that is credited and not kept as dust, at this price; atomic units. */
export function leastPayable(
  { family, decimals }: Pick<Arrival, 'family' | 'decimals'>,
  { priceE8 }: Pick<Terms, 'priceE8'>,
): Atomic {
  return family === 'bitcoin' ? DUST_SATOSHI : usdToAtomic(DUST_USD, priceE8, decimals)
}

/** On the invoice's rail: the only payments that the lock can cover. */
export function onRail(
  terms: Pick<Terms, 'chain' | 'symbol'>,
  paid: Pick<Arrival, 'chain' | 'symbol'>,
): boolean {
  return terms.chain === paid.chain && terms.symbol === paid.symbol
}

/**
 * Mined in a block timestamped before the lock ends; a Bitcoin payment also when it was seen before the lock ended
 * and mined within an hour of that, since its blocks are ten minutes apart.
 */
export function arrivedInTime(
  terms: Pick<Terms, 'expiresAt'>,
  paid: Pick<Arrival, 'family' | 'blockTime' | 'seenAt'>,
): boolean {
  if (paid.blockTime === null) return false
  if (paid.blockTime < terms.expiresAt) return true
  return (
    paid.family === 'bitcoin' &&
    paid.seenAt < terms.expiresAt &&
    paid.blockTime <= paid.seenAt + MINED_WITHIN_MS
  )
}

function valueOne(terms: Terms, arrival: Arrival, lock: Atomic): Valued {
  const inTime = onRail(terms, arrival) && arrivedInTime(terms, arrival)
  const locked = inTime ? min(arrival.amount, lock) : 0n
  const rest = arrival.amount - locked
  const restPriceE8 = rest > 0n ? restPrice(terms, arrival) : null
  if (rest > 0n && restPriceE8 === null) return { kind: 'unpriced' }

  // USD times 10^8 times 10^decimals: exact until the one division below.
  const value = locked * terms.priceE8 + rest * (restPriceE8 ?? 0n)
  const unit = 100n * 10n ** BigInt(arrival.decimals)
  const usd = value / unit
  const credits = (value * MICRO) / (unit * terms.usdPerCredit)
  const pricing: Pricing = {
    inTime,
    locked,
    lockedPriceE8: terms.priceE8,
    rest,
    restPriceE8,
    source: restPriceE8 === null ? null : (arrival.quote?.source ?? null),
    at: restPriceE8 === null ? null : (arrival.quote?.at ?? null),
    usd,
  }
  // Dust leaves the lock to others.
  if (isDust(arrival.family, { amount: arrival.amount, usd }) || credits === 0n)
    return { kind: 'dust', pricing: { ...pricing, locked: 0n } }
  return { kind: 'credit', credits, pricing }
}

function restPrice(terms: Terms, arrival: Arrival): PriceE8 | null {
  if (!arrival.quote) return null
  const current = saleablePrice(arrival.symbol, arrival.quote.priceE8)
  return arrival.symbol === terms.symbol ? min(terms.priceE8, current) : current
}
