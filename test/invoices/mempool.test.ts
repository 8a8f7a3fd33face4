/** Bitcoin payments that wait to be mined, through a real node, a real chain object and a till's own books. */
import { hex } from '@scure/base'
import { p2wpkh, TEST_NETWORK, Transaction } from '@scure/btc-signer'
import { pubECDSA } from '@scure/btc-signer/utils.js'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { noBitcoin } from '../chains/worlds.ts'
import { type BitcoinNode, bitcoinNode, startBitcoin } from '../support/litecoind.ts'
import { type Proxy, startProxy, type Verdict } from '../support/proxy.ts'
import { type BitcoinShop, openBitcoinShop } from './bitcoin-shop.ts'

const HOUR_MS = 3_600_000

describe.skipIf(noBitcoin() !== null)('a payment that waits in the mempool', () => {
  let node: BitcoinNode
  let one: Proxy
  let two: Proxy

  beforeAll(async () => {
    const found = bitcoinNode()
    if ('missing' in found) throw new Error(found.missing)
    node = await startBitcoin(found)
    ;[one, two] = await Promise.all([startProxy(node.url), startProxy(node.url)])
  })
  afterEach(async () => {
    for (const proxy of [one, two]) {
      proxy.decide = () => 'pass'
      proxy.alter = (_, result) => result
    }
    await node.mine()
  })
  afterAll(async () => {
    await Promise.all([one?.stop(), two?.stop()])
    await node?.stop()
  })

  it('is not called replaced because its block came while the mempool was read', async () => {
    const shop = await open(one)
    const invoice = await paidAfterItsLock(shop)
    let mined = false
    one.decide = async ({ method }): Promise<Verdict> => {
      if (method === 'getrawmempool' && !mined) {
        mined = true
        await node.mine()
      }
      return 'pass'
    }
    await shop.read()
    expect(await shop.states(invoice)).toEqual(['processing', 'seen'])
    await shop.read()
    expect(await shop.states(invoice)).toEqual(['processing', 'confirming'])
    expect(await shop.till.events()).toEqual(['invoice.detected'])
    await shop.close()
  })

  it('is not called replaced while its node still loads what waited before a restart', async () => {
    const shop = await open(one)
    const invoice = await paidAfterItsLock(shop)
    one.alter = ({ method }, result) => {
      if (method === 'getmempoolinfo') return { ...(result as object), loaded: false }
      return method === 'getrawmempool' ? [] : result
    }
    await shop.read()
    expect(await shop.states(invoice)).toEqual(['processing', 'seen'])
    one.alter = (_, result) => result
    await shop.read()
    expect(await shop.states(invoice)).toEqual(['processing', 'seen'])
    expect(await shop.till.events()).toEqual(['invoice.detected'])
    await shop.close()
  })

  it('is not called replaced while a till that was restarted reads a large mempool', async () => {
    const shop = await open(one)
    const invoice = await paidAfterItsLock(shop)
    const [ours] = await node.rpc<string[]>('getrawmempool')
    await crowd(node, 410)
    one.alter = ({ method }, result) =>
      method === 'getrawmempool' ? [...(result as string[]).filter((txid) => txid !== ours), ours] : result
    shop.restart()
    await shop.read()
    expect(await shop.states(invoice)).toEqual(['processing', 'seen'])
    await shop.read()
    expect(await shop.states(invoice)).toEqual(['processing', 'seen'])
    expect(await shop.till.events()).toEqual(['invoice.detected'])
    // What is really gone is told from what was not read yet.
    one.alter = ({ method }, result) =>
      method === 'getrawmempool' ? (result as string[]).filter((txid) => txid !== ours) : result
    await shop.read()
    expect(await shop.states(invoice)).toEqual(['expired', 'replaced'])
    expect(await shop.till.events()).toEqual(['invoice.detected', 'invoice.expired'])
    await shop.close()
  })

  it('is not called replaced while any endpoint still shows it', async () => {
    const shop = await open(one, two)
    const invoice = await paidAfterItsLock(shop)
    for (const forgetful of [one, two]) {
      forgetful.alter = ({ method }, result) => (method === 'getrawmempool' ? [] : result)
      await shop.read()
      expect(await shop.states(invoice)).toEqual(['processing', 'seen'])
      forgetful.alter = (_, result) => result
    }
    expect(await shop.till.events()).toEqual(['invoice.detected'])
    for (const proxy of [one, two]) {
      proxy.alter = ({ method }, result) => (method === 'getrawmempool' ? [] : result)
    }
    await shop.read()
    expect(await shop.states(invoice)).toEqual(['expired', 'replaced'])
    await shop.close()
  })

  const open = (...proxies: readonly Proxy[]) => openBitcoinShop({ node, rpc: proxies.map(({ url }) => url) })

  /** An invoice that was paid in time, and whose lock has ended since: a payment that is gone lets it expire. */
  async function paidAfterItsLock(shop: BitcoinShop): Promise<string> {
    const { id, address, amount } = await shop.ask()
    await node.send([{ address, sats: BigInt(amount) }])
    await shop.read()
    shop.till.clock.now += HOUR_MS
    await shop.read()
    return id
  }
})

/** So many transactions that wait, of somebody else. */
async function crowd(node: BitcoinNode, count: number): Promise<void> {
  const network = { ...TEST_NETWORK, bech32: node.bech32 }
  const key = new Uint8Array(32).fill(21)
  const owner = p2wpkh(pubECDSA(key, true), network)
  const address = owner.address ?? ''
  const coins = await node.send(
    Array.from({ length: count }, () => ({ address, sats: 3_000n })),
    { feeSats: 100_000n },
  )
  const before = await node.rpc<string[]>('getrawmempool')
  await node.rpc('generateblock', address, [coins.txid])
  for (let index = 0; index < count; index += 1) {
    const tx = new Transaction()
    const witnessUtxo = { script: owner.script, amount: 3_000n }
    tx.addInput({ txid: hex.decode(coins.txid), index, witnessUtxo })
    tx.addOutputAddress(address, 2_000n, network)
    tx.sign(key)
    tx.finalize()
    await node.rpc('sendrawtransaction', hex.encode(tx.extract()))
  }
  expect(await node.rpc<string[]>('getrawmempool')).toHaveLength(before.length - 1 + count)
}
