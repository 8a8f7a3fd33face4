/** A purse over a real chain and a real database, and a till that signs invoices for it. */
import type { KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { privateKeyToAccount } from 'viem/accounts'
import { parseConfig, type Settings } from '../../../src/config.ts'
import type { Db } from '../../../src/db/db.ts'
import { openPurseDatabase } from '../../../src/purse/database.ts'
import { purseOf } from '../../../src/purse/open.ts'
import type { Purse } from '../../../src/purse/purse.ts'
import { purseConfig, purseDatabase } from '../../../src/purse/settings.ts'
import { openWallet } from '../../../src/purse/wallet.ts'
import type { Runtime } from '../../../src/runtime.ts'
import { payeeOf, type SignedInvoice, type SignedPayload, signInvoice } from '../../../src/signed-invoice.ts'
import { drawKey, drawWalletKey, seededRuntime } from '../../support/chance.ts'

export interface Till {
  readonly payee: string
  readonly key: KeyObject
}

export function makeTill(): Till {
  const key = drawKey()
  return { payee: payeeOf(key), key }
}

const HOUR_MS = 3_600_000
/** Away from the end of a day, where budgets begin anew in the middle of a test. The same in child processes. */
process.env['PURSE_AHEAD_MS'] ??= String(Date.now() % (24 * HOUR_MS) > 23 * HOUR_MS ? 2 * HOUR_MS : 0)
const AHEAD_MS = Number(process.env['PURSE_AHEAD_MS'])

/** The time of purses and tills of the tests: the real one, or some hours more. */
export const now = (): number => Date.now() + AHEAD_MS

let invoices = 0

/** An invoice for 0.001 ETH on the local chain, to an address of its own, unless told otherwise. */
export function makeInvoice(till: Till, fields: Partial<SignedPayload> = {}): SignedInvoice {
  invoices += 1
  return signInvoice(
    {
      v: 1,
      payee: till.payee,
      invoice: `inv_${process.pid}_${invoices}`,
      rail: 'local:ETH',
      network: 'eip155:31337',
      contract: null,
      recipient: freshAddress(),
      amount: '1000000000000000',
      expires_at: now() + 600_000,
      ...fields,
    },
    till.key,
  )
}

export function freshAddress(): `0x${string}` {
  return privateKeyToAccount(drawWalletKey()).address
}

export interface Fields {
  readonly rpc: string
  readonly payees?: readonly Till[]
  readonly budget?: { per_payment: string; per_day: string; per_month: string }
  /** Contract of the token that the configuration calls USDC. */
  readonly usdc?: string
  readonly wallet?: object
  readonly purse?: object
  readonly chain?: object
  readonly chains?: object
}

export const BUDGET = { per_payment: '10', per_day: '100', per_month: '1000' }

/** 1 ETH is $2,000. */
export function configOf(fields: Fields): object {
  const usdc = fields.usdc
  const local = {
    chain_id: 31337,
    rpc: [fields.rpc],
    assets: usdc === undefined ? ['ETH'] : ['ETH', 'USDC'],
    tokens: usdc === undefined ? {} : { USDC: { contract: usdc, decimals: 6 } },
    confirmations: [{ blocks: 2 }],
    finality_blocks: 4,
    poll_ms: 50,
    ...fields.chain,
  }
  return {
    chains: fields.chains ?? { local },
    rates: { fixed: { ETH: '2000' } },
    purse: {
      wallet: fields.wallet ?? { private_key: drawWalletKey() },
      budget: fields.budget ?? BUDGET,
      payees: (fields.payees ?? []).map(({ payee }) => ({ name: 'Test till', key: payee })),
      ...fields.purse,
    },
  }
}

export function settingsOf(config: object, dataDir: string): Settings {
  return {
    path: null,
    config: parseConfig(JSON.stringify(config), {}, 'the test'),
    database: `file:${join(dataDir, 'bursar.db')}`,
    dataDir,
    host: '127.0.0.1',
    port: 0,
    logLevel: 'silent',
  }
}

export function makeRuntime(changes: Partial<Runtime> = {}): Runtime {
  const runtime = seededRuntime()
  return { ...runtime, now, ...changes }
}

export interface Folder {
  readonly path: string
  remove(): void
}

export function makeFolder(): Folder {
  const path = mkdtempSync(join(tmpdir(), 'bursar-purse-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

/** Opens a purse in this process. */
export async function openTestPurse(
  settings: Settings,
  { runtime = makeRuntime(), wrap = (db: Db) => db }: { runtime?: Runtime; wrap?: (db: Db) => Db } = {},
): Promise<Purse & { close(): Promise<void> }> {
  const db = wrap(await openPurseDatabase(purseDatabase(settings), runtime))
  const purse = purseOf({ settings, runtime, db, wallet: await openWallet(purseConfig(settings).wallet) })
  return {
    ...purse,
    close: async () => {
      await purse.turns.idle()
      await db.close()
    },
  }
}
