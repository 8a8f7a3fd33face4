/** What watching costs an endpoint: by the block, whatever the number of open invoices. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { statement } from '../../src/db/db.ts'
import { settle } from '../../src/invoices/settle.ts'
import { watchedAddresses } from '../../src/invoices/watched.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { type Proxy, startProxy } from '../support/proxy.ts'
import { deployToken, type TestToken } from '../support/token.ts'
import { openShop } from './shop.ts'

let anvil: Anvil
let proxy: Proxy
let token: TestToken
beforeAll(async () => {
  anvil = await startAnvil()
  token = await deployToken(anvil)
  proxy = await startProxy(anvil.url)
})
afterAll(async () => {
  await proxy?.stop()
  await anvil?.stop()
})

/** As many invoices as asked for, as rows: creating them one by one would take the test's whole time. */
async function requestsWith(invoices: number): Promise<Record<string, number>> {
  const shop = await openShop({
    anvil,
    rpc: [proxy.url],
    chain: { assets: ['ETH', 'USDC'], tokens: { USDC: { contract: token.address, decimals: 6 } } },
  })
  try {
    const { till } = shop
    await shop.watch()
    await shop.unwatch()
    const first = await shop.ask()
    const hex = (i: number) => `0x${'b'.repeat(20)}${i.toString(16).padStart(20, '0')}`
    const rows = JSON.stringify(Array.from({ length: invoices - 1 }, (_, i) => [`inv_${i}`, hex(i), i + 1]))
    await till.db.commit([
      statement(
        `INSERT INTO address (address, family, fingerprint, derivation_index, path, created_at)
         SELECT r.value ->> 1, 'evm', a.fingerprint, r.value ->> 2, '0/x', 0 FROM address a, json_each(?) r`,
        [rows],
      ),
      statement('UPDATE deriving_key SET next_index = ?', [BigInt(invoices)]),
      statement(
        `INSERT INTO invoice (id, account, rail, amount, usd, credits, usd_per_credit, price_e8, price_source, price_at,
           address, signed, signature, created_at, expires_at)
         SELECT r.value ->> 0, i.account, i.rail, i.amount, i.usd, i.credits, i.usd_per_credit, i.price_e8,
           i.price_source, i.price_at, r.value ->> 1, i.signed, i.signature, i.created_at, i.expires_at
         FROM invoice i, json_each(?) r`,
        [rows],
      ),
    ])
    const [count] = await till.db.query<{ n: bigint }>('SELECT count(*) AS n FROM invoice')
    expect(count?.n).toBe(BigInt(invoices))

    const chain = till.chain('local')
    const watched = watchedAddresses(till.db, 'evm')
    const lease = await till.lease('local')
    let cursor = await chain.start()
    const asked: string[] = []
    await watched.refresh()
    for (let block = 0; block < 5; block += 1) {
      await anvil.mined(await anvil.send({ to: anvil.accounts[4]?.address ?? '', value: 1n }))
      if (block === 0) proxy.decide = ({ method }) => (asked.push(method), 'pass')
      const step = await chain.follow(cursor, watched)
      expect(step.cursor.height).toBe(cursor.height + 1)
      await settle(till.ctx, chain, step, lease)
      cursor = step.cursor
    }
    proxy.decide = () => 'pass'
    expect(watched.has(first.address)).toBe(true)
    return Object.fromEntries(
      [...Map.groupBy(asked, (method) => method)].map(([method, all]) => [method, all.length]),
    )
  } finally {
    await shop.close()
  }
}

describe('five blocks', () => {
  it('cost an endpoint as many requests with 10,000 open invoices as with 10', async () => {
    const few = await requestsWith(10)
    // The tip, the last final block, the block read before, and the new one; its events; its traces.
    expect(few).toEqual({ eth_getBlockByNumber: 20, eth_getLogs: 5, debug_traceBlockByHash: 5 })
    expect(await requestsWith(10_000)).toEqual(few)
  })
})
