/** Whole Bitcoin payments: a real node, and a till's own books. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { noBitcoin } from '../chains/worlds.ts'
import { type BitcoinNode, bitcoinNode, startBitcoin } from '../support/litecoind.ts'
import { type BitcoinShop, openBitcoinShop } from './bitcoin-shop.ts'

describe.skipIf(noBitcoin() !== null)('a Bitcoin payment', () => {
  let node: BitcoinNode
  let shop: BitcoinShop

  beforeAll(async () => {
    const found = bitcoinNode()
    if ('missing' in found) throw new Error(found.missing)
    node = await startBitcoin(found)
  })
  afterEach(async () => {
    await shop?.close()
    await node.mine()
  })
  afterAll(() => node?.stop())

  const CONFIRMATIONS = [{ up_to_usd: '100', blocks: 1 }, { up_to_usd: '1000', blocks: 2 }, { blocks: 3 }]

  it('needs the confirmations of all that its transaction pays, however it is split', async () => {
    shop = await openBitcoinShop({ node, chain: { confirmations: CONFIRMATIONS } })
    const one = await shop.ask({ credits: '900' })
    const two = await shop.ask({ credits: '900' })
    const half = BigInt(one.amount) / 2n
    await node.send([
      { address: one.address, sats: half },
      { address: one.address, sats: half },
      { address: two.address, sats: BigInt(two.amount) },
    ])
    await shop.read()
    await node.mine()
    await shop.read()
    expect(await shop.states(one.id)).toEqual(['processing', 'confirming', 'confirming'])
    expect(await shop.states(two.id)).toEqual(['processing', 'confirming'])
    await node.mine()
    await shop.read()
    expect(await shop.states(one.id)).toEqual(['paid', 'credited', 'credited'])
    expect(await shop.states(two.id)).toEqual(['paid', 'credited'])
  })

  it('that lacks less than dust can still be completed with what is said to be missing', async () => {
    shop = await openBitcoinShop({ node })
    const { id, address, amount } = await shop.ask({ credits: undefined, pack: 'sale' })
    await node.send([{ address, sats: BigInt(amount) - 40n }])
    await shop.read()
    const { missing, payment_uri } = await shop.view(id)
    expect(missing).toBe('546')
    expect(payment_uri).toBe(`bitcoin:${address}?amount=0.00000546`)
    await node.send([{ address, sats: BigInt(missing) }])
    await node.mine(2)
    await shop.read()
    expect(await shop.view(id)).toMatchObject({ state: 'paid', missing: '0', flags: ['over'] })
    expect(await shop.till.posted()).toMatchObject({ discount: 20_000_000n })
  })

  it('of coins that were just mined waits until they can be spent', async () => {
    shop = await openBitcoinShop({ node, account: 1 })
    const { id, address } = await shop.ask()
    await node.rpc('generatetoaddress', 1, address)
    await node.mine(98)
    for (let read = 0; read < 10; read += 1) await shop.read()
    expect(await shop.view(id)).toMatchObject({
      state: 'processing',
      payments: [{ state: 'confirming', confirmations: 99, confirmations_needed: 100 }],
    })
    await node.mine()
    await shop.read()
    expect(await shop.states(id)).toEqual(['paid', 'credited'])
  })
})
