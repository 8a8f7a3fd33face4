/**
 * Kraken, "Get Ticker Information": GET /0/public/Ticker?pair=XBTUSD, `{error: [], result: {XXBTZUSD: {a: [price,
 * whole lot volume, lot volume], b: [...]}}}`; errors come with status 200.
 * https://docs.kraken.com/api/docs/rest-api/get-ticker-information
 */
import { z } from 'zod'
import { middle } from './book.ts'
import { fetchJson, type Web } from './http.ts'
import { type RateSource, SourceError } from './source.ts'

/** The pair as it is asked for, and as the answer names it. */
const PAIRS: ReadonlyMap<string, readonly [asked: string, answered: string]> = new Map([
  ['BTC', ['XBTUSD', 'XXBTZUSD']],
  ['ETH', ['ETHUSD', 'XETHZUSD']],
  ['POL', ['POLUSD', 'POLUSD']],
  ['USDC', ['USDCUSD', 'USDCUSD']],
  ['USDT', ['USDTUSD', 'USDTZUSD']],
])

const side = z.tuple([z.string()], z.unknown())
const shape = z.looseObject({
  error: z.array(z.unknown()),
  result: z.record(z.string(), z.looseObject({ a: side, b: side })).optional(),
})

export function krakenSource(web: Web, baseUrl = 'https://api.kraken.com'): RateSource {
  return {
    name: 'kraken',
    prices: (symbol) => PAIRS.has(symbol),
    async quote(symbol, signal) {
      const [asked, answered] = PAIRS.get(symbol) ?? []
      if (asked === undefined || answered === undefined) throw new SourceError('no such pair')
      const { body, at } = await fetchJson(web, `${baseUrl}/0/public/Ticker?pair=${asked}`, { shape, signal })
      const ticker = Object.hasOwn(body.result ?? {}, answered) ? body.result?.[answered] : undefined
      if (body.error.length > 0 || !ticker) throw new SourceError('an answer without the pair')
      return { priceE8: middle({ bid: ticker.b[0], ask: ticker.a[0] }), at }
    },
  }
}
