import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type LiveSettings, liveRates } from '../../src/rates/live.ts'
import { START, type TestRuntime, testRuntime } from '../support/runtime.ts'
import {
  answers,
  type Behaviour,
  cuts,
  EXCHANGES,
  type Exchanges,
  hangs,
  html,
  quotes,
  startExchanges,
} from './exchanges.ts'

let exchanges: Exchanges
let runtime: TestRuntime

beforeAll(async () => {
  exchanges = await startExchanges()
})
afterAll(() => exchanges.stop())
beforeEach(() => {
  runtime = testRuntime()
  all(at('2500.00'))
})

function all(behaviour: Behaviour): void {
  for (const exchange of EXCHANGES) exchanges.behave(exchange, behaviour)
}

function at(price: string, time = START): Behaviour {
  return quotes({ bid: price, ask: price, at: time })
}

function open(settings: Partial<LiveSettings> = {}) {
  return liveRates({
    sources: exchanges.sources(runtime),
    maxAgeMs: 120_000,
    maxSpread: 15_000n,
    minSources: 2,
    runtime: { ...runtime, after: never },
    ...settings,
  })
}

/** A deadline that never comes: what a busy machine is late with is waited for. */
const never = () => () => undefined

/** Rates whose deadline comes when the test says so. */
function openUntil(settings: Partial<LiveSettings> = {}) {
  const finished: string[] = []
  let expire = (): void => undefined
  const rates = open({
    sources: exchanges.sources(runtime).map((source) => ({
      ...source,
      quote: (...question) => source.quote(...question).finally(() => finished.push(source.name)),
    })),
    runtime: {
      ...runtime,
      after(ms, task) {
        expect(ms).toBe(4_000)
        expire = task
        return () => undefined
      },
    },
    ...settings,
  })
  return {
    rates,
    /** Ends the wait once that many sources have answered or failed. */
    async deadline(count: number): Promise<void> {
      await expect.poll(() => finished.length).toBe(count)
      expire()
    },
  }
}

describe('a live rate', () => {
  it('is a median, with its sources and its time', async () => {
    exchanges.behave('kraken', at('2500.00'))
    exchanges.behave('coinbase', at('2502.00'))
    exchanges.behave('bitstamp', hangs)
    exchanges.behave('bitfinex', hangs)
    const rates = open({ sources: exchanges.sources(runtime).slice(0, 2) })
    await expect(rates.quote('ETH')).resolves.toEqual({
      symbol: 'ETH',
      priceE8: 250_100_000_000n,
      source: 'median of kraken, coinbase',
      at: START,
    })
  })

  it('does not wait for a source that can no longer change it', async () => {
    exchanges.behave('bitstamp', hangs)
    // The deadline never comes: only the majority ends the wait.
    const rates = open()
    expect((await rates.quote('ETH')).source).toBe('median of kraken, coinbase, bitfinex')
  })

  it('waits for others when the first two are no majority, and then no longer than the deadline', async () => {
    exchanges.behave('bitstamp', hangs)
    exchanges.behave('bitfinex', hangs)
    const { rates, deadline } = openUntil()
    let settled = false
    const quote = rates.quote('ETH').finally(() => {
      settled = true
    })
    await deadline(2)
    expect(settled).toBe(false)
    expect((await quote).source).toBe('median of kraken, coinbase')
  })

  it('outvotes a source that lies', async () => {
    exchanges.behave('coinbase', at('25000.00'))
    const quote = await open().quote('ETH')
    expect(quote).toMatchObject({
      priceE8: 250_000_000_000n,
      source: 'median of kraken, bitstamp, bitfinex',
    })
  })

  it('is refused when the sources disagree, naming them and how far they are apart', async () => {
    exchanges.behave('kraken', at('2600.00'))
    exchanges.behave('coinbase', at('2600.00'))
    await expect(open().quote('ETH')).rejects.toMatchObject({
      code: 'rate_unavailable',
      message: 'There is no price for ETH that can be trusted: the sources disagree by 4.00 %.',
      remedy: expect.stringContaining('bursar doctor'),
      details: {
        symbol: 'ETH',
        spread_percent: '4.00',
        max_spread_percent: '1.50',
        sources: expect.arrayContaining([{ source: 'kraken', price_usd: '2600.00', age_seconds: 0 }]),
      },
    })
  })

  it('is refused when the prices are old, and taken just before', async () => {
    all(at('2500.00', START - 120_000))
    expect((await open().quote('ETH')).priceE8).toBe(250_000_000_000n)
    runtime.clock.advance(1_000)
    await expect(open().quote('ETH')).rejects.toMatchObject({
      code: 'rate_unavailable',
      details: { sources: expect.arrayContaining([{ source: 'kraken', problem: 'its price is 121 s old' }]) },
    })
  })

  it('is refused when the clock is wrong', async () => {
    all(at('2500.00', START + 61_000))
    await expect(open().quote('ETH')).rejects.toMatchObject({
      details: {
        sources: expect.arrayContaining([
          { source: 'kraken', problem: 'a price from the future: check the clock' },
        ]),
      },
    })
  })

  it('is refused when all but one fail, without a word of theirs', async () => {
    exchanges.behave('coinbase', answers(429))
    exchanges.behave('bitstamp', html)
    exchanges.behave('bitfinex', hangs)
    const { rates, deadline } = openUntil()
    const asked = rates.quote('ETH').catch((error: unknown) => error)
    await deadline(3)
    const refusal = await asked
    expect(refusal).toMatchObject({
      code: 'rate_unavailable',
      message: expect.stringContaining('1 of 4 sources gave a fresh one, 2 are needed'),
      details: {
        sources: [
          { source: 'kraken', price_usd: '2500.00', age_seconds: 0 },
          { source: 'coinbase', problem: 'HTTP 429' },
          { source: 'bitstamp', problem: 'an answer that is not JSON' },
          { source: 'bitfinex', problem: 'no answer in time' },
        ],
      },
    })
    expect(JSON.stringify([refusal, runtime.lines])).not.toContain('IGNORE')
  })

  it('is refused for an asset that no source prices', async () => {
    const before = exchanges.asked.length
    await expect(open().quote('WBTC')).rejects.toMatchObject({
      code: 'rate_unavailable',
      message: 'No source of rates prices WBTC.',
    })
    expect(exchanges.asked).toHaveLength(before)
  })

  it('needs as many sources as configured', async () => {
    await expect(open({ minSources: 5 }).quote('ETH')).rejects.toMatchObject({ code: 'rate_unavailable' })
    await expect(open({ minSources: 4 }).quote('ETH')).resolves.toMatchObject({ priceE8: 250_000_000_000n })
  })
})

