/** A nonce that is used up, without a receipt of our own transaction: that the payment failed is not certain then. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { getPayment, payInvoice } from '../../src/purse/pay.ts'
import type { Purse } from '../../src/purse/purse.ts'
import { resume } from '../../src/purse/resume.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { deployToken, type TestToken } from '../support/token.ts'
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
let anvil: Anvil
let token: TestToken
let endpoint: Endpoint
let folder: Folder
const opened: { close(): Promise<void> }[] = []

beforeAll(async () => {
  anvil = await startAnvil()
  token = await deployToken(anvil)
  endpoint = await startEndpoint(anvil.url)
  folder = makeFolder()
})
afterAll(async () => {
  for (const purse of opened) await purse.close()
  await endpoint.close()
  await anvil.stop()
  folder.remove()
})

let purse: Purse
beforeEach(async () => {
  endpoint.treat(() => 'pass')
  const config = configOf({
    rpc: endpoint.url,
    usdc: token.address,
    payees: [till],
    purse: { database: `${folder.path}/${opened.length}.db` },
  })
  const made = await openTestPurse(settingsOf(config, folder.path))
  opened.push(made)
  purse = made
  await fund(anvil, purse.wallet.address)
  await mined(anvil, await token.mint(purse.wallet.address, 5_000_000n))
})

/** Until what displaced a payment is final. */
async function settled(): Promise<void> {
  await resume(purse)
  await anvil.mine(6)
  await resume(purse)
}

const KEPT = { state: 'broadcast', charged_usd: expect.stringMatching(/^2\./) }

describe('a payment whose nonce is used up, and whose recipient has the money', () => {
  it.each([
    ['local:ETH', null, AMOUNT],
    ['local:USDC', 'token', 2_000_000n],
  ] as const)('keeps its reservation, and says that it may be paid: %s', async (rail, kind, amount) => {
    const contract = kind === null ? null : token.address
    const signed = makeInvoice(till, { rail, contract, amount: amount.toString() })
    const { id, txid } = await payInvoice(purse, { signed })
    await mined(anvil, txid)
    // A node that keeps receipts for some days only, asked after a longer pause.
    endpoint.treat(({ method }) =>
      /^eth_getTransaction(Receipt|ByHash)$/.test(method) ? { result: null } : 'pass',
    )
    await settled()
    expect(await getPayment(purse, id)).toMatchObject({
      ...KEPT,
      note: expect.stringContaining('may be paid'),
    })
    // It holds nobody up, and its budget stays taken.
    expect(await payInvoice(purse, { signed: makeInvoice(till) })).toMatchObject({ state: 'broadcast' })
    // Once a node shows it, it is what it is.
    endpoint.treat(() => 'pass')
    await resume(purse)
    expect(await getPayment(purse, id)).toMatchObject({ state: 'confirmed', note: null })
  })

  it('is not called unpaid by nodes behind one URL that lag, each in its own way', async () => {
    const { id, txid } = await payInvoice(purse, { signed: makeInvoice(till) })
    await mined(anvil, txid)
    const behind = BigInt(await anvil.height()) - 1n
    // The one that counts the wallet's transactions is up to date; the one that has receipts and balances is not.
    endpoint.treat(({ method, params }) => {
      if (/^eth_getTransaction(Receipt|ByHash)$/.test(method)) return { result: null }
      if (method !== 'eth_getBalance') return 'pass'
      const block = String(params[1])
      if (!block.startsWith('0x')) return { result: '0x0' }
      const missing = { error: { code: -32000, message: 'header not found' } }
      return BigInt(block) > behind ? missing : { result: '0x0' }
    })
    await settled()
    expect(await getPayment(purse, id)).toMatchObject(KEPT)
    endpoint.treat(() => 'pass')
    await resume(purse)
    expect(await getPayment(purse, id)).toMatchObject({ state: 'confirmed' })
  })

  it('has been replaced by a human with the same key, who paid more for its gas', async () => {
    const recipient = freshAddress()
    await anvil.automine(false)
    let id: string
    try {
      ;({ id } = await payInvoice(purse, { signed: makeInvoice(till, { recipient }) }))
      const faster = await purse.wallet.sign({
        type: 'eip1559',
        chainId: 31337,
        nonce: 0,
        to: recipient,
        value: AMOUNT,
        gas: 21_000n,
        maxFeePerGas: 10n ** 11n,
        maxPriorityFeePerGas: 10n ** 11n,
      })
      await anvil.sendRaw(faster)
      await anvil.mine()
    } finally {
      await anvil.automine(true)
    }
    await settled()
    expect(await getPayment(purse, id)).toMatchObject({
      ...KEPT,
      note: expect.stringContaining('may be paid'),
    })
  })
})

it('is not what becomes of the next payment where the queue is told by a node that lags', async () => {
  const first = await payInvoice(purse, { signed: makeInvoice(till) })
  await mined(anvil, first.txid)
  await settled()
  expect(await getPayment(purse, first.id)).toMatchObject({ state: 'confirmed' })
  endpoint.treat(({ method, params }) =>
    method === 'eth_getTransactionCount' && params[1] === 'pending' ? { result: '0x0' } : 'pass',
  )
  const second = await payInvoice(purse, { signed: makeInvoice(till) })
  expect(second).toMatchObject({ state: 'broadcast' })
  await mined(anvil, second.txid)
})
