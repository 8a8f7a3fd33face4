import { HDKey } from '@scure/bip32'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openChains, openEvmNetworks } from '../../src/chains/index.ts'
import { checkRates } from '../../src/commands/doctor-rates.ts'
import { parseConfig } from '../../src/config.ts'
import type { ConfigFile } from '../../src/config-schema.ts'
import { toBursarError } from '../../src/errors.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { FEEDS } from '../../src/rates/chainlink-feeds.ts'
import { openRates } from '../../src/rates/open.ts'
import { budgetPrice, saleablePrice } from '../../src/rates/rates.ts'
import type { Runtime } from '../../src/runtime.ts'
import { openTill } from '../invoices/till.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { START, testRuntime } from '../support/runtime.ts'
import { deployToken } from '../support/token.ts'
import { answers, EXCHANGES, type Exchanges, quotes, startExchanges } from './exchanges.ts'
import { placeFeed } from './feed.ts'

/** An account that nobody uses; a well-known one would be refused on a main network. */
const XPUB = HDKey.fromMasterSeed(new Uint8Array(32).fill(77)).derive("m/44'/60'/0'").publicExtendedKey
let anvil: Anvil
let exchanges: Exchanges
let runtime: Runtime

beforeAll(async () => {
  ;[anvil, exchanges] = await Promise.all([startAnvil({ chainId: 8453 }), startExchanges()])
  // No deadline: what a busy machine is late with is waited for.
  runtime = { ...testRuntime(), network: exchanges.network(), after: () => () => undefined }
  // A node is believed once it has the tokens that are configured.
  await deployToken(anvil, '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913')
  const feed = await placeFeed(anvil, FEEDS[8453]?.['USDC']?.address ?? '')
  await feed.describe('USDC / USD')
  await feed.report({ answer: 99_990_000n, updatedAt: START / 1000 - 3_600 })
  for (const exchange of EXCHANGES) {
    exchanges.behave(exchange, quotes({ bid: '0.99980', ask: '0.99990', at: START - 2_000 }))
  }
})
afterAll(async () => {
  await Promise.all([anvil.stop(), exchanges.stop()])
})

function config(rates: object = {}, chains: object = { base: { rpc: [anvil.url], assets: ['USDC'] } }) {
  return parseConfig(JSON.stringify({ chains, rates }), {}, 'the test')
}

function open(file: ConfigFile) {
  const networks = openEvmNetworks({ config: file, runtime })
  return openRates({ config: file.rates, networks, feeds: networks, runtime })
}

const local = { local: { chain_id: 31337, rpc: ['http://127.0.0.1:1'], assets: ['ETH'] } }

describe('the rates of a configuration', () => {
  it('come from the market on a main network, Chainlink through its own node', async () => {
    await expect(open(config({ min_sources: 4 })).quote('USDC')).resolves.toEqual({
      symbol: 'USDC',
      priceE8: 99_985_000n,
      source: 'median of kraken, bitstamp, bitfinex, chainlink',
      at: START,
    })
  })

  it('come from the sources that are named', async () => {
    const quote = await open(config({ sources: ['chainlink', 'kraken'] })).quote('USDC')
    expect(quote.source).toBe('median of chainlink, kraken')
    expect(quote.priceE8).toBe(99_987_500n)
  })

  it('are fixed on test networks, unless sources are named', async () => {
    expect((await open(config({ fixed: { ETH: '2500' } }, local)).quote('ETH')).source).toBe('fixed')
    expect((await open(config({}, local)).quote('USDC')).source).toBe('fixed')
    const live = open(config({ sources: ['kraken', 'bitstamp'] }, local))
    expect((await live.quote('USDC')).source).toBe('median of kraken, bitstamp')
  })

  it('are never both', () => {
    expect(() => open(config({ fixed: { ETH: '1' }, sources: ['kraken', 'coinbase'] }, local))).toThrow(
      /rates\.fixed and rates\.sources/,
    )
    expect(() => open(config({ fixed: { USDC: '1' } }))).toThrow(/base is a main network/)
  })

  it.each([
    [{ sources: ['kraken'] }, /rates\.sources/],
    [{ sources: ['kraken', 'kraken'] }, /each source once/],
    [{ sources: ['kraken', 'mtgox'] }, /rates\.sources/],
    [{ sources: ['kraken', 'coinbase'], min_sources: 3 }, /as many sources as min_sources/],
    [{ min_sources: 1 }, /rates\.min_sources/],
    [{ max_spread_percent: '10.5' }, /rates\.max_spread_percent/],
    [{ max_spread_percent: '0' }, /rates\.max_spread_percent/],
    [{ max_age_seconds: 5 }, /rates\.max_age_seconds/],
  ])('are refused: %j', (rates, message) => {
    expect(() => config(rates)).toThrow(message)
  })

  it('keep to the configured spread', async () => {
    exchanges.behave('kraken', quotes({ bid: '0.9960', ask: '0.9960', at: START }))
    const pair = { sources: ['kraken', 'bitstamp'] }
    await expect(open(config({ ...pair, max_spread_percent: '0.3' })).quote('USDC')).rejects.toMatchObject({
      code: 'rate_unavailable',
      details: { spread_percent: '0.39', max_spread_percent: '0.30' },
    })
    expect((await open(config(pair)).quote('USDC')).priceE8).toBe(99_792_500n)
    exchanges.behave('kraken', quotes({ bid: '0.99980', ask: '0.99990', at: START - 2_000 }))
  })
})

