/** Whole payments through endpoints that lie, lag and stop finalising. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { settle } from '../../src/invoices/settle.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { type Proxy, type RpcRequest, startProxy } from '../support/proxy.ts'
import { openShop, type Shop } from './shop.ts'
import { transferTo } from './till.ts'

const CREDIT = 1_000_000n

let anvil: Anvil
let one: Proxy
let two: Proxy
let shop: Shop | undefined
beforeAll(async () => {
  anvil = await startAnvil()
  ;[one, two] = await Promise.all([startProxy(anvil.url), startProxy(anvil.url)])
})
afterEach(async () => {
  for (const proxy of [one, two]) {
    proxy.decide = () => 'pass'
    proxy.alter = (_, result) => result
  }
  await shop?.close()
  shop = undefined
})
afterAll(async () => {
  await Promise.all([one?.stop(), two?.stop()])
  await anvil?.stop()
})

describe('an endpoint that lies', () => {
  it('delays a credit and loses none', async () => {
    shop = await openShop({ anvil, rpc: [one.url, two.url] })
    await shop.watch()
    const invoice = await shop.ask()
    const lied = Promise.withResolvers<void>()
    one.alter = ({ method, params }, result) => {
      if (method !== 'eth_getBlockByNumber' || params[1] !== true || result === null) return result
      lied.resolve()
      return { ...result, transactions: [] }
    }
    await anvil.send({ to: invoice.address, value: BigInt(invoice.amount) })
    await anvil.mine(4)
    await lied.promise
    await shop.said('watch_failed')
    expect((await shop.view(invoice.id)).payments).toEqual([])
    one.alter = (_, result) => result
    await shop.until(invoice.id, (view) => view.state === 'paid')
    expect(await shop.till.available('acc')).toBe(100n * CREDIT)
  })

  it('cannot have a payment credited that only it has shown', async () => {
    shop = await openShop({ anvil, rpc: [one.url, two.url] })
    const { till } = shop
    const chain = till.chain('local')
    const cursor = await chain.start()
    await shop.watch()
    await shop.unwatch()
    const invoice = await shop.ask()
    await anvil.mine(3)
    const step = await chain.follow(cursor, { has: () => false })
    const block = await chain.blockAt(cursor.height + 1)
    // As a step that was read while it was the only one that answered.
    const invented = transferTo(invoice.address, BigInt(invoice.amount), {
      txid: `0x${'ee'.repeat(32)}`,
      block,
    })
    const lease = await till.lease('local')
    await settle(till.ctx, chain, { ...step, transfers: [invented] }, lease)
    expect((await shop.view(invoice.id)).payments).toMatchObject([
      {
        state: 'confirming',
        confirmations: 3,
        waiting_for: expect.stringContaining('a second endpoint of local'),
      },
    ])
    expect(await till.available('acc')).toBe(0n)
    expect(shop.events()).toContain('payment_unconfirmed')
  })
})

describe('endpoints that disagree, or do not answer', () => {
  it.each([
    ['disagree', /^the endpoints of local to agree: they disagree since /],
    ['do not answer', /^local to be readable: none of its endpoints answers since /],
  ])('for longer than a moment: they %s, and whoever waits for a payment is told', async (how, told) => {
    // It moves by hand alone: "once a minute" is of this clock.
    let at = Date.now()
    shop = await openShop({
      anvil,
      rpc: [one.url, two.url],
      runtime: { now: () => at },
      chain: { confirmations: [{ blocks: 6 }] },
    })
    await shop.watch()
    const invoice = await shop.ask()
    await anvil.send({ to: invoice.address, value: BigInt(invoice.amount) })
    await shop.until(invoice.id, ({ payments }) => payments.length > 0)
    if (how === 'disagree') {
      one.alter = ({ method, params }, result) =>
        method === 'eth_getBlockByNumber' && params[1] === true && result !== null
          ? { ...result, transactions: [] }
          : result
      const other = await shop.ask()
      await anvil.send({ to: other.address, value: BigInt(other.amount) })
    } else {
      one.decide = () => 'drop'
      two.decide = () => 'drop'
    }
    await shop.said('watch_failed')
    at += 11_000
    const waiting = async () => (await shop?.view(invoice.id))?.payments[0]?.waiting_for ?? ''
    while (!told.test(await waiting())) await shop.till.ctx.runtime.sleep(50)
    const failures = shop.events().filter((event) => event === 'watch_failed')
    expect(failures, 'said once a minute at most').toHaveLength(1)
    one.alter = (_, result) => result
    one.decide = () => 'pass'
    two.decide = () => 'pass'
    // An endpoint that failed is left alone for half a minute.
    at += 31_000
    await anvil.mine(6)
    await shop.until(invoice.id, (view) => view.state === 'paid')
    await shop.said('watch_resumed')
    expect(await shop.till.db.query('SELECT * FROM waiting')).toEqual([])
  })
})

describe('a watcher that is stopped', () => {
  it.each(['in good times', 'in an outage'])('hands over at once: %s', async (when) => {
    shop = await openShop({ anvil, rpc: [one.url] })
    await shop.watch()
    if (when === 'in an outage') {
      one.decide = () => 'drop'
      await shop.said('watch_failed')
    }
    await shop.unwatch()
    const leases = await shop.till.db.query('SELECT name, expires_at FROM lease')
    expect(leases).toEqual([{ name: 'watch:local', expires_at: 0n }])
  })
})

describe('finality that stalls', () => {
  it('makes credits wait, says so, and lets them through when it goes on', async () => {
    shop = await openShop({ anvil, rpc: [one.url], chain: { finality_stall_blocks: 80 } })
    await shop.watch()
    const start = await anvil.height()
    const final = await anvil.rpc('eth_getBlockByNumber', ['finalized', false])
    one.alter = ({ params }, result) => (params[0] === 'finalized' ? final : result)
    const invoice = await shop.ask()
    await anvil.mine(90)
    await shop.said('finality_stalled')
    await anvil.send({ to: invoice.address, value: BigInt(invoice.amount) })
    await anvil.mine(3)
    await shop.until(invoice.id, ({ payments }) => (payments[0]?.confirmations ?? 0) >= 4)
    expect((await shop.view(invoice.id)).payments[0]).toMatchObject({
      state: 'confirming',
      confirmations_needed: 2,
      waiting_for: expect.stringMatching(/^a final block: finality of local has stalled since \d{4}-/),
    })
    expect(shop.lines.find(({ level }) => level === 'error')?.facts).toMatchObject({
      event: 'finality_stalled',
      chain: 'local',
    })
    one.alter = (_, result) => result
    await shop.said('finality_resumed')
    await shop.until(invoice.id, (view) => view.state === 'paid')
    expect(await anvil.height()).toBe(start + 94)
  })

  it('makes credits wait also while a node does not say what is final', async () => {
    shop = await openShop({ anvil, rpc: [one.url], chain: { finality_stall_blocks: 80 } })
    await shop.watch()
    const final = await anvil.rpc('eth_getBlockByNumber', ['finalized', false])
    one.alter = ({ params }, result) => (params[0] === 'finalized' ? final : result)
    await anvil.mine(90)
    await shop.said('finality_stalled')
    // As a node answers that has just been started.
    one.decide = ({ params }) =>
      params[0] === 'finalized' ? { error: { code: -39001, message: 'finalized block not found' } } : 'pass'
    const invoice = await shop.ask()
    await anvil.send({ to: invoice.address, value: BigInt(invoice.amount) })
    await anvil.mine(3)
    const { payments } = await shop.until(invoice.id, (view) => (view.payments[0]?.confirmations ?? 0) >= 4)
    expect(payments[0]?.state).toBe('confirming')
    expect(shop.events()).not.toContain('finality_resumed')
  })

  it('makes credits wait also for a till that starts meanwhile, before the next block', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'bursar-stalled-'))
    const options = { anvil, rpc: [one.url, two.url], chain: { finality_stall_blocks: 80 }, dir }
    const final = await anvil.rpc('eth_getBlockByNumber', ['finalized', false])
    for (const proxy of [one, two]) {
      proxy.alter = ({ params }, result) => (params[0] === 'finalized' ? final : result)
    }
    const first = await openShop(options)
    await first.watch()
    const invoice = await first.ask()
    await anvil.mine(90)
    await anvil.send({ to: invoice.address, value: BigInt(invoice.amount) })
    await anvil.mine(3)
    await first.until(invoice.id, ({ payments }) => (payments[0]?.confirmations ?? 0) >= 4)
    await first.close()

    shop = await openShop(options)
    one.count = 0
    const rounds = asked(one, ({ params }) => params[0] === 'latest', 4)
    await shop.watch()
    await rounds
    expect((await shop.view(invoice.id)).payments[0]).toMatchObject({
      state: 'confirming',
      waiting_for: expect.stringMatching(/^a final block: finality of local has stalled/),
    })
    expect(shop.events()).toContain('finality_stalled')
    await shop.close()
    shop = undefined
    rmSync(dir, { recursive: true })
  })
})

/** Resolves when the proxy has been asked this so many times. */
function asked(proxy: Proxy, what: (request: RpcRequest) => boolean, times: number): Promise<void> {
  return new Promise((resolve) => {
    let left = times
    proxy.decide = (request) => {
      if (what(request)) left -= 1
      if (left === 0) resolve()
      return 'pass'
    }
  })
}
