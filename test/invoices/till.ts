/** A till's invoices over a real database and the real chain code; each test says what the chain holds. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Chain, Step, Transfer } from '../../src/chains/chain.ts'
import { openChains } from '../../src/chains/index.ts'
import { type ConfigFile, configSchema } from '../../src/config-schema.ts'
import { readCatalogue } from '../../src/credits/packs.ts'
import { openDb } from '../../src/db/client.ts'
import { type Db, statement } from '../../src/db/db.ts'
import { acquireLease, type Lease } from '../../src/db/lease.ts'
import { createChanges } from '../../src/invoices/changes.ts'
import type { InvoiceContext } from '../../src/invoices/context.ts'
import { moveCursor } from '../../src/invoices/cursor.ts'
import { openTillKey } from '../../src/invoices/till-key.ts'
import { openRates } from '../../src/rates/open.ts'
import type { Rates } from '../../src/rates/rates.ts'
import type { Runtime } from '../../src/runtime.ts'
import { seededRuntime } from '../support/chance.ts'

/** Account keys of the well-known mnemonic "test test ... junk": m/44'/60'/0' and m/84'/1'/0'. */
export const EVM_XPUB =
  'xpub6Ce9NcJvTk36xtLSrJLZqE7wtgA5deCeYs7rSQtreh4cj6ByPtrg9sD7V2FNFLPnf8heNP3FGkeV9qwfzvZNSd54JoNXVsXFYSYwHsnJxqP'
export const BITCOIN_TPUB =
  'tpubDCTawRj1voCsGHoKQopGdxi1UXEfy8eeogsbA7SxDL1j7tvTfwdF6jQNSneAQw5a2x29XY6PWbnKMx68oM7BYoew8eRySvVaLZxkrBzWr4A'

export interface Till {
  readonly ctx: InvoiceContext
  readonly db: Db
  readonly url: string
  readonly dir: string
  readonly config: ConfigFile
  /** Unix milliseconds; tests move it. */
  readonly clock: { now: number }
  chain(id: string): Chain
  account(id: string): Promise<string>
  available(account: string): Promise<bigint>
  /** The sum of all postings, by kind. */
  posted(): Promise<Record<string, bigint>>
  events(): Promise<string[]>
  /** Stores a cursor, as a first start would, without asking a node. */
  seedCursor(id: string, height?: number): Promise<void>
  lease(id: string): Promise<Lease>
  readonly close: () => Promise<void>
}

export interface TillOptions {
  readonly config?: Record<string, unknown>
  readonly rates?: (clock: { now: number }) => Rates
  readonly runtime?: Partial<Runtime>
  /** A clock that tests move; otherwise the real one. */
  readonly at?: number
  readonly dir?: string
}

export const NOWHERE = 'http://127.0.0.1:9'

/** Two EVM networks that share addresses, and a Bitcoin network. */
export function testConfig(over: Record<string, unknown> = {}): ConfigFile {
  const evm = { rpc: [NOWHERE], assets: ['ETH', 'USDC'], confirmations: [{ blocks: 3 }], finality_blocks: 12 }
  const tokens = { USDC: { contract: '0x5FbDB2315678afecb367f032d93F642f64180aa3', decimals: 6 } }
  return configSchema.parse({
    keys: { evm: EVM_XPUB, bitcoin: BITCOIN_TPUB },
    chains: {
      local: { ...evm, chain_id: 31337, tokens },
      side: { ...evm, chain_id: 31338, tokens },
      bitcoin: {
        family: 'bitcoin',
        network: 'regtest',
        rpc: ['http://u:p@127.0.0.1:9'],
        confirmations: [{ blocks: 2 }],
      },
    },
    rates: { fixed: { ETH: '2500', BTC: '50000' } },
    packs: [
      { id: 'small', credits: '100' },
      { id: 'sale', credits: '100', price: '8' },
    ],
    ...over,
  })
}