describe('a till on a main network', () => {
  it('sells at the rate of the market and says so, and makes no invoice without one', async () => {
    const { chains } = config()
    const till = await openTill({
      at: START,
      config: { keys: { evm: XPUB }, chains, rates: {} },
      runtime: { network: exchanges.network() },
      rates: () => open(config({ min_sources: 3 })),
    })
    try {
      await till.account('acc')
      await till.seedCursor('base')
      const order = { account: 'acc', rail: 'base:USDC', credits: '100' }
      const invoice = await createInvoice(till.ctx, order)
      expect(invoice).toMatchObject({
        amount: '10001501',
        usd: '10.00',
        rate: { usd: '0.99985', at: new Date(START).toISOString() },
      })
      expect(invoice.rate.source).toMatch(/^median of (kraken|bitstamp|bitfinex|chainlink)(, \w+){2,3}$/)
      await expect(
        createInvoice({ ...till.ctx, rates: open(config({ min_sources: 5 })) }, order),
      ).rejects.toMatchObject({ code: 'rate_unavailable' })
      expect(await till.db.query('SELECT id FROM invoice')).toHaveLength(1)
    } finally {
      await till.close()
    }
  })
})

describe('a stablecoin', () => {
  it('sells at $1 at most, and counts in a budget at $1 at least', () => {
    for (const priceE8 of [99_000_000n, 100_000_000n, 101_000_000n]) {
      expect(saleablePrice('USDC', priceE8) <= 100_000_000n).toBe(true)
      expect(budgetPrice('USDC', priceE8) >= 100_000_000n).toBe(true)
      expect([saleablePrice('USDC', priceE8), budgetPrice('USDC', priceE8)]).toContain(priceE8)
    }
    expect(budgetPrice('ETH', 99n)).toBe(99n)
  })
})

describe('the doctor', () => {
  async function examine(file: ConfigFile) {
    const findings: string[] = []
    const settings = {
      path: null,
      config: file,
      database: '',
      dataDir: '',
      host: '',
      port: 0,
      logLevel: 'silent',
    }
    const chains = openChains({ config: { ...file, keys: { evm: XPUB } }, runtime })
    await checkRates({ settings, runtime }, chains, async (name, look) => {
      try {
        findings.push(`${name}: ${await look()}`)
      } catch (error) {
        findings.push(`${name} FAILS: ${toBursarError(error).message}`)
      }
    })
    return findings
  }

  it('shows what each source says and how old it is', async () => {
    await expect(examine(config({ min_sources: 4 }))).resolves.toEqual([
      'rate USDC: 0.99985 USD (median of kraken, bitstamp, bitfinex, chainlink): kraken 0.99985, 2 s old; bitstamp 0.99985, 2 s old; bitfinex 0.99985, 2 s old; chainlink 0.9999, 3600 s old',
    ])
  })

  it('shows it also when there is no price', async () => {
    for (const exchange of EXCHANGES) exchanges.behave(exchange, answers(503))
    const [finding] = await examine(config())
    expect(finding).toContain('rate USDC FAILS: There is no price for USDC that can be trusted')
    expect(finding).toContain('kraken: HTTP 503')
    expect(finding).toContain('chainlink 0.9999, 3600 s old')
  })
})
