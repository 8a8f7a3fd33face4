import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type EvmNetwork, evmNetwork } from '../../src/chains/evm/network.ts'
import { evmChain } from '../../src/config-schema.ts'
import { chainlinkSource } from '../../src/rates/chainlink.ts'
import { FEEDS } from '../../src/rates/chainlink-feeds.ts'
import { liveRates } from '../../src/rates/live.ts'
import { SourceError } from '../../src/rates/source.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { START, testRuntime } from '../support/runtime.ts'
import { placeFeed, type TestFeed } from './feed.ts'

const NOW = START / 1000
/** Without deadlines: what a busy machine is late with is waited for. */
const runtime = { ...testRuntime(), after: () => () => undefined }
let anvil: Anvil
let base: EvmNetwork
let feed: TestFeed

beforeAll(async () => {
  anvil = await startAnvil({ chainId: 8453 })
  base = networkOf('base', anvil.url)
  feed = await placeFeed(anvil, addressOf(8453, 'ETH'))
})
afterAll(() => anvil.stop())
beforeEach(async () => {
  await feed.describe('ETH / USD')
  await feed.report({ answer: 250_012_345_678n, updatedAt: NOW - 300 })
})

function networkOf(id: string, url: string): EvmNetwork {
  return evmNetwork({
    id,
    config: evmChain.parse({ rpc: [url], assets: [id === 'polygon' ? 'POL' : 'ETH'] }),
    runtime,
  })
}

function addressOf(chainId: number, symbol: string): string {
  const found = FEEDS[chainId]?.[symbol]
  if (!found) throw new Error(`no feed for ${symbol} on ${chainId}`)
  return found.address
}

function ask(symbol = 'ETH', source = chainlinkSource([base])) {
  return source.quote(symbol, AbortSignal.timeout(PATIENCE_MS))
}

describe('chainlink', () => {
  it('reads the latest round through the configured node', async () => {
    await expect(ask()).resolves.toEqual({
      priceE8: 250_012_345_678n,
      at: START - 300_000,
      maxAgeMs: 1_200_000 + 600_000,
    })
  })

  it('scales by the decimals of the feed, cutting off what is finer than 10^-8', async () => {
    await feed.describe('ETH / USD', 18)
    await feed.report({ answer: 2_500_123_456_789_012_345_678n, updatedAt: NOW })
    expect((await ask()).priceE8).toBe(250_012_345_678n)
    await feed.describe('ETH / USD', 2)
    await feed.report({ answer: 250_012n, updatedAt: NOW })
    expect((await ask()).priceE8).toBe(250_012_000_000n)
  })

  it.each([
    ['zero', { answer: 0n, updatedAt: NOW }],
    ['a negative price', { answer: -250_012_345_678n, updatedAt: NOW }],
    ['an unfinished round', { answer: 250_012_345_678n, updatedAt: 0 }],
    [
      'an answer of an earlier round',
      { answer: 250_012_345_678n, updatedAt: NOW, round: 8n, answeredIn: 7n },
    ],
  ])('refuses %s', async (_what, round) => {
    await feed.report(round)
    await expect(ask()).rejects.toThrow(SourceError)
  })

  it('refuses a price that is less than 10^-8 USD', async () => {
    await feed.describe('ETH / USD', 18)
    await feed.report({ answer: 9_999_999_999n, updatedAt: NOW })
    await expect(ask()).rejects.toMatchObject({ problem: 'a price of zero or less' })
  })

  it('refuses the feed of another pair, and a contract that is none', async () => {
    await feed.describe('BTC / USD')
    await expect(ask()).rejects.toMatchObject({ problem: 'the contract is another feed' })
    await expect(ask('USDC'), 'nothing stands there').rejects.toMatchObject({
      problem: 'the feed cannot be read',
    })
  })

  it('prices what it has feeds for, on the chains that are configured', () => {
    expect(chainlinkSource([base]).prices('ETH')).toBe(true)
    expect(chainlinkSource([base]).prices('BNB')).toBe(false)
    expect(chainlinkSource([]).prices('ETH')).toBe(false)
    expect(chainlinkSource([{ ...base, chainId: 31337 }]).prices('ETH')).toBe(false)
  })

  it('is one source however many chains there are, and does without a dead node', async () => {
    const dead = networkOf('ethereum', 'http://127.0.0.1:1')
    expect((await ask('ETH', chainlinkSource([dead, base]))).priceE8).toBe(250_012_345_678n)
    await expect(ask('ETH', chainlinkSource([dead]))).rejects.toMatchObject({
      problem: 'the feed cannot be read',
    })
  })

  it('believes no node of another chain', async () => {
    await placeFeed(anvil, addressOf(1, 'ETH')).then((other) => other.describe('ETH / USD'))
    await expect(ask('ETH', chainlinkSource([networkOf('ethereum', anvil.url)]))).rejects.toThrow(SourceError)
  })

  it('is stale after its heartbeat, however young other prices must be', async () => {
    const rates = liveRates({
      sources: [chainlinkSource([base])],
      maxAgeMs: 10_000,
      maxSpread: 15_000n,
      minSources: 2,
      runtime,
    })
    await feed.report({ answer: 1n, updatedAt: NOW - 1_800 })
    await expect(rates.survey('ETH')).resolves.toMatchObject([{ source: 'chainlink', priceE8: 1n }])
    await feed.report({ answer: 1n, updatedAt: NOW - 1_801 })
    await expect(rates.survey('ETH')).resolves.toEqual([
      { source: 'chainlink', problem: 'its price is 1801 s old' },
    ])
  })
})

it('lists every feed once, with a checksummed address', async () => {
  const { getAddress } = await import('viem')
  for (const [chain, feeds] of Object.entries(FEEDS)) {
    const addresses = Object.values(feeds).map((one) => one.address)
    expect(new Set(addresses).size, chain).toBe(addresses.length)
    for (const address of addresses) expect(getAddress(address.toLowerCase())).toBe(address)
  }
})
