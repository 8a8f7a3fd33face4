/**
 * What an asset is worth in USD. Callers ask for one quote and never learn how many sources stand behind it; a
 * source that is missing, stale or in disagreement is a refusal, never a guess.
 */
import { max, min, PRICE_SCALE, type PriceE8, type Quote } from '../money.ts'
import type { SourceReport } from './source.ts'

export interface Rates {
  /**
   * The current price of one whole unit of an asset, by its ticker (`ETH`).
   * @throws {BursarError} rate_unavailable: no price that can be trusted right now.
   */
  quote(symbol: string): Promise<Quote>
}

/** Rates whose sources can be looked at one by one: for `bursar doctor`, never for pricing. */
export interface SurveyedRates extends Rates {
  /** What each source says about an asset right now; it waits for the slow ones and never rejects. */
  survey(symbol: string): Promise<readonly SourceReport[]>
}

/** Tokens that stand for one US dollar. */
export const STABLECOINS: ReadonlySet<string> = new Set(['USDC', 'USDT'])

/** The price that a sale may count with: a stablecoin is worth $1 at most, however the market quotes it. */
export function saleablePrice(symbol: string, priceE8: PriceE8): PriceE8 {
  return STABLECOINS.has(symbol) ? min(priceE8, PRICE_SCALE) : priceE8
}

/**
 * The price that a budget counts with: a stablecoin costs $1 at least. Whoever allows $10 means ten of them, and a
 * low quote must not let more out.
 */
export function budgetPrice(symbol: string, priceE8: PriceE8): PriceE8 {
  return STABLECOINS.has(symbol) ? max(priceE8, PRICE_SCALE) : priceE8
}
