/** Whole payments through endpoints that lie, lag and stop finalising. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { settle } from '../../src/invoices/settle.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { type Proxy, startProxy } from '../support/proxy.ts'
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
    expect((await shop.view(invoice.id)).payments).toMatchObject([{ state: 'confirming', confirmations: 3 }])
    expect(await till.available('acc')).toBe(0n)
    expect(shop.events()).toContain('payment_unconfirmed')
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
})
