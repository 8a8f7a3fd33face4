/**
 * Coinbase Exchange, "Get product ticker": GET /products/ETH-USD/ticker, `{ask, bid, volume, trade_id, price, size,
 * time}`; `time` is that of the last trade, RFC 3339.
 * https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-ticker
 */
import { z } from 'zod'
import { middle } from './book.ts'
import { fetchJson, type Web } from './http.ts'
import { type RateSource, SourceError } from './source.ts'

/** No USDC: Coinbase takes it for a dollar and has no market that would notice otherwise. */
const PRODUCTS: ReadonlyMap<string, string> = new Map([
  ['BTC', 'BTC-USD'],
  ['ETH', 'ETH-USD'],
  ['POL', 'POL-USD'],
  ['USDT', 'USDT-USD'],
])

const shape = z.looseObject({
  bid: z.string(),
  ask: z.string(),
  time: z.iso.datetime({ offset: true }),
})

export function coinbaseSource(web: Web, baseUrl = 'https://api.exchange.coinbase.com'): RateSource {
  return {
    name: 'coinbase',
    prices: (symbol) => PRODUCTS.has(symbol),
    async quote(symbol, signal) {
      const product = PRODUCTS.get(symbol)
      if (product === undefined) throw new SourceError('no such pair')
      const { body } = await fetchJson(web, `${baseUrl}/products/${product}/ticker`, { shape, signal })
      return { priceE8: middle(body), at: Date.parse(body.time) }
    },
  }
}
