/**
 * A price from the two ends of an order book. The middle of the best bid and the best ask is what the market says
 * now, while the last trade of a quiet market can be hours old. Pure.
 */
import { PRICE_DECIMALS, type PriceE8 } from '../money.ts'
import { SourceError } from './source.ts'

/** A book wider than this, in percent of the bid, has nobody in it. */
const WIDEST_PERCENT = 2n

/**
 * Reads a price as exchanges write them: digits and at most one point. Beyond 10^-8 USD it is cut off.
 *
 * @throws {SourceError} anything else: zero, a sign, an exponent, NaN
 */
export function readPrice(text: string): PriceE8 {
  const match = /^(\d{1,12})(?:\.(\d{1,40}))?$/.exec(text)
  if (!match) throw new SourceError('a price that is not a plain decimal')
  const priceE8 = BigInt(match[1] + (match[2] ?? '').slice(0, PRICE_DECIMALS).padEnd(PRICE_DECIMALS, '0'))
  if (priceE8 === 0n) throw new SourceError('a price of zero')
  return priceE8
}

/** @throws {SourceError} not prices, or not those of a working market */
export function middle({ bid, ask }: { readonly bid: string; readonly ask: string }): PriceE8 {
  const low = readPrice(bid)
  const high = readPrice(ask)
  if (low > high) throw new SourceError('its bid is above its ask')
  if ((high - low) * 100n > low * WIDEST_PERCENT) throw new SourceError('its bid and ask are far apart')
  return (low + high) / 2n
}
