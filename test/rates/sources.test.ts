import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { middle, readPrice } from '../../src/rates/book.ts'
import { readJson } from '../../src/rates/http.ts'
import { type RateSource, SourceError } from '../../src/rates/source.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { START, testRuntime } from '../support/runtime.ts'
import {
  answers,
  cuts,
  EXCHANGES,
  type Exchange,
  type Exchanges,
  html,
  neverEnds,
  quotes,
  says,
  startExchanges,
  tickerOf,
} from './exchanges.ts'

let exchanges: Exchanges
let sources: Map<Exchange, RateSource>
const runtime = testRuntime()

beforeAll(async () => {
  exchanges = await startExchanges()
  const list = exchanges.sources(runtime)
  sources = new Map(list.map((source) => [source.name as Exchange, source]))
  expect([...sources.keys()]).toEqual(EXCHANGES)
})
afterAll(() => exchanges.stop())
beforeEach(() => {
  for (const exchange of EXCHANGES) exchanges.behave(exchange, answers(500))
})

function ask(exchange: Exchange, symbol = 'ETH', signal = AbortSignal.timeout(PATIENCE_MS)) {
  const source = sources.get(exchange)
  if (!source) throw new Error(`no ${exchange}`)
  return source.quote(symbol, signal)
}

describe.each(EXCHANGES)('%s', (exchange) => {
  it('gives the middle of bid and ask, and the time of it', async () => {
    exchanges.behave(exchange, quotes({ bid: '2500.10', ask: '2500.31', at: START - 7_000 }))
    await expect(ask(exchange)).resolves.toEqual({ priceE8: 250_020_500_000n, at: START - 7_000 })
  })

  it('asks for the right market of each asset', async () => {
    exchanges.behave(exchange, quotes({ bid: '0.99980', ask: '0.99990', at: START }))
    const before = exchanges.asked.length
    for (const symbol of ['BTC', 'ETH', 'POL', 'USDC', 'USDT']) {
      if (sources.get(exchange)?.prices(symbol)) await ask(exchange, symbol)
    }
    expect(exchanges.asked.slice(before)).toEqual(MARKETS[exchange].map((path) => `${exchange} ${path}`))
  })

  it('knows no other asset', async () => {
    expect(sources.get(exchange)?.prices('WBTC')).toBe(false)
    await expect(ask(exchange, 'WBTC')).rejects.toThrow(SourceError)
  })

  it.each([429, 403, 418])('says that it was refused with HTTP %i', async (status) => {
    exchanges.behave(exchange, answers(status))
    await expect(ask(exchange)).rejects.toMatchObject({ problem: `HTTP ${status}`, refused: true })
  })

  it.each([301, 404, 500, 503])('fails on HTTP %i', async (status) => {
    exchanges.behave(exchange, answers(status))
    await expect(ask(exchange)).rejects.toMatchObject({ problem: `HTTP ${status}`, refused: false })
  })

  it('fails on a page, a cut connection and an endless answer', async () => {
    exchanges.behave(exchange, html)
    await expect(ask(exchange)).rejects.toMatchObject({ problem: 'an answer that is not JSON' })
    exchanges.behave(exchange, cuts)
    await expect(ask(exchange)).rejects.toMatchObject({ problem: 'no connection' })
    exchanges.behave(exchange, neverEnds)
    await expect(ask(exchange)).rejects.toMatchObject({ problem: 'an answer that is too large' })
  })

  it('rejects with the reason when it is no longer needed', async () => {
    exchanges.behave(exchange, () => undefined)
    const stop = new AbortController()
    const answer = ask(exchange, 'ETH', stop.signal)
    stop.abort(new Error('enough'))
    await expect(answer).rejects.toThrow('enough')
  })

  it.each([
    ['zero', '0.00', '0.00'],
    ['a negative price', '-2500', '2501'],
    ['an exponent', '2.5e3', '2501'],
    ['a crossed book', '2501', '2500'],
    ['an empty book', '1', '2500'],
  ])('refuses %s', async (_what, bid, ask_) => {
    exchanges.behave(exchange, quotes({ bid, ask: ask_, at: START }))
    await expect(ask(exchange)).rejects.toThrow(SourceError)
  })

  it('gives the price that stands there or fails, whatever the texts', async () => {
    const text = fc.oneof(
      { weight: 3, arbitrary: decimal },
      fc.constantFrom(
        'NaN',
        'Infinity',
        '0',
        '-1',
        '+1',
        '1e3',
        '1E-7',
        '0x10',
        ' 1',
        '1,000',
        '1_000',
        '１',
      ),
    )
    await fc.assert(
      fc.asyncProperty(text, text, async (bid, ask_) => {
        exchanges.behave(exchange, (...to) =>
          says(tickerOf(exchange, to[2], { bid, ask: ask_, at: START }), START)(...to),
        )
        // Bitfinex writes numbers, not texts: a blank before one is none of it.
        const said = (text: string) => (exchange === 'bitfinex' ? text.trim() : text)
        const expected = middleOf(said(bid), said(ask_))
        const got = await ask(exchange).then(
          ({ priceE8 }) => priceE8,
          (error: unknown) => {
            if (error instanceof SourceError) return null
            throw error
          },
        )
        expect(got).toBe(expected)
      }),
      { numRuns: 60, examples: [[' 1', ' 1']] },
    )
  })

  it('fails cleanly on any JSON and any text', async () => {
    const body = fc.oneof(fc.json(), fc.string(), fc.constantFrom(...TRAPS))
    await fc.assert(
      fc.asyncProperty(body, async (text) => {
        exchanges.behave(exchange, says(text, START))
        await expect(ask(exchange)).rejects.toBeInstanceOf(SourceError)
      }),
      { numRuns: 60 },
    )
  })
})

