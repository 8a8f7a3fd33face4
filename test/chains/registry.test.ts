import * as fc from 'fast-check'
import * as chains from 'viem/chains'
import { describe, expect, it } from 'vitest'
import { isMainNetwork } from '../../src/chains/evm/presets.ts'
import { openChains, openEvmNetworks } from '../../src/chains/index.ts'
import { parseConfig } from '../../src/config.ts'
import { systemRuntime } from '../../src/runtime.ts'
import { errorOf } from './support.ts'
import { BITCOIN_KEY, EVM_KEY } from './worlds.ts'

const runtime = systemRuntime('silent')
const rpc = ['http://127.0.0.1:9']

/** Opens the chains of a configuration as a user would write it. */
function open(chainsConfig: object, keys: object = { evm: EVM_KEY, bitcoin: BITCOIN_KEY }) {
  const config = parseConfig(JSON.stringify({ keys, chains: chainsConfig }), {}, 'test')
  return openChains({ config, runtime })
}

function refused(chainsConfig: object, keys?: object) {
  const error = errorOf(() => open(chainsConfig, keys))
  expect(error.code).toBe('invalid_config')
  expect(error.remedy).toBeTruthy()
  return error.message
}

describe('the registry', () => {
  it('opens every chain in the configured order, with what is known about each', () => {
    const opened = open({
      bitcoin: { family: 'bitcoin', rpc },
      polygon: { rpc, assets: ['USDC', 'POL'] },
      ethereum: { rpc, assets: ['ETH', 'USDT'] },
    })
    expect(opened.map(({ id, caip2, network, main }) => [id, caip2, network, main])).toEqual([
      ['bitcoin', 'bip122:000000000019d6689c085ae165831e93', 'Bitcoin', true],
      ['polygon', 'eip155:137', 'Polygon', true],
      ['ethereum', 'eip155:1', 'Ethereum', true],
    ])
    expect(opened[1]?.assets).toEqual([
      { symbol: 'USDC', decimals: 6, contract: '0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359' },
      { symbol: 'POL', decimals: 18 },
    ])
    for (const chain of opened) {
      expect(chain.pollMs).toBeGreaterThan(0)
      expect(chain.finalityDepth).toBeGreaterThanOrEqual(chain.confirmationsNeeded(0n))
    }
  })

  it('knows a local chain, and refuses it beside real money', () => {
    const local = { rpc, chain_id: 31337, assets: ['ETH'] }
    expect(open({ local })).toMatchObject([
      { caip2: 'eip155:31337', network: 'local chain 31337', main: false },
    ])
    expect(refused({ local, ethereum: { rpc, assets: ['ETH'] } })).toMatch(
      /chains\.ethereum is a main network and chains\.local is not/,
    )
  })

  it('opens nothing without chains, and needs no key then', () => {
    expect(open({}, {})).toEqual([])
  })

  it('shares one key among EVM chains, and its addresses', () => {
    const [a, b] = open({ polygon: { rpc, assets: ['POL'] }, base: { rpc, assets: ['ETH'] } })
    expect(a?.keyFingerprint).toBe(b?.keyFingerprint)
    expect(a?.recipient(4)).toEqual(b?.recipient(4))
  })

  it('opens EVM networks for a purse without any key', () => {
    const config = parseConfig(
      JSON.stringify({ chains: { bitcoin: { family: 'bitcoin', rpc }, polygon: { rpc, assets: ['USDC'] } } }),
      {},
      'test',
    )
    const [polygon, ...others] = openEvmNetworks({ config, runtime })
    expect(others).toEqual([])
    expect(polygon).toMatchObject({ id: 'polygon', chainId: 137, native: { symbol: 'POL', decimals: 18 } })
  })

  it.each([
    [
      'no EVM key',
      { polygon: { rpc, assets: ['POL'] } },
      /keys\.evm is missing, and chains\.polygon needs it/,
      {},
    ],
    ['no Bitcoin key', { bitcoin: { family: 'bitcoin', rpc } }, /keys\.bitcoin is missing/, {}],
    ['no chain id', { mychain: { rpc, assets: ['ETH'] } }, /chains\.mychain\.chain_id is missing/],
    ['an unknown asset', { polygon: { rpc, assets: ['DAI'] } }, /DAI is not known.*POL, USDC, USDT/],
    ['a coin of another chain', { polygon: { rpc, assets: ['ETH'] } }, /ETH is not known/],
    [
      'another chain under a known name',
      { polygon: { rpc, chain_id: 1, assets: ['ETH'] } },
      /polygon is chain 137/,
    ],
    [
      'another ticker for a known coin',
      { polygon: { rpc, native: 'ETH', assets: ['ETH'] } },
      /coin of Polygon is POL/,
    ],
    [
      'one network twice',
      { polygon: { rpc, assets: ['POL'] }, second: { rpc, chain_id: 137, assets: ['POL'] } },
      /same network/,
    ],
    ['one Bitcoin twice', { a: { family: 'bitcoin', rpc }, b: { family: 'bitcoin', rpc } }, /same network/],
    ['an asset twice', { polygon: { rpc, assets: ['POL', 'POL'] } }, /POL twice/],
    [
      'bridged dollars as USDC',
      {
        polygon: {
          rpc,
          assets: ['USDC'],
          tokens: { USDC: { contract: '0x2791Bca1f2de4661ED88A30C99A7a9449Aa84174', decimals: 6 } },
        },
      },
      /USDC on Polygon is 0x3c499c/,
    ],
    [
      "Polygon's coin as a token",
      {
        polygon: {
          rpc,
          assets: ['MATIC'],
          tokens: { MATIC: { contract: '0x0000000000000000000000000000000000001010', decimals: 18 } },
        },
      },
      /own coin/,
    ],
    [
      'a token with the ticker of the coin',
      {
        local: {
          rpc,
          chain_id: 31337,
          assets: ['ETH'],
          tokens: { ETH: { contract: '0x2791Bca1f2de4661ED88A30C99A7a9449Aa84174', decimals: 6 } },
        },
      },
      /ticker of the coin itself/,
    ],
    [
      'one contract under two tickers',
      {
        local: {
          rpc,
          chain_id: 31337,
          assets: ['AAA', 'BBB'],
          tokens: {
            AAA: { contract: '0x2791bca1f2de4661ed88a30c99a7a9449aa84174', decimals: 6 },
            BBB: { contract: '0x2791Bca1f2de4661ED88A30C99A7a9449Aa84174', decimals: 6 },
          },
        },
      },
      /twice/,
    ],
    [
      'a mistyped contract',
      {
        local: {
          rpc,
          chain_id: 31337,
          assets: ['AAA'],
          tokens: { AAA: { contract: '0x2791Bca1f2de4661ED88A30C99A7a9449Aa84175', decimals: 6 } },
        },
      },
      /wrong checksum/,
    ],
    ['another prefix on Bitcoin', { bitcoin: { family: 'bitcoin', rpc, bech32: 'ltc' } }, /expected "bc"/],
    [
      'confirmations out of order',
      {
        polygon: {
          rpc,
          assets: ['POL'],
          confirmations: [{ up_to_usd: '100', blocks: 5 }, { up_to_usd: '50', blocks: 6 }, { blocks: 9 }],
        },
      },
      /out of order/,
    ],
    [
      'fewer confirmations for more',
      { polygon: { rpc, assets: ['POL'], confirmations: [{ up_to_usd: '100', blocks: 5 }, { blocks: 4 }] } },
      /out of order/,
    ],
  ])('refuses %s', (_what, chainsConfig, message, keys?: object) => {
    expect(refused(chainsConfig, keys)).toMatch(message)
  })

  it('takes contracts in lower case and shows them with their checksum', () => {
    const [local] = open({
      local: {
        rpc,
        chain_id: 31337,
        assets: ['AAA'],
        tokens: { AAA: { contract: '0x2791bca1f2de4661ed88a30c99a7a9449aa84174', decimals: 6 } },
      },
    })
    expect(local?.assets[0]?.contract).toBe('0x2791Bca1f2de4661ED88A30C99A7a9449Aa84174')
  })
})

