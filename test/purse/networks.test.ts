/** One invoice, signed by its payee for two networks: it is paid once, on the network that it was reserved for. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { Db } from '../../src/db/db.ts'
import { getPayment, payInvoice } from '../../src/purse/pay.ts'
import { resume } from '../../src/purse/resume.ts'
import type { SignedInvoice } from '../../src/signed-invoice.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { type Endpoint, startEndpoint } from './support/endpoint.ts'
import {
  configOf,
  type Folder,
  freshAddress,
  makeFolder,
  makeInvoice,
  makeTill,
  openTestPurse,
  settingsOf,
} from './support/fixture.ts'
import { fund, mined } from './support/mined.ts'

const AMOUNT = 1_000_000_000_000_000n
const till = makeTill()
let here: Anvil
let there: Anvil
let endpoint: Endpoint
beforeAll(async () => {
  ;[here, there] = await Promise.all([startAnvil(), startAnvil({ chainId: 31338 })])
})
afterAll(async () => {
  await Promise.all([here.stop(), there.stop()])
})

let folder: Folder
let config: object
let recipient: `0x${string}`
/** The same invoice: first on the one network, then on the other. */
let invoices: { here: SignedInvoice; there: SignedInvoice }
const opened: { close(): Promise<void> }[] = []
let count = 0

beforeEach(async () => {
  folder = makeFolder()
  endpoint = await startEndpoint(here.url)
  const chain = { assets: ['ETH'], confirmations: [{ blocks: 2 }], finality_blocks: 4, poll_ms: 50 }
  config = configOf({
    rpc: endpoint.url,
    payees: [till],
    chains: {
      local: { ...chain, chain_id: 31337, rpc: [endpoint.url] },
      other: { ...chain, chain_id: 31338, rpc: [there.url] },
    },
  })
  recipient = freshAddress()
  count += 1
  const invoice = `inv_twice_${count}`
  invoices = {
    here: makeInvoice(till, { invoice, recipient }),
    there: makeInvoice(till, { invoice, recipient, rail: 'other:ETH', network: 'eip155:31338' }),
  }
})
afterEach(async () => {
  for (const purse of opened.splice(0)) await purse.close()
  await endpoint.close()
  folder.remove()
})

async function openPurse(wrap?: (db: Db) => Db) {
  const purse = await openTestPurse(settingsOf(config, folder.path), wrap ? { wrap } : {})
  opened.push(purse)
  await Promise.all([fund(here, purse.wallet.address), fund(there, purse.wallet.address)])
  return purse
}

const received = async (anvil: Anvil) =>
  BigInt(await anvil.rpc<string>('eth_getBalance', [recipient, 'latest']))
const sent = async (anvil: Anvil, wallet: string) =>
  Number(await anvil.rpc<string>('eth_getTransactionCount', [wallet, 'pending']))

/** Only the first commit, that of the reservation, reaches the database. */
function onlyReserve(db: Db): Db {
  let commits = 0
  return {
    ...db,
    async commit(statements) {
      commits += 1
      if (commits > 1) throw new Error('the disk is gone')
      return db.commit(statements)
    },
  }
}

it('is never signed for the other network, when only its reservation was kept', async () => {
  const failing = await openPurse(onlyReserve)
  await expect(payInvoice(failing, { signed: invoices.here })).rejects.toThrow()
  endpoint.treat(() => 'drop')
  const purse = await openPurse()
  expect(await payInvoice(purse, { signed: invoices.there })).toMatchObject({
    state: 'reserved',
    network: 'eip155:31337',
    replayed: true,
  })
  expect(await sent(there, purse.wallet.address)).toBe(0)
  endpoint.treat(() => 'pass')
  const paid = await payInvoice(purse, { signed: invoices.there })
  await mined(here, paid.txid)
  expect(await received(here)).toBe(AMOUNT)
  expect(await received(there)).toBe(0n)
})

it('keeps its reservation, however often the wallet was used on the other network', async () => {
  const purse = await openPurse()
  const other = makeInvoice(till, { rail: 'other:ETH', network: 'eip155:31338' })
  await mined(there, (await payInvoice(purse, { signed: other })).txid)
  await here.automine(false)
  try {
    const first = await payInvoice(purse, { signed: invoices.here })
    for (let look = 0; look < 2; look += 1) {
      expect(await payInvoice(purse, { signed: invoices.there })).toMatchObject({
        id: first.id,
        state: 'broadcast',
        charged_usd: first.charged_usd,
      })
      await there.mine(6)
    }
    expect(await getPayment(purse, first.id)).toMatchObject({ note: null, charged_usd: first.charged_usd })
  } finally {
    await here.automine(true)
    await here.mine()
  }
  await expect.poll(() => received(here)).toBe(AMOUNT)
})

it('is one payment when both are asked for at the same time', async () => {
  const purse = await openPurse()
  const [a, b] = await Promise.all([
    payInvoice(purse, { signed: invoices.here }),
    payInvoice(purse, { signed: invoices.there }),
  ])
  expect(a.id).toBe(b.id)
  expect([a.replayed, b.replayed].filter(Boolean)).toHaveLength(1)
  await mined(a.network === 'eip155:31337' ? here : there, a.txid)
  await resume(purse)
  expect((await received(here)) + (await received(there))).toBe(AMOUNT)
  const both = await Promise.all([here, there].map((anvil) => sent(anvil, purse.wallet.address)))
  expect(both.toSorted((a, b) => a - b)).toEqual([0, 1])
})
