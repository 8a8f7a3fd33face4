/** A contract's payment that a fork moves while no endpoint shows traces: it has not left the chain. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { type Proxy, startProxy } from '../support/proxy.ts'
import { deployPasser, type Passer } from '../support/token.ts'
import { openShop, type Shop } from './shop.ts'

const CREDIT = 1_000_000n

let anvil: Anvil
let passer: Passer
let proxies: Proxy[]
let shop: Shop
beforeEach(async () => {
  anvil = await startAnvil()
  passer = await deployPasser(anvil)
  await anvil.mine(3)
  proxies = await Promise.all([startProxy(anvil.url), startProxy(anvil.url)])
})
afterEach(async () => {
  await shop?.close()
  await Promise.all(proxies.map((proxy) => proxy.stop()))
  await anvil.stop()
})

const state = async (id: string) => (await shop.view(id)).payments.map((payment) => payment.state)

/** Credited, as endpoints with traces show it; then they stop showing them, and the last blocks are replaced. */
async function creditedThenForked(endpoints: number, again: boolean): Promise<string> {
  shop = await openShop({ anvil, rpc: proxies.slice(0, endpoints).map(({ url }) => url) })
  await shop.watch()
  const invoice = await shop.ask()
  const txid = await passer.pass('pass', invoice.address, BigInt(invoice.amount))
  await anvil.mine(2)
  await shop.until(invoice.id, (view) => view.state === 'paid')
  const raw = await anvil.rawTransaction(txid)
  for (const proxy of proxies) {
    proxy.decide = ({ method }) =>
      method.includes('trace') ? { error: { code: -32601, message: 'no such method' } } : 'pass'
  }
  await anvil.automine(false)
  await anvil.reorg(3)
  if (again) await anvil.sendRaw(raw)
  await anvil.mine(5)
  await shop.caughtUp()
  return invoice.id
}

describe.each([1, 2])('with %i endpoints', (endpoints) => {
  it('keeps its credits where it was mined again', async () => {
    const id = await creditedThenForked(endpoints, true)
    expect(await state(id)).toEqual(['credited'])
    expect(await shop.till.available('acc')).toBe(100n * CREDIT)
    expect(await shop.till.posted()).toEqual({ grant: 100n * CREDIT })
  })

  it('is taken back where it was not', async () => {
    const id = await creditedThenForked(endpoints, false)
    expect(await state(id)).toEqual(['reversed'])
    expect(await shop.till.available('acc')).toBe(0n)
  })
})
