/** Several endpoints of one chain, which fail, lag and lie. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Chain, Transfer } from '../../src/chains/chain.ts'
import { type Proxy, type RpcRequest, startProxy } from '../support/proxy.ts'
import { type TestRuntime, testRuntime } from '../support/runtime.ts'
import { deployPasser, type Passer } from '../support/token.ts'
import { keysOf, toTip, watch } from './contract.ts'
import { rejectionOf } from './support.ts'
import { type EvmWorld, evmWorld } from './worlds.ts'

let world: EvmWorld
let passer: Passer
let one: Proxy
let two: Proxy
let three: Proxy
let next = 0

beforeAll(async () => {
  world = await evmWorld()
  await world.anvil.automine(true)
  passer = await deployPasser(world.anvil)
  await world.anvil.automine(false)
  await world.mine(3)
  ;[one, two, three] = await Promise.all([
    startProxy(world.url),
    startProxy(world.url),
    startProxy(world.url),
  ])
})
afterEach(() => {
  for (const proxy of [one, two, three]) {
    proxy.decide = () => 'pass'
    proxy.alter = (_, result) => result
  }
})
afterAll(async () => {
  await Promise.all([one, two, three].map((proxy) => proxy?.stop()))
  await world?.stop()
})

const fresh = () => {
  next += 1
  return world.open().recipient(next).address
}

function open(...proxies: Proxy[]): { chain: Chain; runtime: TestRuntime } {
  const runtime = testRuntime()
  return { runtime, chain: world.openWith({ rpc: proxies.map(({ url }) => url) }, runtime) }
}

const hostOf = ({ url }: Proxy) => new URL(url).host

function eventsOf(runtime: TestRuntime): unknown[] {
  return runtime.lines.map(({ facts }) => (facts as { event?: string }).event)
}

interface RawBlock {
  number: string
  hash: string
  parentHash: string
  transactions: unknown[]
}

/** Lies that hide a payment, or make it larger. */
const lies: Record<string, (request: RpcRequest, result: unknown) => unknown> = {
  'no events': ({ method }, result) => (method === 'eth_getLogs' ? [] : result),
  'another amount': ({ method }, result) =>
    method === 'eth_getLogs'
      ? (result as object[]).map((log) => ({ ...log, data: `0x${'99'.padStart(64, '0')}` }))
      : result,
  'no transactions': ({ method, params }, result) =>
    method === 'eth_getBlockByNumber' && params[1] === true
      ? { ...(result as RawBlock), transactions: [] }
      : result,
  'no internal transfers': ({ method }, result) =>
    method === 'debug_traceBlockByHash'
      ? (result as { result: object }[]).map((trace) => ({
          ...trace,
          result: { ...trace.result, calls: [] },
        }))
      : result,
}

