import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Chain } from '../../src/chains/chain.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { historyCheck } from '../../src/invoices/history.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { SHOP_KEY } from './shop.ts'
import { NOWHERE, openTill, type Till } from './till.ts'

let local: Anvil
let side: Anvil
let till: Till
beforeAll(async () => {
  ;[local, side] = await Promise.all([startAnvil(), startAnvil({ chainId: 31338 })])
})
beforeEach(async () => {
  const evm = { assets: ['ETH'] }
  till = await openTill({
    config: {
      keys: { evm: SHOP_KEY },
      chains: {
        local: { ...evm, chain_id: 31337, rpc: [local.url] },
        side: { ...evm, chain_id: 31338, rpc: [side.url] },
        away: { ...evm, chain_id: 31339, rpc: [NOWHERE] },
      },
    },
  })
  await till.account('acc')
})
afterEach(() => till.close())
afterAll(() => Promise.all([local?.stop(), side?.stop()]))

const ask = (rail = 'local:ETH') => {
  // A busy machine is waited for.
  const runtime = { ...till.ctx.runtime, after: () => () => undefined }
  const hasHistory = historyCheck([...till.ctx.chains.values()], runtime)
  return createInvoice({ ...till.ctx, hasHistory }, { account: 'acc', rail, credits: '100' })
}
const address = (chain: Chain, index: number) => chain.recipient(index).address

describe('an address that was used before', () => {
  it('is skipped, here or on another chain of the same key, and stays watched', async () => {
    const chain = till.chain('local')
    await local.mined(await local.send({ to: address(chain, 0), value: 1n }))
    await side.mined(await side.send({ to: address(chain, 1), value: 1n }))
    expect((await ask()).address).toBe(address(chain, 2))
    expect((await ask()).address).toBe(address(chain, 3))
    const rows = await till.db.query<{ address: string }>(
      'SELECT address FROM address ORDER BY derivation_index',
    )
    expect(rows.map((row) => row.address)).toEqual([0, 1, 2, 3].map((index) => address(chain, index)))
  })

  it('is not issued on a chain that cannot say', async () => {
    await till.seedCursor('away')
    await expect(ask('away:ETH')).rejects.toMatchObject({ code: 'chain_unavailable' })
    expect(await till.db.query('SELECT * FROM address')).toEqual([])
  })
})