describe('a stablecoin', () => {
  it('counts as quoted below par, when its markets agree', async () => {
    all(at('0.91'))
    expect((await open().quote('USDC')).priceE8).toBe(91_000_000n)
  })

  it('is refused when its markets are a little more than one percent apart', async () => {
    exchanges.behave('kraken', at('0.9880'))
    await expect(
      open({ minSources: 3 }).quote('USDC'),
      'kraken, bitstamp and bitfinex have USDC',
    ).rejects.toMatchObject({ code: 'rate_unavailable' })
    all(at('1.0000'))
    exchanges.behave('kraken', at('0.9895'))
    exchanges.behave('bitstamp', at('0.9790'))
    await expect(open().quote('USDC')).rejects.toMatchObject({
      details: { max_spread_percent: '1.00', spread_percent: '2.15' },
    })
  })
})

describe('asking', () => {
  it('is done once for many, and again after five seconds', async () => {
    const rates = open({ minSources: 4 })
    const before = exchanges.asked.length
    const same = await Promise.all(Array.from({ length: 50 }, () => rates.quote('ETH')))
    expect(new Set(same).size).toBe(1)
    expect(exchanges.asked).toHaveLength(before + 4)
    runtime.clock.advance(4_999)
    await rates.quote('ETH')
    expect(exchanges.asked).toHaveLength(before + 4)
    runtime.clock.advance(1)
    all(at('2600.00'))
    expect((await rates.quote('ETH')).priceE8).toBe(260_000_000_000n)
    expect(exchanges.asked).toHaveLength(before + 8)
  })

  it('is done for each asset by itself', async () => {
    const rates = open()
    await rates.quote('ETH')
    all(at('64000'))
    expect((await rates.quote('BTC')).priceE8).toBe(6_400_000_000_000n)
  })

  it('keeps a refusal as long as a price', async () => {
    const rates = open()
    all(answers(500))
    await expect(rates.quote('ETH')).rejects.toMatchObject({ code: 'rate_unavailable' })
    const before = exchanges.asked.length
    all(at('2500.00'))
    await expect(rates.quote('ETH')).rejects.toMatchObject({ code: 'rate_unavailable' })
    expect(exchanges.asked).toHaveLength(before)
    runtime.clock.advance(5_000)
    expect((await rates.quote('ETH')).priceE8).toBe(250_000_000_000n)
  })

  it('keeps nothing when the clock is set back', async () => {
    const rates = open()
    await rates.quote('ETH')
    runtime.clock.advance(-30_000)
    all(at('2400.00', START - 30_000))
    expect((await rates.quote('ETH')).priceE8).toBe(240_000_000_000n)
  })

  it('leaves a source alone for a minute that asks for it', async () => {
    exchanges.behave('kraken', answers(429))
    const rates = open({ minSources: 3 })
    // It waits for all of them; a quote may have had enough before this one has answered.
    await rates.survey('ETH')
    const before = exchanges.asked.length
    all(at('2500.00'))
    runtime.clock.advance(59_000)
    all(at('2500.00', START + 59_000))
    await rates.quote('ETH')
    expect(exchanges.asked.slice(before).filter((path) => path.startsWith('kraken'))).toEqual([])
    runtime.clock.advance(5_000)
    await rates.survey('ETH')
    expect(exchanges.asked.slice(before).filter((path) => path.startsWith('kraken'))).toHaveLength(1)
  })

  it('asks a source again that was left alone when the clock was set back', async () => {
    exchanges.behave('kraken', answers(429))
    const rates = open({ minSources: 3 })
    // It waits for all of them; a quote may have had enough before this one has answered.
    await rates.survey('ETH')
    const before = exchanges.asked.length
    runtime.clock.advance(-3_600_000)
    all(at('2500.00', START - 3_600_000))
    await rates.survey('ETH')
    expect(exchanges.asked.slice(before).filter((path) => path.startsWith('kraken'))).toHaveLength(1)
  })
})