describe('two endpoints', () => {
  it('that agree show each payment once', async () => {
    const address = fresh()
    const { chain, runtime } = open(one, two)
    const cursor = await chain.start()
    await world.pay([{ address, amount: 5n }])
    await world.anvil.send({ to: address, value: 6n })
    await passer.pass('pass', address, 7n)
    await world.mine(2)
    const { transfers, caughtUp } = await toTip(chain, cursor, watch(address))
    expect(transfers.map(({ amount }) => amount)).toEqual([6n, 7n, 5n])
    expect(caughtUp).toBe(true)
    expect(eventsOf(runtime)).toEqual([])
  })

  it.each(Object.keys(lies))('never believe one of them alone: %s', async (lie) => {
    const address = fresh()
    const start = await world.open().start()
    await world.pay([{ address, amount: 5n }])
    await world.anvil.send({ to: address, value: 6n })
    await passer.pass('pass', address, 7n)
    await world.mine(2)
    for (const [liar, other] of [
      [one, two],
      [two, one],
    ] as const) {
      const { chain, runtime } = open(one, two)
      liar.alter = lies[lie] ?? liar.alter
      const error = await rejectionOf(chain.follow(start, watch(address)))
      expect(error.code).toBe('chain_unavailable')
      expect(error.message).toMatch(/do not agree/)
      // For a moment that is the life of a chain; after a while someone has to look.
      expect(eventsOf(runtime)).toEqual([])
      runtime.clock.advance(31_000)
      await rejectionOf(chain.follow(start, watch(address)))
      await rejectionOf(chain.follow(start, watch(address)))
      expect(runtime.lines).toEqual([
        {
          level: 'error',
          facts: {
            event: 'endpoints_disagree',
            chain: 'local',
            endpoints: expect.arrayContaining(
              [one, two].map((proxy) => `${hostOf(proxy)} at ${start.height + 2}`),
            ),
          },
          message: expect.stringContaining('credits on it wait'),
        },
      ])
      liar.alter = other.alter
      const { transfers } = await toTip(chain, start, watch(address))
      expect(transfers.map(({ amount }) => amount)).toEqual([6n, 7n, 5n])
    }
  })

  it('never believe what one of them invents', async () => {
    const address = fresh()
    const start = await world.open().start()
    const txid = await world.pay([{ address: fresh(), amount: 5n }])
    await world.mine(2)
    const topic = `0x${address.slice(2).toLowerCase().padStart(64, '0')}`
    one.alter = ({ method }, result) => {
      const redirect = <T extends { topics: string[] }>(log: T): T => ({
        ...log,
        topics: log.topics.map((value, i) => (i === 2 ? topic : value)),
      })
      if (method === 'eth_getLogs') return (result as { topics: string[] }[]).map(redirect)
      return result
    }
    const { chain } = open(one, two)
    expect((await rejectionOf(chain.follow(start, watch(address)))).code).toBe('chain_unavailable')
    // Alone it is believed: that is what a second endpoint is for.
    const alone = await toTip(open(one).chain, start, watch(address))
    expect(alone.transfers.map((transfer) => transfer.txid)).toEqual([txid])
    expect(await chain.vouch(alone.transfers)).toEqual(new Set())
  })

  it('are read no further than both know, whatever one claims', async () => {
    const start = await world.open().start()
    await world.mine(4)
    two.alter = ({ method, params }, result) =>
      method === 'eth_getBlockByNumber' && params[0] === 'latest'
        ? { ...(result as RawBlock), number: '0xfffffff', hash: `0x${'77'.repeat(32)}` }
        : result
    const { chain } = open(two, one)
    const step = await toTip(chain, start, watch())
    expect(step.cursor.height).toBe(await world.height())
    expect(step.cursor.hash).toBe(await world.hashAt(step.cursor.height))
    const cursor = await open(two, one).chain.start()
    expect(cursor.height).toBe(await world.height())
  })

  it('of which one is a block behind go on from where that one is', async () => {
    const start = await world.open().start()
    await world.mine(4)
    const height = await world.height()
    const before = await world.anvil.rpc<RawBlock>('eth_getBlockByNumber', [
      `0x${(height - 1).toString(16)}`,
      false,
    ])
    two.alter = ({ method, params }, result) =>
      method === 'eth_getBlockByNumber' && params[0] === 'latest' ? before : result
    const { chain } = open(one, two)
    const step = await toTip(chain, start, watch())
    expect(step.cursor.height).toBe(height - 1)
    two.alter = (_, result) => result
    expect((await toTip(chain, step.cursor, watch())).cursor.height).toBe(height)
  })

  it('of which one stands still go on without it after a minute, and say so', async () => {
    const start = await world.open().start()
    const stuck = await world.anvil.rpc('eth_getBlockByNumber', ['latest', false])
    two.alter = ({ method, params }, result) =>
      method === 'eth_getBlockByNumber' && params[0] === 'latest' ? stuck : result
    const { chain, runtime } = open(one, two)
    expect((await chain.follow(start, watch())).cursor).toEqual(start)
    await world.mine(4)
    expect((await chain.follow(start, watch())).cursor).toEqual(start)
    runtime.clock.advance(60_000)
    const step = await toTip(chain, start, watch())
    expect(step.cursor.height).toBe(start.height + 4)
    expect(runtime.lines.map(({ facts }) => facts)).toEqual([
      {
        event: 'endpoint_lagging',
        chain: 'local',
        endpoint: hostOf(two),
        height: start.height,
        behind: 4,
        still_ms: 60_000,
      },
      { event: 'endpoint_alone', chain: 'local', endpoint: hostOf(one), height: start.height + 4 },
    ])
  })

  it('of which one stands still credit what it does not know only after ten minutes', async () => {
    const address = fresh()
    const { chain, runtime } = open(one, two)
    const stuck = await world.anvil.rpc<RawBlock>('eth_getBlockByNumber', ['latest', false])
    two.alter = ({ method, params }, result) => {
      if (method !== 'eth_getBlockByNumber') return result
      if (params[0] === 'latest') return stuck
      return Number(params[0]) > Number(stuck.number) ? null : result
    }
    const start = await chain.start()
    await world.pay([{ address, amount: 5n }])
    await world.mine(2)
    runtime.clock.advance(60_000)
    const { transfers } = await toTip(chain, start, watch(address))
    expect(transfers).toHaveLength(1)
    runtime.clock.advance(500_000)
    expect(await chain.vouch(transfers)).toEqual(new Set())
    runtime.clock.advance(40_000)
    expect(await chain.vouch(transfers)).toEqual(new Set(keysOf(transfers)))
  })

  it('of which one dies go on with the other, say so, and check the first when it is back', async () => {
    const address = fresh()
    const { chain, runtime } = open(one, two)
    const start = await chain.start()
    await world.pay([{ address, amount: 5n }])
    await world.mine()
    one.decide = () => 'drop'
    const step = await toTip(chain, start, watch(address))
    expect(step.transfers).toHaveLength(1)
    expect(eventsOf(runtime)).toEqual(['endpoint_failed', 'endpoint_alone'])
    // It comes back as a node of another chain.
    one.decide = ({ method }) => (method === 'eth_chainId' ? { result: '0x1' } : 'pass')
    runtime.clock.advance(31_000)
    one.count = 0
    await world.pay([{ address, amount: 5n }])
    await world.mine()
    expect((await toTip(chain, step.cursor, watch(address))).transfers).toHaveLength(1)
    expect(one.count).toBe(1)
    // And then as one with another token at that address.
    one.decide = ({ method }) => (method === 'eth_call' ? { result: `0x${'12'.padStart(64, '0')}` } : 'pass')
    expect((await rejectionOf(chain.verify())).code).toBe('invalid_config')
  })

  it('of which one failed for a moment are asked together again, though the clock was set back since', async () => {
    const address = fresh()
    const { chain, runtime } = open(one, two)
    const start = await chain.start()
    two.decide = () => 'drop'
    await chain.follow(start, watch(address))
    two.decide = () => 'pass'
    runtime.clock.advance(-3 * 3_600_000)
    await world.pay([{ address, amount: 5n }])
    await world.mine(2)
    one.alter = lies['no events'] ?? one.alter
    expect((await rejectionOf(chain.follow(start, watch(address)))).message).toMatch(/do not agree/)
  })

  it('take a fork too deep to follow for one only when both show it', async () => {
    const shallow = world.openWith({ rpc: [one.url, two.url], finality_blocks: 3 })
    await world.mine(6)
    const cursor = await shallow.start()
    const other = (request: RpcRequest, result: unknown): unknown => {
      if (request.method !== 'eth_getBlockByNumber' || result === null) return result
      const block = result as RawBlock
      return {
        ...block,
        hash: `0x${'5'.repeat(60)}${block.hash.slice(-4)}`,
        parentHash: `0x${'6'.repeat(64)}`,
      }
    }
    await world.mine()
    one.alter = other
    expect((await rejectionOf(shallow.follow(cursor, watch()))).code).toBe('chain_unavailable')
    two.alter = other
    expect((await rejectionOf(shallow.follow(cursor, watch()))).code).toBe('conflict')
  })

  it('call final what both call final', async () => {
    const start = await world.open().start()
    await world.mine(3)
    one.alter = ({ params }, result) =>
      params[0] === 'finalized' ? { ...(result as RawBlock), number: '0xffffff' } : result
    const { chain } = open(one, two)
    const honest = Number(
      (await world.anvil.rpc<RawBlock>('eth_getBlockByNumber', ['finalized', false])).number,
    )
    expect((await toTip(chain, start, watch())).finalized).toBe(honest)
  })

  it('of which one offers traces show what it sees, and the other speaks for it by balances', async () => {
    const address = fresh()
    two.decide = ({ method }) =>
      method.includes('trace') ? { error: { code: -32601, message: 'no such method' } } : 'pass'
    const start = await world.open().start()
    const txid = await passer.pass('pass', address, 7n)
    await world.mine(2)
    for (const order of [
      [one, two],
      [two, one],
    ]) {
      const { chain } = open(...order)
      const { transfers } = await toTip(chain, start, watch(address))
      expect(keysOf(transfers)).toEqual([`local:${txid}:trace:0`])
      expect(await chain.vouch(transfers)).toEqual(new Set(keysOf(transfers)))
      const more = transfers.map((transfer) => ({ ...transfer, amount: transfer.amount + 1n }))
      expect(await chain.vouch(more)).toEqual(new Set())
    }
  })
})

