/** A purse whose database was put back from an older copy: what it has forgotten is not paid a second time. */
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { copyDatabase } from '../../src/db/backup.ts'
import type { Db } from '../../src/db/db.ts'
import { getPaymentOf, payInvoice } from '../../src/purse/pay.ts'
import { resume } from '../../src/purse/resume.ts'
import type { SignedInvoice } from '../../src/signed-invoice.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { drawWalletKey } from '../support/chance.ts'
import { deployToken, type TestToken } from '../support/token.ts'
import {
  configOf,
  type Folder,
  freshAddress,
  makeFolder,
  makeInvoice,
  makeRuntime,
  makeTill,
  now,
  openTestPurse,
  settingsOf,
  type Till,
} from './support/fixture.ts'
import { fund, mined } from './support/mined.ts'

const AMOUNT = 1_000_000_000_000_000n
const till = makeTill()
let anvil: Anvil
let token: TestToken
beforeAll(async () => {
  anvil = await startAnvil()
  token = await deployToken(anvil)
})
afterAll(() => anvil.stop())

let folder: Folder
let key: `0x${string}`
const opened: { close(): Promise<void> }[] = []
beforeEach(() => {
  folder = makeFolder()
  key = drawWalletKey()
})
afterEach(async () => {
  for (const purse of opened.splice(0)) await purse.close()
  folder.remove()
})

interface Opening {
  readonly wrap?: (db: Db) => Db
  readonly now?: () => number
  readonly payees?: readonly Till[]
}

async function openPurse(
  database: string,
  { wrap = (db) => db, now: clock = now, payees = [till] }: Opening = {},
) {
  const fields = { rpc: anvil.url, usdc: token.address, payees, wallet: { private_key: key } }
  const config = configOf({ ...fields, purse: { database: join(folder.path, database) } })
  const runtime = makeRuntime({ now: clock })
  const purse = await openTestPurse(settingsOf(config, folder.path), { wrap, runtime })
  opened.push(purse)
  return purse
}

async function makeFunded() {
  const purse = await openPurse('first.db')
  await fund(anvil, purse.wallet.address)
  await mined(anvil, await token.mint(purse.wallet.address, 5_000_000n))
  return purse
}

/** As `bursar purse backup` does, and then puts the copy in the place of a database. */
async function copy(to: string): Promise<void> {
  const backup = join(folder.path, `${to}.copy`)
  const url = `file:${join(folder.path, 'first.db')}`
  await copyDatabase({ url, backup, runtime: makeRuntime(), check: async () => undefined, missing: '' })
  copyFileSync(backup, join(folder.path, to))
}

const sent = async (wallet: string) =>
  Number(await anvil.rpc<string>('eth_getTransactionCount', [wallet, 'pending']))
const coin = async (address: string) => BigInt(await anvil.rpc<string>('eth_getBalance', [address, 'latest']))
const invoiceOf = ({ payload }: SignedInvoice) => (JSON.parse(payload) as { invoice: string }).invoice

describe('an invoice that was paid after the copy was made', () => {
  it.each([
    ['coins', () => makeInvoice(till)],
    ['tokens', () => makeInvoice(till, { rail: 'local:USDC', contract: token.address, amount: '2000000' })],
  ])('is not paid again, in %s', async (_kind, invoice) => {
    const purse = await makeFunded()
    await copy('second.db')
    const signed = invoice()
    await mined(anvil, (await payInvoice(purse, { signed })).txid)
    const restored = await openPurse('second.db')
    await expect(payInvoice(restored, { signed })).rejects.toMatchObject({
      code: 'invoice_not_payable',
      details: { reason: 'paid_before' },
    })
    expect(await restored.db.query('SELECT id FROM payment')).toEqual([])
    expect(await sent(purse.wallet.address)).toBe(1)
    // Others are.
    expect(await payInvoice(restored, { signed: makeInvoice(till) })).toMatchObject({ state: 'broadcast' })
  })

  it('is not paid again while its transaction waits to be mined', async () => {
    const purse = await makeFunded()
    await copy('second.db')
    const recipient = freshAddress()
    const signed = makeInvoice(till, { recipient })
    const restored = await openPurse('second.db')
    await anvil.automine(false)
    let txid: string | null
    try {
      ;({ txid } = await payInvoice(purse, { signed }))
      await expect(payInvoice(restored, { signed })).rejects.toMatchObject({
        code: 'payment_unresolved',
        details: { reason: 'unknown_transaction' },
      })
      expect(await restored.db.query('SELECT id FROM payment')).toEqual([])
    } finally {
      await anvil.automine(true)
      await anvil.mine()
    }
    await mined(anvil, txid)
    await expect(payInvoice(restored, { signed })).rejects.toMatchObject({ code: 'invoice_not_payable' })
    expect(await coin(recipient)).toBe(AMOUNT)
    expect(await sent(purse.wallet.address)).toBe(1)
  })
})

describe('a payment that the copy remembers as reserved, and that was sent since', () => {
  it.each([
    ['is not signed again', {}],
    ['is not called unpaid when its invoice has ended', { now: () => now() + 7_200_000 }],
    ['is not called unpaid when its payee is no longer pinned', { payees: [makeTill()] }],
  ])('%s', async (_what, changed) => {
    const purse = await makeFunded()
    const recipient = freshAddress()
    const signed = makeInvoice(till, { recipient })
    let commits = 0
    const copying = (db: Db): Db => ({
      ...db,
      async commit(statements) {
        commits += 1
        // After the reservation, before the signature.
        if (commits === 2) await copy('second.db')
        return db.commit(statements)
      },
    })
    const paying = await openPurse('first.db', { wrap: copying })
    await mined(anvil, (await payInvoice(paying, { signed })).txid)
    const restored = await openPurse('second.db', changed)
    const before = await getPaymentOf(restored, till.payee, invoiceOf(signed))
    expect(before).toMatchObject({ state: 'reserved' })
    await resume(restored)
    expect(await getPaymentOf(restored, till.payee, invoiceOf(signed))).toMatchObject({
      id: before?.id,
      state: 'failed',
      charged_usd: before?.charged_usd,
      note: expect.stringContaining('not paid again'),
    })
    expect(await coin(recipient)).toBe(AMOUNT)
    expect(await sent(purse.wallet.address)).toBe(1)
  })
})
