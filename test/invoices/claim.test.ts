/** Payments by contracts, found by traces or claimed by their transaction, and credited once whichever comes first. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { InvoiceView } from '../../src/bursar.ts'
import { type ClaimPayment, claimPayment } from '../../src/invoices/claim.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { type Proxy, startProxy } from '../support/proxy.ts'
import { deployPasser, type Passer } from '../support/token.ts'
import { openShop, type Shop } from './shop.ts'

const CREDIT = 1_000_000n

let anvil: Anvil
let passer: Passer
let proxy: Proxy
let shop: Shop
beforeAll(async () => {
  anvil = await startAnvil()
  passer = await deployPasser(anvil)
  proxy = await startProxy(anvil.url)
})
beforeEach(async () => {
  shop = await openShop({ anvil, rpc: [proxy.url] })
  await shop.watch()
})
afterEach(async () => {
  proxy.decide = () => 'pass'
  await Promise.all([shop, ...others].map((each) => each.close()))
  others = []
})
afterAll(async () => {
  await proxy?.stop()
  await anvil?.stop()
})

let others: Shop[] = []
/** The same chain through another endpoint. */
async function openedAt(url: string): Promise<Shop> {
  const other = await openShop({ anvil, rpc: [url] })
  others.push(other)
  return other
}

const untraced = () => {
  proxy.decide = ({ method }) =>
    method.includes('trace') ? { error: { code: -32601, message: 'no such method' } } : 'pass'
}

async function pay(invoice: InvoiceView, value = BigInt(invoice.amount)): Promise<string> {
  const txid = await passer.pass('passDeep', invoice.address, value)
  await anvil.mined(txid)
  return txid
}

const claim = (invoice: InvoiceView, txid: string, over: Partial<ClaimPayment> = {}) =>
  claimPayment(shop.till.ctx, { account: 'acc', invoice: invoice.id, txid, ...over })

