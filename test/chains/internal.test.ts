/** Coins that contracts pass on: found in block traces, of whichever kind, or claimed. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Chain } from '../../src/chains/chain.ts'
import { type Proxy, type RpcRequest, startProxy, type Verdict } from '../support/proxy.ts'
import { testRuntime } from '../support/runtime.ts'
import { deployPasser, type Passer, type Passing } from '../support/token.ts'
import { toTip, watch } from './contract.ts'
import { type EvmWorld, evmWorld } from './worlds.ts'

let world: EvmWorld
let passer: Passer
let proxy: Proxy
let next = 0

beforeAll(async () => {
  world = await evmWorld()
  await world.anvil.automine(true)
  passer = await deployPasser(world.anvil)
  await world.anvil.automine(false)
  proxy = await startProxy(world.url)
})
afterEach(() => {
  proxy.decide = () => 'pass'
  proxy.alter = (_, result) => result
})
afterAll(async () => {
  await proxy?.stop()
  await world?.stop()
})

const fresh = () => {
  next += 1
  return world.open().recipient(next).address
}

const NO_METHOD = { error: { code: -32601, message: 'the method does not exist' } } as const

/** An endpoint that offers only some of the trace methods. */
function offering(...methods: string[]): (request: RpcRequest) => Verdict {
  return ({ method }) => (method.includes('trace') && !methods.includes(method) ? NO_METHOD : 'pass')
}

describe.each([['debug_traceBlockByHash'], ['trace_block']])('with %s', (method) => {
  let chain: Chain
  beforeAll(() => {
    chain = world.openWith({ rpc: [proxy.url] })
  })

  const paid: [Passing, string[]][] = [
    ['pass', ['0']],
    ['passSigned', ['0']],
    ['passTwice', ['0', '1']],
    ['passDeep', ['0.0']],
    ['passByDelegate', ['0.0']],
    ['passByDestruction', ['1.0']],
    ['failInside', []],
    ['pretend', []],
    ['failWhole', []],
  ]
  it.each(paid)('%s pays at %j', async (how, paths) => {
    proxy.decide = offering(method)
    const address = fresh()
    const cursor = await chain.start()
    const before = BigInt(await world.anvil.rpc('eth_getBalance', [address, 'latest']))
    const txid = await passer.pass(how, address, 1_000n)
    await world.mine()
    const { transfers } = await toTip(chain, cursor, watch(address))
    expect(transfers.map(({ key }) => key)).toEqual(paths.map((path) => `local:${txid}:trace:${path}`))
    const sum = transfers.reduce((total, { amount }) => total + amount, 0n)
    expect(BigInt(await world.anvil.rpc('eth_getBalance', [address, 'latest'])) - before).toBe(sum)
    expect(sum).toBe(paths.length === 0 ? 0n : 1_000n)
  })

  it('gives a transaction that pays directly its own key, and what it passes on another', async () => {
    proxy.decide = offering(method)
    const address = fresh()
    const cursor = await chain.start()
    const direct = await world.anvil.send({ to: address, value: 5n })
    const passed = await passer.pass('pass', address, 7n)
    await world.mine()
    const { transfers } = await toTip(chain, cursor, watch(address, passer.address))
    expect(transfers.map(({ key, amount }) => [key, amount])).toEqual([
      [`local:${direct}:trace:`, 5n],
      [`local:${passed}:trace:`, 7n],
      [`local:${passed}:trace:0`, 7n],
    ])
  })
})

it('leaves calls of precompiled contracts out of the numbering, as some nodes do', async () => {
  // As geth's flatCallTracer and others show it: the calls before the payment are not there.
  proxy.decide = offering('debug_traceBlockByHash')
  proxy.alter = ({ method }, result) => {
    if (method !== 'debug_traceBlockByHash') return result
    const traces = result as { result: { calls?: { to: string }[] } }[]
    return traces.map((trace) => ({
      ...trace,
      result: { ...trace.result, calls: trace.result.calls?.filter(({ to }) => BigInt(to) > 0xffffn) },
    }))
  }
  const address = fresh()
  const chain = world.openWith({ rpc: [proxy.url] })
  const cursor = await chain.start()
  const txid = await passer.pass('passSigned', address, 9n)
  await world.mine()
  const { transfers } = await toTip(chain, cursor, watch(address))
  expect(transfers.map(({ key }) => key)).toEqual([`local:${txid}:trace:0`])
})

it.each([
  ['no answer', null],
  ['a transaction missing', []],
  ['a trace that failed', [{ error: 'execution timeout' }, { error: 'execution timeout' }]],
])('reads on without traces where there is %s, and says so', async (_why, result) => {
  const address = fresh()
  const runtime = testRuntime()
  const chain = world.openWith({ rpc: [proxy.url] }, runtime)
  const cursor = await chain.start()
  await passer.pass('pass', address, 9n)
  const direct = await world.anvil.send({ to: address, value: 5n })
  await world.mine()
  proxy.alter = (request, given) => (request.method.includes('trace') ? result : given)
  const { transfers } = await toTip(chain, cursor, watch(address))
  expect(transfers.map(({ key }) => key)).toEqual([`local:${direct}:trace:`])
  expect(runtime.lines.map(({ facts }) => facts)).toEqual([
    {
      event: 'block_untraced',
      chain: 'local',
      endpoint: new URL(proxy.url).host,
      height: await world.height(),
    },
  ])
})

