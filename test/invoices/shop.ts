/** A till that watches one local chain, through any endpoints, for tests of whole payments. */
import { HDKey } from '@scure/bip32'
import type { InvoiceView } from '../../src/bursar.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { getInvoice } from '../../src/invoices/view.ts'
import { type Watch, watchChain } from '../../src/invoices/watch.ts'
import type { Log } from '../../src/runtime.ts'
import type { Anvil } from '../support/anvil.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import type { LogLine } from '../support/runtime.ts'
import { openTill, type Till, type TillOptions } from './till.ts'

/** A key whose addresses no test node funds. */
export const SHOP_KEY = HDKey.fromMasterSeed(new Uint8Array(32).fill(9)).derive(
  "m/44'/60'/0'",
).publicExtendedKey

export interface Shop {
  readonly till: Till
  /** What was logged. */
  readonly lines: readonly LogLine[]
  /** The `event` of each line that has one. */
  events(): string[]
  ask(over?: object): Promise<InvoiceView>
  view(id: string): Promise<InvoiceView>
  /** Resolves with the first view that looks as expected. */
  until(id: string, holds: (view: InvoiceView) => boolean): Promise<InvoiceView>
  /** Resolves when a line with this event has been logged. */
  said(event: string): Promise<LogLine>
  /** Resolves once the chain has been read to where its tip is now. */
  caughtUp(): Promise<void>
  watch(): Promise<void>
  unwatch(): Promise<void>
  readonly close: () => Promise<void>
}

export interface ShopOptions extends TillOptions {
  readonly anvil: Anvil
  readonly rpc?: readonly string[]
  /** Over the chain's configuration. */
  readonly chain?: object
}

export async function openShop({ anvil, rpc, chain, ...options }: ShopOptions): Promise<Shop> {
  const lines: LogLine[] = []
  let listeners: (() => void)[] = []
  const logAs = (level: keyof Log) => (facts: object, message: string) => {
    lines.push({ level, facts, message })
    for (const listener of listeners) listener()
    listeners = []
  }
  const log: Log = { debug: logAs('debug'), info: logAs('info'), warn: logAs('warn'), error: logAs('error') }
  const till = await openTill({
    ...options,
    // Its node is on this machine: it answers, however much else the machine does.
    runtime: { log, after: () => () => undefined, ...options.runtime },
    config: {
      keys: { evm: SHOP_KEY },
      chains: {
        local: {
          chain_id: anvil.chainId,
          rpc: rpc ?? [anvil.url],
          assets: ['ETH'],
          confirmations: [{ blocks: 2 }],
          finality_blocks: 6,
          poll_ms: 50,
          ...chain,
        },
      },
    },
  })
  await till.account('acc')
  let stop = new AbortController()
  let watching: Watch | null = null
  const eventOf = ({ facts }: LogLine) => (facts as { event?: string }).event
  const shop: Shop = {
    till,
    lines,
    events: () => lines.flatMap((line) => eventOf(line) ?? []),
    ask: (over = {}) =>
      createInvoice(till.ctx, { account: 'acc', rail: 'local:ETH', credits: '100', ...over }),
    view: (id) => getInvoice(till.ctx, { account: 'acc', id }),
    async until(id, holds) {
      const signal = AbortSignal.timeout(PATIENCE_MS)
      while (true) {
        const change = till.ctx.changes.wait(id, signal)
        change.catch(() => undefined)
        const view = await shop.view(id)
        if (holds(view)) return view
        await change
      }
    },
    async said(event) {
      while (true) {
        const line = lines.find((each) => eventOf(each) === event)
        if (line) return line
        await new Promise<void>((resolve) => void listeners.push(resolve))
      }
    },
    async caughtUp() {
      const tip = await anvil.height()
      while (true) {
        const [row] = await till.db.query<{ height: bigint }>('SELECT height FROM chain_cursor')
        if (Number(row?.height ?? 0n) >= tip) return
        await till.ctx.runtime.sleep(20)
      }
    },
    async watch() {
      stop = new AbortController()
      watching = watchChain(till.ctx, till.chain('local'), stop.signal)
      await watching.ready
    },
    async unwatch() {
      stop.abort()
      await watching?.ended
    },
    async close() {
      await shop.unwatch()
      await till.close()
    },
  }
  return shop
}
