import { BaseError, encodeFunctionData, parseAbi } from 'viem'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Chain } from '../../src/chains/chain.ts'
import { openChains, openEvmNetworks } from '../../src/chains/index.ts'
import { BursarError } from '../../src/errors.ts'
import { systemRuntime } from '../../src/runtime.ts'
import { startAnvil } from '../support/anvil.ts'
import { type Proxy, startProxy } from '../support/proxy.ts'
import { compiled, deploy, deployToken, type TestToken } from '../support/token.ts'
import { chainContract, keysOf, toTip, watch } from './contract.ts'
import { rejectionOf } from './support.ts'
import { EVM_KEY, type EvmWorld, evmWorld } from './worlds.ts'

chainContract('evm', evmWorld)

describe('evm', () => {
  let world: EvmWorld
  let chain: Chain
  let proxy: Proxy
  let fake: TestToken
  let collectible: string
  let next = 100

  beforeAll(async () => {
    world = await evmWorld()
    await world.anvil.automine(true)
    fake = await deployToken(world.anvil)
    collectible = await deploy(world.anvil, compiled('Collectible'))
    await world.anvil.automine(false)
    proxy = await startProxy(world.url)
    chain = world.open()
  })
  afterEach(() => {
    proxy.decide = () => 'pass'
  })
  afterAll(async () => {
    await proxy?.stop()
    await world?.stop()
  })

  const fresh = () => {
    next += 1
    return chain.recipient(next).address
  }

  it('finds coins, in amounts that no 64-bit integer holds', async () => {
    const address = fresh()
    const cursor = await chain.start()
    await world.anvil.rpc('anvil_setBalance', [
      world.anvil.accounts[3]?.address,
      `0x${(10n ** 24n).toString(16)}`,
    ])
    const value = 12_345_678_901_234_567_890_123n
    const txid = await world.anvil.send({ from: world.anvil.accounts[3]?.address ?? '', to: address, value })
    await world.anvil.send({ to: address, value: 0n })
    await world.mine()
    const { transfers } = await toTip(chain, cursor, watch(address))
    expect(transfers).toMatchObject([
      { key: `local:${txid}:trace:`, symbol: 'ETH', to: address, amount: value },
    ])
  })

  it('counts no coins of a transaction that was mined and failed', async () => {
    const { splitter } = world
    const cursor = await chain.start()
    const failed = await splitter.fail(5_000n)
    const paid = await world.anvil.send({ to: splitter.address, value: 7_000n })
    await world.mine()
    expect((await world.anvil.mined(failed)).status).toBe('0x0')
    const { transfers } = await toTip(chain, cursor, watch(splitter.address))
    expect(transfers.map(({ txid, amount }) => [txid, amount])).toEqual([[paid, 7_000n]])
  })

  it('counts neither another token, nor a collectible, nor an event about nothing', async () => {
    const address = fresh()
    const watched = watch(address)
    const all = world.openWith({
      assets: ['USDC', 'NFT'],
      tokens: {
        USDC: { contract: world.token.address, decimals: 6 },
        NFT: { contract: collectible, decimals: 0 },
      },
    })
    const cursor = await all.start()
    await fake.mint(address, 1_000_000n)
    await world.token.mint(address, 0n)
    const abi = parseAbi(['function give(address to, uint256 id)'])
    const data = encodeFunctionData({ abi, functionName: 'give', args: [address as `0x${string}`, 77n] })
    await world.anvil.send({ to: collectible, data })
    const good = await world.token.mint(address, 1n)
    await world.mine()
    const { transfers } = await toTip(all, cursor, watched)
    expect(transfers.map(({ txid, amount }) => [txid, amount])).toEqual([[good, 1n]])
  })

  it('names a token payment by its place in its own receipt, which survives another order of transactions', async () => {
    const [a, b] = [fresh(), fresh()]
    const watched = watch(a, b)
    await world.mine()
    const cursor = await chain.start()
    const first = await world.pay([{ address: a, amount: 1n }])
    const second = await world.token.mint(b, 2n)
    await world.mine()
    const before = await toTip(chain, cursor, watched)
    // The splitter logs something of its own first; the block-wide index of the second event is 2.
    expect(keysOf(before.transfers)).toEqual([`local:${first}:log:1`, `local:${second}:log:0`])
    const raw = await world.anvil.rawTransaction(second)
    await world.fork(1)
    await world.again(first)
    await world.mine()
    await world.anvil.sendRaw(raw)
    await world.mine()
    const after = await toTip(chain, before.cursor, watched)
    expect(keysOf(after.transfers)).toEqual(keysOf(before.transfers))
  })

  it('lists coins and tokens of one block together', async () => {
    const address = fresh()
    const cursor = await chain.start()
    await world.anvil.send({ to: address, value: 5n })
    await world.token.mint(address, 6n)
    await world.mine()
    const { transfers } = await toTip(chain, cursor, watch(address))
    expect(transfers.map(({ symbol, amount }) => [symbol, amount])).toEqual([
      ['ETH', 5n],
      ['USDC', 6n],
    ])
  })

  it('asks for whole blocks only where the coin is accepted', async () => {
    const tokensOnly = world.openWith({ rpc: [proxy.url], assets: ['USDC'] })
    const cursor = await tokensOnly.start()
    const address = fresh()
    await world.anvil.send({ to: address, value: 5n })
    await world.token.mint(address, 6n)
    await world.mine()
    const whole: unknown[] = []
    proxy.decide = ({ method, params }) => {
      if (method === 'eth_getBlockByNumber' && params[1] === true) whole.push(params)
      return 'pass'
    }
    const { transfers } = await toTip(tokensOnly, cursor, watch(address))
    expect(transfers.map(({ symbol }) => symbol)).toEqual(['USDC'])
    expect(whole).toEqual([])
  })

  it('reads old blocks in one range, halved as often as the provider demands', async () => {
    const [a, b, c] = [fresh(), fresh(), fresh()]
    const limited = world.openWith({ rpc: [proxy.url], finality_blocks: 4 })
    const cursor = await limited.start()
    for (const address of [a, b, c]) {
      await world.pay([{ address, amount: 1_000n }])
      await world.mine(13)
    }
    const ranges: number[] = []
    proxy.decide = ({ method, params }) => {
      const query = params[0] as { fromBlock?: string; toBlock?: string }
      if (method !== 'eth_getLogs' || query.fromBlock === undefined) return 'pass'
      const size = Number(query.toBlock) - Number(query.fromBlock) + 1
      ranges.push(size)
      return size > 10 ? { error: { code: -32602, message: 'query exceeds max block range 10' } } : 'pass'
    }
    const { transfers } = await toTip(limited, cursor, watch(a, b, c))
    expect(transfers.map(({ to }) => to)).toEqual([a, b, c])
    expect(ranges[0]).toBe(35)
    expect(ranges.filter((size) => size <= 10).reduce((sum, size) => sum + size, 0)).toBe(35)
  })

  it.each(['eth_getLogs', 'eth_getTransactionReceipt', 'eth_getBlockByNumber'])(
    'mixes no two chains when one forks away during %s',
    async (during) => {
      const address = fresh()
      const cursor = await chain.start()
      await world.mine()
      await world.pay([{ address, amount: 1_000n }])
      await world.mine(2)
      const racing = world.openWith({ rpc: [proxy.url] })
      await racing.verify()
      let forked = false
      proxy.decide = async ({ method, params }): Promise<'pass'> => {
        if (method === during && !forked && params[0] !== 'latest') {
          forked = true
          await world.fork(3)
        }
        return 'pass'
      }
      const step = await racing.follow(cursor, watch(address))
      expect(forked).toBe(true)
      expect(step.transfers).toEqual([])
      expect(step.cursor.hash).toBe(await world.hashAt(step.cursor.height))
      expect(step.tip.hash).toBe(step.cursor.hash)
    },
  )

  it('notices a fork below the cursor that comes while it catches up', async () => {
    await world.mine(2)
    const cursor = await chain.start()
    await world.mine(80)
    const racing = world.openWith({ rpc: [proxy.url] })
    await racing.verify()
    let fork: Promise<void> | undefined
    proxy.decide = async ({ method, params }): Promise<'pass'> => {
      const next = params[0] === `0x${(cursor.height + 1).toString(16)}`
      if (method === 'eth_getBlockByNumber' && next) fork ??= world.fork(82)
      await fork
      return 'pass'
    }
    const step = await racing.follow(cursor, watch())
    expect(step.forkedAt).toBe(cursor.height - 2)
    expect(step.caughtUp).toBe(false)
    expect(step.cursor.hash).toBe(await world.hashAt(step.cursor.height))
  })

  it('never gives a payment the block that it was in before it moved', async () => {
    const address = fresh()
    const cursor = await chain.start()
    await world.mine()
    const txid = await world.pay([{ address, amount: 1_000n }])
    await world.mine(2)
    const racing = world.openWith({ rpc: [proxy.url] })
    await racing.verify()
    let forked = false
    proxy.decide = async ({ method }): Promise<'pass'> => {
      if (method === 'eth_getTransactionReceipt' && !forked) {
        forked = true
        await world.fork(3)
        await world.again(txid)
        await world.mine()
      }
      return 'pass'
    }
    const { transfers } = await toTip(racing, cursor, watch(address))
    const block = transfers[0]?.block
    expect(transfers).toHaveLength(1)
    expect(block?.hash).toBe(await world.hashAt(block?.height ?? 0))
  })

  it('takes a node that lacks blocks below its own tip for unreachable, never for a fork', async () => {
    const cursor = await chain.start()
    await world.mine(2)
    const patchy = world.openWith({ rpc: [proxy.url] })
    proxy.decide = ({ method, params }) =>
      method === 'eth_getBlockByNumber' && params[0] !== 'latest' ? { result: null } : 'pass'
    expect((await rejectionOf(patchy.follow(cursor, watch()))).code).toBe('chain_unavailable')
  })

  it.each([null, 'garbage', { hash: 7 }, []])('takes the answer %j for none', async (result) => {
    const cursor = await chain.start()
    await world.mine()
    const broken = world.openWith({ rpc: [proxy.url] })
    await broken.verify()
    proxy.decide = () => ({ result })
    expect((await rejectionOf(broken.follow(cursor, watch()))).code).toBe('chain_unavailable')
  })

  it('tells what the chain calls final, or null where it does not say', async () => {
    const cursor = await chain.start()
    await world.mine(70)
    const step = await chain.follow(cursor, watch())
    expect(step.finalized).toBe(step.tip.height - 64)
    const older = world.openWith({ rpc: [proxy.url] })
    proxy.decide = ({ params }) =>
      params[0] === 'finalized' ? { error: { code: -32602, message: 'unknown block tag' } } : 'pass'
    expect((await older.follow(cursor, watch())).finalized).toBeNull()
  })

  it.each([
    ['no contract there', () => '0x00000000000000000000000000000000000000aa', 6, /no contract at/],
    ['other decimals', () => world.token.address, 18, /has 6 decimals, 18 were expected/],
    ['not a token', () => world.splitter.address, 6, /does not say its decimals/],
  ])('refuses a token with %s', async (_why, contract, decimals, message) => {
    const wrong = world.openWith({ tokens: { USDC: { contract: contract(), decimals } } })
    const error = await rejectionOf(wrong.verify())
    expect(error.code).toBe('invalid_config')
    expect(error.message).toMatch(message)
  })

  it('gives a purse a client with failover, in which refusals and outages can be told apart', async () => {
    const { anvil } = world
    const networkAt = (...rpc: string[]) => {
      const local = { family: 'evm' as const, chain_id: anvil.chainId, rpc, assets: ['ETH'], tokens: {} }
      const [network] = openEvmNetworks({ config: { chains: { local } }, runtime: systemRuntime('silent') })
      if (!network) throw new Error('one network was configured')
      return network
    }
    const address = anvil.accounts[5]?.address ?? '0x'
    const client = networkAt('http://127.0.0.1:9', world.url).client()
    expect(await client.getBalance({ address })).toBe(10n ** 22n)
    const refusal = await client
      .sendRawTransaction({ serializedTransaction: '0x02deadbeef' })
      .catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(BaseError)
    expect(causes(refusal).some((error) => error instanceof BursarError)).toBe(false)
    const outage = await networkAt('http://user:s3cret@127.0.0.1:9')
      .client()
      .getBalance({ address })
      .catch((error: unknown) => error)
    expect(causes(outage)).toContainEqual(expect.objectContaining({ code: 'chain_unavailable' }))
    expect(causes(outage).map(String).join()).not.toContain('s3cret')
  })

  it('refuses an endpoint of another chain among good ones, and never reads from it', async () => {
    const other = await startAnvil({ chainId: 31338 })
    try {
      const mixed = world.openWith({ rpc: [world.url, other.url] })
      expect((await rejectionOf(mixed.verify())).code).toBe('invalid_config')
      const fallback = world.openWith({ rpc: ['http://127.0.0.1:9', other.url] })
      const error = await rejectionOf(fallback.start())
      expect(error.code).toBe('invalid_config')
      expect(error.message).toMatch(/serves chain 31338; expected chain 31337/)
    } finally {
      await other.stop()
    }
  })
})

