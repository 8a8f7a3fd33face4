/** One of two endpoints lies about a payment that was made: its budget is not given back on its word. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { getPayment, payInvoice } from '../../src/purse/pay.ts'
import type { Purse } from '../../src/purse/purse.ts'
import { resume } from '../../src/purse/resume.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { type Endpoint, startEndpoint } from './support/endpoint.ts'
import {
  configOf,
  type Folder,
  makeFolder,
  makeInvoice,
  makeTill,
  openTestPurse,
  settingsOf,
} from './support/fixture.ts'
import { fund, mined } from './support/mined.ts'

const till = makeTill()
let anvil: Anvil
let liar: Endpoint
let honest: Endpoint
let folder: Folder
const opened: { close(): Promise<void> }[] = []
beforeAll(async () => {
  anvil = await startAnvil()
  liar = await startEndpoint(anvil.url)
  honest = await startEndpoint(anvil.url)
  folder = makeFolder()
})
afterAll(async () => {
  for (const purse of opened) await purse.close()
  await liar.close()
  await honest.close()
  await anvil.stop()
  folder.remove()
})

let purse: Purse
beforeEach(async () => {
  liar.treat(() => 'pass')
  honest.treat(() => 'pass')
  const database = `${folder.path}/${opened.length}.db`
  const chain = { rpc: [liar.url, honest.url] }
  const config = configOf({ rpc: liar.url, payees: [till], chain, purse: { database } })
  const made = await openTestPurse(settingsOf(config, folder.path))
  opened.push(made)
  purse = made
  await fund(anvil, purse.wallet.address)
})

async function pay() {
  const paid = await payInvoice(purse, { signed: makeInvoice(till) })
  await mined(anvil, paid.txid)
  return paid
}

/** Past the depth at which what frees a budget is final. */
async function settle(): Promise<void> {
  await resume(purse)
  await anvil.mine(6)
  await resume(purse)
}

const RECEIPT = 'eth_getTransactionReceipt'
const KEPT = { state: 'broadcast', charged_usd: expect.stringMatching(/^2\./) }

/** What the liar says: that it was reverted, or that there never was such a transaction and nobody has its money. */
const lies = {
  reverted: async (txid: string | null) => {
    const receipt = await anvil.rpc<object>(RECEIPT, [txid])
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
