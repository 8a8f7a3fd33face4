/** One place that knows prices. A source answers or fails; it never falls back to something else. */
import type { PriceE8 } from '../money.ts'

export interface SourceQuote {
  readonly priceE8: PriceE8
  /** When the source itself says that this was the price, Unix milliseconds. */
  readonly at: number
  /** How old it may be by the source's own promise, where that differs from the configured age. */
  readonly maxAgeMs?: number
}

export interface RateSource {
  /** As it stands on invoices: `kraken`. */
  readonly name: string
  /** Whether the source prices this asset at all; it is not asked otherwise. */
  prices(symbol: string): boolean
  /**
   * The price now.
   * @throws {SourceError} no price that makes sense; the signal's reason when it is aborted
   */
  quote(symbol: string, signal: AbortSignal): Promise<SourceQuote>
}

/** What one source said, for people and for the details of a refusal. */
export type SourceReport =
  | { readonly source: string; readonly priceE8: PriceE8; readonly at: number }
  | { readonly source: string; readonly problem: string }

/** A source that failed. The problem is in our own words: a stranger's text goes no further than `cause`. */
export class SourceError extends Error {
  readonly problem: string
  /** The source asks to be left alone for a while. */
  readonly refused: boolean

  constructor(problem: string, { refused = false, cause }: { refused?: boolean; cause?: unknown } = {}) {
    super(problem, cause === undefined ? undefined : { cause })
    this.name = 'SourceError'
    this.problem = problem
    this.refused = refused
  }
}
