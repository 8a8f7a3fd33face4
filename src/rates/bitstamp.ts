/**
 * Bitstamp, "Ticker": GET /api/v2/ticker/ethusd/, `{last, high, low, vwap, volume, bid, ask, timestamp, open}`;
 * `timestamp` is Unix seconds as text. https://www.bitstamp.net/api/#tag/Tickers
 */
import { z } from 'zod'
import { middle } from './book.ts'
import { fetchJson, type Web } from './http.ts'
import { type RateSource, SourceError } from './source.ts'

const MARKETS: ReadonlyMap<string, string> = new Map([
  ['BTC', 'btcusd'],
  ['ETH', 'ethusd'],
  ['USDC', 'usdcusd'],
  ['USDT', 'usdtusd'],
])

const shape = z.looseObject({
  bid: z.string(),
  ask: z.string(),
  timestamp: z.string().regex(/^\d{1,11}$/),
})

export function bitstampSource(web: Web, baseUrl = 'https://www.bitstamp.net'): RateSource {
  return {
    name: 'bitstamp',
    prices: (symbol) => MARKETS.has(symbol),
    async quote(symbol, signal) {
      const market = MARKETS.get(symbol)
      if (market === undefined) throw new SourceError('no such pair')
      const { body } = await fetchJson(web, `${baseUrl}/api/v2/ticker/${market}/`, { shape, signal })
      return { priceE8: middle(body), at: Number(body.timestamp) * 1000 }
    },
  }
}