const MARKETS: Readonly<Record<Exchange, readonly string[]>> = {
  kraken: ['XBTUSD', 'ETHUSD', 'POLUSD', 'USDCUSD', 'USDTUSD'].map((pair) => `/0/public/Ticker?pair=${pair}`),
  coinbase: ['BTC', 'ETH', 'POL', 'USDT'].map((coin) => `/products/${coin}-USD/ticker`),
  bitstamp: ['btcusd', 'ethusd', 'usdcusd', 'usdtusd'].map((market) => `/api/v2/ticker/${market}/`),
  bitfinex: ['tBTCUSD', 'tETHUSD', 'tUDCUSD', 'tUSTUSD'].map((pair) => `/v2/ticker/${pair}`),
}

const TRAPS = [
  '{"__proto__": {"bid": "1", "ask": "1"}}',
  '{"error": [], "result": {"__proto__": {"a": ["1"], "b": ["1"]}}}',
  '{"error": ["EQuery:Unknown asset pair"]}',
  '{"error": ["EGeneral:Temporary lockout"], "result": {"XETHZUSD": {"a": ["1"], "b": ["1"]}}}',
  '{"error": [], "result": {"XXBTZUSD": {"a": ["1"], "b": ["1"]}}}',
  '["error", 10020, "symbol: invalid"]',
  '{"message": "NotFound"}',
  '[]',
  'null',
]

const decimal = fc
  .tuple(fc.integer({ min: 2_400, max: 2_600 }), fc.stringMatching(/^\d{0,12}$/))
  .map(([whole, fraction]) => (fraction ? `${whole}.${fraction}` : `${whole}`))

/** By another way than the code: digits padded to 12 decimals, then cut to 8. */
function middleOf(bid: string, ask: string): bigint | null {
  const [low, high] = [bid, ask].map((text) => {
    if (!/^[0-9]+(\.[0-9]+)?$/.test(text)) return null
    const [whole = '', fraction = ''] = text.split('.')
    return BigInt(whole + fraction.padEnd(12, '0')) / 10_000n
  })
  if (!low || !high || low > high || (high - low) * 50n > low) return null
  return (low + high) / 2n
}

describe('prices as text', () => {
  it('are read exactly', () => {
    expect(readPrice('0.1')).toBe(10_000_000n)
    expect(readPrice('64250.123456789')).toBe(6_425_012_345_678n)
    expect(readPrice('0.000000019')).toBe(1n)
  })

  it.each(['', '.5', '5.', '0', '0.000000001', '1e3', '-1', '+1', 'NaN', ' 1', '1\n', '1,5', '1'.repeat(13)])(
    'are refused: %j',
    (text) => {
      expect(() => readPrice(text)).toThrow(SourceError)
    },
  )

  it('may be two percent apart', () => {
    expect(middle({ bid: '100', ask: '102' })).toBe(10_100_000_000n)
    expect(() => middle({ bid: '100', ask: '102.00000001' })).toThrow(/far apart/)
  })

  it('survive JSON digit by digit', () => {
    expect(readJson('[2500.123456789012345678, 1e400, -0, {"a": 0.10}]')).toEqual([
      '2500.123456789012345678',
      '1e400',
      '-0',
      { a: '0.10' },
    ])
  })
})

describe('the time of an answer', () => {
  it('is its Date less its Age', async () => {
    const text = tickerOf('kraken', '/?pair=ETHUSD', { bid: '2500', ask: '2500', at: START })
    exchanges.behave('kraken', says(text, START - 5_000, { age: '300' }))
    expect((await ask('kraken')).at).toBe(START - 305_000)
  })

  it('is the moment of the question where the Date makes no sense', async () => {
    const text = tickerOf('kraken', '/?pair=ETHUSD', { bid: '2500', ask: '2500', at: START })
    exchanges.behave('kraken', says(text, START, { date: 'yesterday' }))
    expect((await ask('kraken')).at).toBe(START)
  })
})
