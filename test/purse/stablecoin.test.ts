import { afterAll, beforeAll, expect, it } from 'vitest'
import { payInvoice } from '../../src/purse/pay.ts'
import type { Purse } from '../../src/purse/purse.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { deployToken, type TestToken } from '../support/token.ts'
import {
  configOf,
  type Folder,
  makeFolder,
  makeInvoice,
  makeTill,
  openTestPurse,
  settingsOf,
} from './support/fixture.ts'

const till = makeTill()
let anvil: Anvil
let token: TestToken
let folder: Folder
let purse: Purse & { close(): Promise<void> }

beforeAll(async () => {
  anvil = await startAnvil()
  token = await deployToken(anvil)
  folder = makeFolder()
  const config = configOf({ rpc: anvil.url, payees: [till], usdc: token.address })
  // A depeg: the market pays 90 cents.
  const settings = settingsOf({ ...config, rates: { fixed: { ETH: '2000', USDC: '0.90' } } }, folder.path)
  purse = await openTestPurse(settings)
  await anvil.send({ to: purse.wallet.address, value: 10n ** 18n })
  await anvil.mined(await token.mint(purse.wallet.address, 20_000_000n))
})
afterAll(async () => {
  await purse.close()
  await anvil.stop()
  folder.remove()
})

function pay(amount: string) {
  const signed = makeInvoice(till, { rail: 'local:USDC', contract: token.address, amount })
  return payInvoice(purse, { signed })
}

it('counts a stablecoin in the budget at $1 at least, however low its market', async () => {
  // The budget allows $10 a payment; at 90 cents these eleven would pass.
  await expect(pay('11000000')).rejects.toMatchObject({ code: 'budget_exceeded' })
  expect(await pay('2000000')).toMatchObject({ state: 'broadcast', usd: '2.00' })
})