it('asks for no traces where the configuration wants none, or the coin is not accepted', async () => {
  const traced: string[] = []
  proxy.decide = ({ method }) => {
    if (method.includes('trace')) traced.push(method)
    return 'pass'
  }
  const address = fresh()
  const chains = [
    world.openWith({ rpc: [proxy.url], traces: false }),
    world.openWith({ rpc: [proxy.url], assets: ['USDC'] }),
  ]
  for (const chain of chains) {
    const cursor = await chain.start()
    await passer.pass('pass', address, 9n)
    await world.mine()
    expect((await toTip(chain, cursor, watch(address))).transfers).toEqual([])
  }
  expect(traced).toEqual([])
})

it('asks an endpoint without traces rarely', async () => {
  let asked = 0
  proxy.decide = (request) => {
    if (request.method.includes('trace')) asked += 1
    return offering()(request)
  }
  const chain = world.openWith({ rpc: [proxy.url] })
  let cursor = await chain.start()
  for (let i = 0; i < 5; i += 1) {
    await world.anvil.send({ to: fresh(), value: 1n })
    await world.mine()
    cursor = (await toTip(chain, cursor, watch())).cursor
  }
  expect(asked).toBe(2)
})

it('says which endpoint offers traces and which leaves it to claims', async () => {
  proxy.decide = offering()
  await world.anvil.send({ to: fresh(), value: 1n })
  await world.mine()
  const chain = world.openWith({ rpc: [proxy.url, world.url, 'http://127.0.0.1:9'] })
  const height = await world.height()
  const finalized = Math.max(0, height - 64)
  expect(await chain.endpoints()).toEqual([
    { endpoint: new URL(proxy.url).host, height, finalized, internal: 'claimed' },
    { endpoint: new URL(world.url).host, height, finalized, internal: 'traced' },
    { endpoint: '127.0.0.1:9', height: null, finalized: null, internal: null },
  ])
})

describe('what a transaction paid to an address', () => {
  const ask = (chain: Chain, txid: string, address: string) => {
    if (!chain.paidBy) throw new Error('an EVM chain can be asked')
    return chain.paidBy(txid, address)
  }

  it('has the key that following gives it, where there are traces', async () => {
    const address = fresh()
    const chain = world.open()
    const cursor = await chain.start()
    const txid = await passer.pass('passTwice', address, 1_000n)
    await world.mine()
    const followed = await toTip(chain, cursor, watch(address))
    expect(await ask(chain, txid, address)).toEqual(followed.transfers)
    expect(followed.transfers).toHaveLength(2)
  })

  it('is read from balances where there are none, less what is known otherwise', async () => {
    const address = fresh()
    proxy.decide = offering()
    const chain = world.openWith({ rpc: [proxy.url] })
    const cursor = await chain.start()
    await world.anvil.send({ to: address, value: 500n })
    const txid = await passer.pass('passDeep', address, 1_000n)
    const height = (await world.height()) + 1
    await world.mine(3)
    expect(await ask(chain, txid, address)).toMatchObject([
      { key: `local:${txid}:trace:untraced:${address}`, amount: 1_000n, symbol: 'ETH', block: { height } },
    ])
    expect((await toTip(chain, cursor, watch(address))).transfers).toMatchObject([{ amount: 500n }])
  })

  it('is nothing for a transaction that failed, that is unknown, or that paid someone else', async () => {
    const address = fresh()
    proxy.decide = offering()
    const chain = world.openWith({ rpc: [proxy.url] })
    const failed = await passer.pass('failWhole', address, 1_000n)
    const inside = await passer.pass('failInside', address, 1_000n)
    const elsewhere = await passer.pass('pass', fresh(), 1_000n)
    await world.mine()
    for (const txid of [failed, inside, elsewhere, `0x${'ab'.repeat(32)}`]) {
      expect(await ask(chain, txid, address)).toEqual([])
    }
  })
})

describe('an address with a past', () => {
  const used = (address: string) => {
    const chain = world.open()
    if (!chain.hasHistory) throw new Error('an EVM chain can tell')
    return chain.hasHistory(address)
  }
  it('has coins, tokens, code or a nonce', async () => {
    const [coins, tokens, clean] = [fresh(), fresh(), fresh()]
    await world.anvil.send({ to: coins, value: 1n })
    await world.token.mint(tokens, 1n)
    await world.mine()
    expect(await used(coins)).toBe(true)
    expect(await used(tokens)).toBe(true)
    expect(await used(passer.address)).toBe(true)
    const spender = fresh()
    await world.anvil.rpc('anvil_setNonce', [spender, '0x1'])
    expect(await used(spender)).toBe(true)
    expect(await used(clean)).toBe(false)
  })

  it('is looked for again while the node replaces its latest block, and not for ever', async () => {
    const chain = world.openWith({ rpc: [proxy.url] })
    let errors = 1
    proxy.decide = ({ method }) =>
      method === 'eth_getBalance' && errors-- > 0
        ? { error: { code: -32000, message: 'header not found' } }
        : 'pass'
    expect(await chain.hasHistory?.(fresh())).toBe(false)
    errors = Number.POSITIVE_INFINITY
    await expect(chain.hasHistory?.(fresh())).rejects.toMatchObject({ code: 'chain_unavailable' })
  })
})