function causes(thrown: unknown): unknown[] {
  return thrown instanceof Error ? [thrown, ...causes(thrown.cause)] : []
}

describe('polygon', () => {
  it('counts its coin once and no bridged dollars, at the real addresses', async () => {
    const anvil = await startAnvil({ chainId: 137 })
    try {
      const usdc = await deployToken(anvil, '0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359')
      const bridged = await deployToken(anvil, '0x2791Bca1f2de4661ED88A30C99A7a9449Aa84174')
      const [polygon] = openChains({
        config: {
          keys: { evm: EVM_KEY },
          chains: { polygon: { family: 'evm', rpc: [anvil.url], assets: ['POL', 'USDC'], tokens: {} } },
        },
        runtime: systemRuntime('silent'),
      })
      if (!polygon) throw new Error('one chain was configured')
      await polygon.verify()
      expect(polygon).toMatchObject({ main: true, caip2: 'eip155:137', network: 'Polygon' })
      const { address } = polygon.recipient(0)
      const cursor = await polygon.start()
      await anvil.send({ to: address, value: 3n })
      await bridged.mint(address, 4n)
      await anvil.mined(await usdc.mint(address, 5n))
      const { transfers } = await toTip(polygon, cursor, watch(address))
      expect(transfers.map(({ symbol, amount }) => [symbol, amount])).toEqual([
        ['POL', 3n],
        ['USDC', 5n],
      ])
    } finally {
      await anvil.stop()
    }
  })
})