describe('a survey', () => {
  it('tells what each source says, also when there is no price', async () => {
    exchanges.behave('kraken', answers(503))
    exchanges.behave('coinbase', at('9999', START - 10_000))
    await expect(open().survey('ETH')).resolves.toEqual([
      { source: 'kraken', problem: 'HTTP 503' },
      { source: 'coinbase', priceE8: 999_900_000_000n, at: START - 10_000 },
      { source: 'bitstamp', priceE8: 250_000_000_000n, at: START },
      { source: 'bitfinex', priceE8: 250_000_000_000n, at: START },
    ])
  })
})

describe('whatever the sources answer', () => {
  const honest = fc.integer({ min: 249_500, max: 250_500 }).map((cents) => ({
    kind: 'honest' as const,
    behaviour: at(`${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, '0')}`),
  }))
  const liar = fc
    .oneof(fc.integer({ min: 1, max: 2_400 }), fc.integer({ min: 2_600, max: 10_000_000 }))
    .map((price) => ({ kind: 'liar' as const, behaviour: at(String(price)) }))
  const broken = fc
    .oneof(
      fc.constantFrom(html, cuts, answers(429), answers(500), answers(302)),
      fc
        .constantFrom('0', '-2500', 'NaN', '2.5e3', '', '2500.', 'Infinity', '１２')
        .map((text) => quotes({ bid: text, ask: text, at: START })),
      fc.integer({ min: 121, max: 10_000_000 }).map((age) => at('2500.00', START - age * 1000)),
    )
    .map((behaviour) => ({ kind: 'broken' as const, behaviour }))
  const panel = fc.array(fc.oneof({ weight: 2, arbitrary: honest }, liar, broken), {
    minLength: 4,
    maxLength: 4,
  })

  it('the price is right or refused, and right when the honest outnumber the liars', async () => {
    await fc.assert(
      fc.asyncProperty(panel, async (panel) => {
        const count = (kind: string) => panel.filter((one) => one.kind === kind).length
        const liars = count('liar')
        // Two liars with the same lie and nobody to contradict them would be believed: that is what two sources mean.
        fc.pre(liars < 2 || liars < count('honest'))
        for (const [index, exchange] of EXCHANGES.entries()) {
          exchanges.behave(exchange, panel[index]?.behaviour ?? hangs)
        }
        const priceE8 = await open()
          .quote('ETH')
          .then(
            (quote) => quote.priceE8,
            (error: { code?: string }) => {
              expect(error.code).toBe('rate_unavailable')
              return null
            },
          )
        const believed = count('honest') >= 2 && count('honest') > liars
        expect(priceE8 !== null).toBe(believed)
        if (priceE8 === null) return
        expect(priceE8).toBeGreaterThanOrEqual(249_500_000_000n)
        expect(priceE8).toBeLessThanOrEqual(250_500_000_000n)
      }),
      { numRuns: 150 },
    )
  })
})