describe('main networks', () => {
  it('are those that viem knows as production, never one of its test networks', () => {
    const known = Object.values(chains).filter((chain) => 'id' in chain)
    const production = new Set(known.filter((chain) => chain.testnet !== true).map(({ id }) => id))
    // A few ids are used by a production and a test network: those count as production.
    const testIds = known.map(({ id }) => id).filter((id) => !production.has(id))
    expect(testIds.length).toBeGreaterThan(50)
    expect(testIds.filter(isMainNetwork)).toEqual([])
    expect([31337, 1337].filter(isMainNetwork)).toEqual([])
    expect([1, 10, 56, 100, 137, 250, 8453, 42161, 42220, 43114, 59144, 534352].every(isMainNetwork)).toBe(
      true,
    )
  })
})

describe('confirmations', () => {
  const table = [{ up_to_usd: '10', blocks: 1 }, { up_to_usd: '99.50', blocks: 3 }, { blocks: 12 }]
  const [chain] = open({ polygon: { rpc, assets: ['POL'], confirmations: table } })

  it.each([
    [0n, 1],
    [10_000_000n, 1],
    [10_000_001n, 3],
    [99_500_000n, 3],
    [99_500_001n, 12],
    [10n ** 18n, 12],
  ])('for %s micro-USD are %i', (usd, blocks) => {
    expect(chain?.confirmationsNeeded(usd)).toBe(blocks)
  })

  it('never fall as the value rises, by default', () => {
    const opened = open({
      bitcoin: { family: 'bitcoin', rpc },
      ...Object.fromEntries(
        ['ethereum', 'base', 'arbitrum', 'optimism'].map((id) => [id, { rpc, assets: ['ETH'] }]),
      ),
    })
    const usd = fc.bigInt({ min: 0n, max: 10n ** 13n })
    fc.assert(
      fc.property(usd, usd, fc.constantFrom(...opened), (a, b, one) => {
        const [low, high] = a < b ? [a, b] : [b, a]
        expect(one.confirmationsNeeded(low)).toBeLessThanOrEqual(one.confirmationsNeeded(high))
        expect(one.confirmationsNeeded(low)).toBeGreaterThanOrEqual(1)
      }),
    )
  })
})

