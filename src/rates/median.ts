/**
 * One price out of several, or none. Pure; invariant 10 of the design.
 *
 * A price stands when enough sources agree on it and they are more than half of those that answered: a source that
 * errs or lies is then outvoted, and two camps of the same size are a refusal. The price is the median of those
 * that agree, so it is never further from any of them than they are from each other.
 */
import type { PriceE8 } from '../money.ts'

export interface Offer {
  readonly source: string
  readonly priceE8: PriceE8
}

/** Parts of a million: 1.5 % is 15,000. */
export type Millionths = bigint

export interface Terms {
  /** How far the highest may lie above the lowest of those that agree, of the lowest. */
  readonly maxSpread: Millionths
  /** How many must agree, at least. */
  readonly minSources: number
}

export interface Agreement {
  readonly priceE8: PriceE8
  readonly sources: readonly string[]
}

/**
 * The price on which these agree, or null. `voters` is how many may have a say: those that answered, and while an
 * answer is still awaited also those that might yet contradict.
 */
export function agree(offers: readonly Offer[], terms: Terms, voters: number): Agreement | null {
  const sorted = [...offers].sort((a, b) => (a.priceE8 < b.priceE8 ? -1 : a.priceE8 > b.priceE8 ? 1 : 0))
  const camp = largestCamp(sorted, terms.maxSpread)
  if (camp.length < terms.minSources || camp.length * 2 <= voters) return null
  const sources = new Set(camp.map((offer) => offer.source))
  return {
    priceE8: median(camp),
    // In the order in which they were given: the order of the configuration.
    sources: offers.filter((offer) => sources.has(offer.source)).map((offer) => offer.source),
  }
}

/** How far the highest lies above the lowest, of the lowest; rounds up, 0 for none. */
export function spreadOf(offers: readonly Offer[]): Millionths {
  const prices = offers.map((offer) => offer.priceE8)
  const [low, high] = prices.reduce(
    ([low, high], price) => [price < low ? price : low, price > high ? price : high],
    [prices[0] ?? 1n, prices[0] ?? 1n],
  )
  return ((high - low) * 1_000_000n + low - 1n) / low
}

/** The largest run within the spread; of several as large, the tightest. */
function largestCamp(sorted: readonly Offer[], maxSpread: Millionths): readonly Offer[] {
  let best: readonly Offer[] = []
  for (let start = 0; start < sorted.length; start += 1) {
    let end = sorted.length
    while (spreadOf(sorted.slice(start, end)) > maxSpread) end -= 1
    const camp = sorted.slice(start, end)
    if (camp.length > best.length || (camp.length === best.length && spreadOf(camp) < spreadOf(best))) {
      best = camp
    }
  }
  return best
}

/** Of an even number the middle of the two in the middle, rounded down. */
function median(sorted: readonly Offer[]): PriceE8 {
  const low = sorted[Math.floor((sorted.length - 1) / 2)]
  const high = sorted[Math.floor(sorted.length / 2)]
  if (!low || !high) throw new RangeError('the median of nothing')
  return (low.priceE8 + high.priceE8) / 2n
}