describe('three endpoints', () => {
  it.each(Object.keys(lies))('outvote the one that lies: %s', async (lie) => {
    const address = fresh()
    const start = await world.open().start()
    await world.pay([{ address, amount: 5n }])
    await world.anvil.send({ to: address, value: 6n })
    await passer.pass('pass', address, 7n)
    await world.mine(2)
    one.alter = lies[lie] ?? one.alter
    const { transfers } = await toTip(open(one, two, three).chain, start, watch(address))
    expect(transfers.map(({ amount }) => amount)).toEqual([6n, 7n, 5n])
  })
})

describe('before a payment is credited', () => {
  async function paid(): Promise<readonly Transfer[]> {
    const address = fresh()
    const chain = world.open()
    const cursor = await chain.start()
    await world.pay([{ address, amount: 5n }])
    await world.anvil.send({ to: address, value: 6n })
    await passer.pass('pass', address, 7n)
    await world.mine(2)
    return (await toTip(chain, cursor, watch(address))).transfers
  }

  it('two endpoints confirm it, block and amount', async () => {
    const transfers = await paid()
    const { chain, runtime } = open(one, two)
    expect(await chain.vouch(transfers)).toEqual(new Set(keysOf(transfers)))
    for (const change of [{ amount: 1n }, { to: fresh() }, { symbol: 'EUR' }]) {
      expect(await chain.vouch(transfers.map((transfer) => ({ ...transfer, ...change })))).toEqual(new Set())
    }
    expect(new Set(eventsOf(runtime))).toEqual(new Set(['payment_unconfirmed']))
    await world.fork(3)
    expect(await chain.vouch(transfers)).toEqual(new Set())
  })

  it('it waits while one denies it, and does not wait for one that is away', async () => {
    const transfers = await paid()
    const { chain } = open(one, two)
    one.alter = ({ method }, result) =>
      method === 'eth_getLogs' ? [] : method === 'eth_getTransactionReceipt' ? null : result
    expect(await chain.vouch(transfers)).toEqual(new Set())
    one.decide = () => 'drop'
    expect(await chain.vouch(transfers)).toEqual(new Set(keysOf(transfers)))
  })
})
