/**
 * Bitfinex, "Ticker": GET /v2/ticker/tETHUSD, an array of numbers: BID, BID_SIZE, ASK, ASK_SIZE, DAILY_CHANGE,
 * DAILY_CHANGE_RELATIVE, LAST_PRICE, VOLUME, HIGH, LOW. https://docs.bitfinex.com/reference/rest-public-ticker
 */
import { z } from 'zod'
import { middle } from './book.ts'
import { fetchJson, type Web } from './http.ts'
import { type RateSource, SourceError } from './source.ts'

/** Bitfinex has three letters for each: UDC is USDC, UST is USDT. */
const PAIRS: ReadonlyMap<string, string> = new Map([
  ['BTC', 'tBTCUSD'],
  ['ETH', 'tETHUSD'],
  ['USDC', 'tUDCUSD'],
  ['USDT', 'tUSTUSD'],
])

const shape = z.tuple([z.string(), z.string(), z.string()], z.unknown())

export function bitfinexSource(web: Web, baseUrl = 'https://api-pub.bitfinex.com'): RateSource {
  return {
    name: 'bitfinex',
    prices: (symbol) => PAIRS.has(symbol),
    async quote(symbol, signal) {
      const pair = PAIRS.get(symbol)
      if (pair === undefined) throw new SourceError('no such pair')
      const { body, at } = await fetchJson(web, `${baseUrl}/v2/ticker/${pair}`, { shape, signal })
      return { priceE8: middle({ bid: body[0], ask: body[2] }), at }
    },
  }
}