describe('payment URIs', () => {
  const [bitcoin, polygon] = open({
    bitcoin: { family: 'bitcoin', rpc },
    polygon: { rpc, assets: ['USDC', 'POL'] },
  })

  it.each([
    // The amounts of the examples in BIP-321.
    [5_000_000_000n, '50'],
    [2_030_000_000n, '20.3'],
    [1n, '0.00000001'],
    [123_456_789n, '1.23456789'],
    [2_100_000_000_000_000n, '21000000'],
  ])('of %s satoshi ask for %s BTC (BIP-321)', (amount, text) => {
    const address = 'bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu'
    expect(bitcoin?.uri({ address, symbol: 'BTC', amount })).toBe(`bitcoin:${address}?amount=${text}`)
  })

  it('of coins and tokens follow EIP-681', () => {
    const address = '0x8e23Ee67d1332aD560396262C48ffbB01f93D052'
    expect(polygon?.uri({ address, symbol: 'POL', amount: 2_014_000_000_000_000_000n })).toBe(
      `ethereum:${address}@137?value=2014000000000000000`,
    )
    expect(polygon?.uri({ address, symbol: 'USDC', amount: 1n })).toBe(
      `ethereum:0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359@137/transfer?address=${address}&uint256=1`,
    )
  })

  it('are refused for what the chain does not accept', () => {
    const address = '0x8e23Ee67d1332aD560396262C48ffbB01f93D052'
    expect(errorOf(() => polygon?.uri({ address, symbol: 'DAI', amount: 1n })).code).toBe('invalid_request')
    expect(errorOf(() => bitcoin?.uri({ address, symbol: 'ETH', amount: 1n })).code).toBe('invalid_request')
  })
})