describe('a payment by a contract', () => {
  it('is found by itself where the endpoint offers traces, and a claim of it changes nothing', async () => {
    const invoice = await shop.ask()
    const txid = await pay(invoice)
    await shop.until(invoice.id, (view) => view.payments.length === 1)
    const claimed = await claim(invoice, txid)
    expect(claimed.payments).toHaveLength(1)
    await anvil.mine(2)
    const paid = await shop.until(invoice.id, (view) => view.state === 'paid')
    expect(paid).toMatchObject({
      credits_granted: '100.000000',
      payments: [{ txid, confirmations_needed: 2 }],
    })
    await claim(invoice, txid.toUpperCase().replace('0X', '0x'))
    await anvil.mine(8)
    await shop.caughtUp()
    expect(await shop.till.posted()).toEqual({ grant: 100n * CREDIT })
  })

  it('is credited by a claim where it does not, once, however often it is claimed', async () => {
    untraced()
    const invoice = await shop.ask()
    const txid = await pay(invoice)
    await shop.caughtUp()
    expect((await shop.view(invoice.id)).payments).toEqual([])
    const views = await Promise.all(Array.from({ length: 8 }, () => claim(invoice, txid)))
    for (const view of views) {
      expect(view).toMatchObject({
        state: 'processing',
        payments: [{ txid, amount: invoice.amount, state: 'confirming', confirmations_needed: 7 }],
      })
    }
    await anvil.mine(8)
    await shop.until(invoice.id, (view) => view.state === 'paid')
    await claim(invoice, txid)
    expect(await shop.till.posted()).toEqual({ grant: 100n * CREDIT })
    expect(await shop.till.events()).toEqual(['invoice.detected', 'invoice.paid'])
  })

  it('is not counted twice when several transactions of one block are claimed for the same coins', async () => {
    untraced()
    const invoice = await shop.ask()
    await anvil.automine(false)
    const half = BigInt(invoice.amount) / 2n
    const first = await passer.pass('pass', invoice.address, half)
    const direct = await anvil.send({ to: invoice.address, value: half / 2n })
    const unrelated = await passer.pass('pass', anvil.accounts[5]?.address ?? '', 5n)
    await anvil.mine()
    await anvil.automine(true)
    await shop.caughtUp()
    const outcomes = await Promise.allSettled([first, unrelated, first].map((txid) => claim(invoice, txid)))
    expect(outcomes.some(({ status }) => status === 'fulfilled')).toBe(true)
    await anvil.mine(8)
    await shop.caughtUp()
    const view = await shop.until(invoice.id, ({ payments }) =>
      payments.every(({ state }) => state === 'credited'),
    )
    expect(new Set(view.payments.map(({ amount }) => BigInt(amount)))).toEqual(new Set([half, half / 2n]))
    expect(view.payments).toHaveLength(2)
    expect(view.payments.map((payment) => payment.txid)).toContain(direct)
    expect(view.credits_granted).toBe('75.000000')
  })

  it('that was claimed without traces is not claimed again with them', async () => {
    untraced()
    const invoice = await shop.ask()
    const txid = await pay(invoice)
    await shop.caughtUp()
    await claim(invoice, txid)
    const chains = new Map([['local', (await openedAt(anvil.url)).till.chain('local')]])
    const again = () =>
      claimPayment({ ...shop.till.ctx, chains }, { account: 'acc', invoice: invoice.id, txid })
    expect((await again()).payments).toHaveLength(1)
    await anvil.mine(8)
    await shop.until(invoice.id, (view) => view.state === 'paid')
    expect((await again()).payments).toHaveLength(1)
    expect(await shop.till.posted()).toEqual({ grant: 100n * CREDIT })
  })

  it('that was claimed and then forked away is never credited, and can be claimed again', async () => {
    untraced()
    const invoice = await shop.ask()
    const txid = await pay(invoice)
    const raw = await anvil.rawTransaction(txid)
    await anvil.mine(2)
    await shop.caughtUp()
    await claim(invoice, txid)
    await anvil.reorg(4)
    await anvil.mine()
    await shop.until(invoice.id, (view) => view.payments[0]?.state === 'orphaned')
    await expect(claim(invoice, txid)).rejects.toMatchObject({ code: 'not_found' })
    await anvil.sendRaw(raw)
    await anvil.mined(txid)
    await anvil.mine(2)
    await shop.caughtUp()
    await claim(invoice, txid)
    await anvil.mine(6)
    await shop.until(invoice.id, (view) => view.state === 'paid')
    expect(await shop.till.posted()).toEqual({ grant: 100n * CREDIT })
  })

  it('is claimed once its block has been read, not before', async () => {
    untraced()
    const invoice = await shop.ask()
    await shop.unwatch()
    const txid = await pay(invoice)
    await expect(claim(invoice, txid)).rejects.toMatchObject({ code: 'conflict' })
    expect(await shop.till.db.query('SELECT key FROM payment')).toEqual([])
  })
})

describe('a claim is refused', () => {
  it.each(['', '0x12', 'f'.repeat(64), `0x${'g'.repeat(64)}`])('for what is no hash: %j', async (txid) => {
    const invoice = await shop.ask()
    await expect(claim(invoice, txid)).rejects.toMatchObject({ code: 'invalid_request' })
  })

  it("for another account, an unknown transaction, someone else's payment, and a chain that there is not", async () => {
    const invoice = await shop.ask()
    const other = await shop.ask()
    const txid = await pay(other)
    await expect(claim(invoice, txid, { account: 'other' })).rejects.toMatchObject({ code: 'not_found' })
    await expect(claim(invoice, `0x${'ab'.repeat(32)}`)).rejects.toMatchObject({ code: 'not_found' })
    await expect(claim(invoice, txid)).rejects.toMatchObject({ code: 'not_found' })
    await expect(claim(invoice, txid, { chain: 'elsewhere' })).rejects.toMatchObject({ code: 'not_found' })
  })

  it('on a halted chain', async () => {
    const invoice = await shop.ask()
    const txid = await pay(invoice)
    await shop.unwatch()
    await shop.till.db.commit([{ sql: "UPDATE chain_cursor SET halted = 'deep fork'", args: [] }])
    await expect(claim(invoice, txid)).rejects.toMatchObject({ code: 'chain_unavailable' })
  })
})
