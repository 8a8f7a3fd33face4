/** Prices written into the configuration: for test networks, where no coin has a market. */
import { BursarError } from '../errors.ts'
import { PRICE_DECIMALS, type PriceE8, parseDecimal } from '../money.ts'
import { STABLECOINS, type SurveyedRates } from './rates.ts'

/**
 * USD per whole coin, decimals as text. A stablecoin is $1 unless the file says otherwise.
 *
 * @throws {BursarError} invalid_config: a price of zero, or finer than 10^-8 USD.
 */
export function fixedRates(fixed: Readonly<Record<string, string>>, now: () => number): SurveyedRates {
  const prices = readPrices(defaultsAnd(fixed))
  return {
    async quote(symbol) {
      const priceE8 = prices.get(symbol)
      if (priceE8 === undefined) {
        throw new BursarError('rate_unavailable', `There is no price for ${symbol}.`, {
          remedy: `The seller adds ${symbol} to rates.fixed (test networks only); or choose another rail.`,
          details: { symbol },
        })
      }
      return { symbol, priceE8, source: 'fixed', at: now() }
    },
    async survey(symbol) {
      const priceE8 = prices.get(symbol)
      return priceE8 === undefined ? [] : [{ source: 'fixed', priceE8, at: now() }]
    },
  }
}

function defaultsAnd(fixed: Readonly<Record<string, string>>): [string, string][] {
  const defaults = [...STABLECOINS].map((symbol): [string, string] => [symbol, '1'])
  return [...defaults, ...Object.entries(fixed)]
}

function readPrices(entries: readonly (readonly [string, string])[]): Map<string, PriceE8> {
  return new Map(
    entries.map(([symbol, text]) => {
      try {
        const priceE8 = parseDecimal(text, PRICE_DECIMALS)
        if (priceE8 > 0n) return [symbol, priceE8]
      } catch {
        // Said below, with the field's name.
      }
      throw new BursarError(
        'invalid_config',
        `rates.fixed.${symbol} must be a price above zero with at most ${PRICE_DECIMALS} decimals.`,
        { remedy: `Write the USD price of one ${symbol}, such as "2500.00".` },
      )
    }),
  )
}
