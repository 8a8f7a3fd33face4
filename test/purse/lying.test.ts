/** One of two endpoints lies about a payment that was made: its budget is not given back on its word. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { getPayment } from '../../src/purse/pay.ts'
import type { Purse } from '../../src/purse/purse.ts'
import { resume } from '../../src/purse/resume.ts'
import { type Endpoint, startEndpoint } from './support/endpoint.ts'
import { makeInvoice } from './support/fixture.ts'
import { startWorld, type World } from './support/world.ts'

let world: World
let liar: Endpoint
let honest: Endpoint
beforeAll(async () => {
  world = await startWorld()
  liar = await startEndpoint(world.anvil.url)
  honest = await startEndpoint(world.anvil.url)
})
afterAll(async () => {
  await world.stop()
  await liar.close()
  await honest.close()
})

let purse: Purse
beforeEach(async () => {
  liar.treat(() => 'pass')
  honest.treat(() => 'pass')
  purse = await world.makePurse({ rpc: liar.url, chain: { rpc: [liar.url, honest.url] } })
})

const pay = () => world.payAndMine(purse, { signed: makeInvoice(world.till) })

/** Past the depth at which what frees a budget is final. */
async function settle(): Promise<void> {
  await resume(purse)
  await world.anvil.mine(6)
  await resume(purse)
}

const RECEIPT = 'eth_getTransactionReceipt'
const KEPT = { state: 'broadcast', charged_usd: expect.stringMatching(/^2\./) }

/** What the liar says: that it was reverted, or that there never was such a transaction and nobody has its money. */
const lies = {
  reverted: async (txid: string | null) => {
    const receipt = await world.anvil.rpc<object>(RECEIPT, [txid])
    liar.treat(({ method }) => (method === RECEIPT ? { result: { ...receipt, status: '0x0' } } : 'pass'))
  },
  displaced: async () => {
    liar.treat(({ method, params }) => {
      if (method === RECEIPT || method === 'eth_getTransactionByHash') return { result: null }
      return method === 'eth_getBalance' && params[0] !== purse.wallet.address ? { result: '0x0' } : 'pass'
    })
  },
}

it.each(['reverted', 'displaced'] as const)('is not %s on the word of one', async (lie) => {
  const { id, txid } = await pay()
  await lies[lie](txid)
  await settle()
  expect(await getPayment(purse, id)).toMatchObject(KEPT)
  // Nor while the other one is silent.
  honest.treat(() => 'drop')
  await resume(purse)
  expect(await getPayment(purse, id)).toMatchObject(KEPT)
  honest.treat(() => 'pass')
  liar.treat(() => 'pass')
  await resume(purse)
  expect(await getPayment(purse, id)).toMatchObject({ state: 'confirmed' })
})