export async function openTill(options: TillOptions = {}): Promise<Till> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'bursar-invoices-'))
  const url = `file:${join(dir, 'till.db')}`
  const clock = { now: options.at ?? 0 }
  const system = seededRuntime()
  const runtime: Runtime = {
    ...system,
    ...(options.at === undefined ? {} : { now: () => clock.now }),
    ...options.runtime,
  }
  const db = await openDb({ url, runtime })
  const config = testConfig(options.config)
  const chains = openChains({ config, runtime })
  const ctx: InvoiceContext = {
    db,
    runtime,
    chains: new Map(chains.map((chain) => [chain.id, chain])),
    rates:
      options.rates?.(clock) ?? openRates({ config: config.rates, networks: chains, feeds: [], runtime }),
    catalogue: readCatalogue(config),
    tillKey: openTillKey({ dataDir: dir, runtime }),
    changes: createChanges(),
    lockMs: config.invoices.lock_minutes * 60_000,
  }
  const till: Till = {
    ctx,
    db,
    url,
    dir,
    config,
    clock,
    chain(id) {
      const chain = ctx.chains.get(id)
      if (!chain) throw new Error(`no chain ${id}`)
      return chain
    },
    async account(id) {
      await db.commit([
        statement('INSERT INTO account (id, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING', [id, 0n]),
      ])
      return id
    },
    async available(account) {
      const [row] = await db.query<{ available: bigint }>('SELECT available FROM account WHERE id = ?', [
        account,
      ])
      return row?.available ?? 0n
    },
    async posted() {
      const rows = await db.query<{ kind: string; total: bigint }>(
        'SELECT kind, sum(available + held) AS total FROM posting GROUP BY kind',
      )
      return Object.fromEntries(rows.map((row) => [row.kind, row.total]))
    },
    async events() {
      const rows = await db.query<{ type: string }>('SELECT type FROM outbox ORDER BY id')
      return rows.map((row) => row.type)
    },
    async seedCursor(id, height = 100) {
      const recent = Array.from(
        { length: 13 },
        (_, i) => [height - 12 + i, `${height - 12 + i}:main`] as const,
      )
      const cursor = { height, hash: `${height}:main`, recent }
      await db.commit([moveCursor(id, { cursor, tipHeight: height, at: runtime.now() })])
    },
    async lease(id) {
      const lease = await acquireLease(ctx, { name: `watch:${id}`, holder: 'test', ttlMs: 60_000 })
      if (!lease) throw new Error('the lease is taken')
      return lease
    },
    close: async () => {
      await db.close()
      if (options.dir === undefined) rmSync(dir, { recursive: true, force: true })
    },
  }
  return till
}

/** A block `seconds` after `base`, on a branch with a name. */
export function blockAt(height: number, time: number, branch = 'main') {
  return { height, hash: `${height}:${branch}`, time }
}

export type StepParts = Partial<Omit<Step, 'cursor' | 'tip'>> & {
  readonly height: number
  readonly branch?: string
  readonly time?: number
}

/** A step that ends at a height; the tip is there too. */
export function stepTo({ height, branch = 'main', time = 0, ...parts }: StepParts): Step {
  const recent = Array.from(
    { length: 13 },
    (_, i) => [height - 12 + i, `${height - 12 + i}:${branch}`] as const,
  )
  return {
    cursor: { height, hash: `${height}:${branch}`, recent },
    tip: blockAt(height, time, branch),
    finalized: null,
    forkedAt: null,
    transfers: [],
    pending: [],
    pendingWhole: parts.caughtUp ?? true,
    caughtUp: true,
    ...parts,
  }
}

export function transferTo(
  to: string,
  amount: bigint,
  parts: Partial<Transfer> & Pick<Transfer, 'block'>,
): Transfer {
  const { chain = 'local', symbol = 'ETH', txid = '0xaa', ...rest } = parts
  return { key: `${chain}:${txid}:trace:`, chain, symbol, txid, to, amount, ...rest }
}
