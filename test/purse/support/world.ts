/** A chain with a token on it, and funded purses that pay there. */
import type { PursePayment } from '../../../src/bursar.ts'
import { type PayRequest, payInvoice } from '../../../src/purse/pay.ts'
import type { Purse } from '../../../src/purse/purse.ts'
import type { SignedInvoice } from '../../../src/signed-invoice.ts'
import { type Anvil, startAnvil } from '../../support/anvil.ts'
import { deployToken, type TestToken } from '../../support/token.ts'
import {
  configOf,
  type Fields,
  makeFolder,
  makeInvoice,
  makeRuntime,
  makeTill,
  openTestPurse,
  settingsOf,
  type Till,
} from './fixture.ts'
import { fund, mined } from './mined.ts'

export const ETHER = 10n ** 18n

export interface World {
  readonly anvil: Anvil
  readonly token: TestToken
  readonly till: Till
  /** A purse with a database of its own and one ether, unless told otherwise. */
  makePurse(fields?: Partial<Fields> & { ether?: bigint; now?: () => number }): Promise<Purse>
  /** Pays, and waits until it is in a block. */
  payAndMine(purse: Purse, request: PayRequest): Promise<PursePayment>
  /** An invoice for 2 USDC. */
  usdcInvoice(fields?: object): SignedInvoice
  mint(to: string, amount: bigint): Promise<void>
  balance(address: string): Promise<bigint>
  /** Transactions of its wallet that the chain knows, mined or not. */
  sentBy(purse: Purse): Promise<number>
  stop(): Promise<void>
}

export async function startWorld(): Promise<World> {
  const anvil = await startAnvil()
  const token = await deployToken(anvil)
  const folder = makeFolder()
  const till = makeTill()
  const opened: { close(): Promise<void> }[] = []
  return {
    anvil,
    token,
    till,
    async makePurse({ ether = ETHER, now, ...fields } = {}) {
      const purse = { database: `${folder.path}/${opened.length}.db` }
      const config = configOf({ rpc: anvil.url, payees: [till], usdc: token.address, purse, ...fields })
      const runtime = now ? { runtime: makeRuntime({ now }) } : {}
      const made = await openTestPurse(settingsOf(config, folder.path), runtime)
      opened.push(made)
      if (ether > 0n) await fund(anvil, made.wallet.address, ether)
      return made
    },
    async payAndMine(purse, request) {
      const paid = await payInvoice(purse, request)
      await mined(anvil, paid.txid)
      return paid
    },
    usdcInvoice: (fields = {}) =>
      makeInvoice(till, { rail: 'local:USDC', contract: token.address, amount: '2000000', ...fields }),
    mint: async (to, amount) => mined(anvil, await token.mint(to, amount)),
    balance: async (address) => BigInt(await anvil.rpc<string>('eth_getBalance', [address, 'latest'])),
    sentBy: async ({ wallet }) =>
      Number(await anvil.rpc<string>('eth_getTransactionCount', [wallet.address, 'pending'])),
    async stop() {
      for (const purse of opened) await purse.close()
      await anvil.stop()
      folder.remove()
    },
  }
}
