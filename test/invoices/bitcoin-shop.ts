/** A till and a real Bitcoin node, without a watcher: a test says when a step is read and booked. */
import { HDKey } from '@scure/bip32'
import type { InvoiceView } from '../../src/bursar.ts'
import type { Chain } from '../../src/chains/chain.ts'
import { openChains } from '../../src/chains/index.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { ensureCursor } from '../../src/invoices/cursor.ts'
import { settle } from '../../src/invoices/settle.ts'
import { getInvoice } from '../../src/invoices/view.ts'
import { watchedAddresses } from '../../src/invoices/watched.ts'
import type { BitcoinNode } from '../support/litecoind.ts'
import { openTill, type Till } from './till.ts'

const ROOT = HDKey.fromMasterSeed(new Uint8Array(32).fill(11))

export interface BitcoinShop {
  readonly till: Till
  ask(over?: object): Promise<InvoiceView>
  view(id: string): Promise<InvoiceView>
  /** The state of an invoice, then those of its payments. */
  states(id: string): Promise<string[]>
  /** Reads one step from where the books are, and books it. */
  read(): Promise<void>
  /** The chain object forgets what it remembers, as in a new process. */
  restart(): void
  readonly close: () => Promise<void>
}

export interface BitcoinShopOptions {
  readonly node: BitcoinNode
  readonly rpc?: readonly string[]
  /** Which of the test accounts is paid: each has addresses of its own. */
  readonly account?: number
  /** Over the chain's configuration. */
  readonly chain?: object
}

/** Its clock stands still, at the moment when it was opened. */
export async function openBitcoinShop({
  node,
  rpc,
  account = 0,
  chain: over,
}: BitcoinShopOptions): Promise<BitcoinShop> {
  const till = await openTill({
    at: Date.now(),
    config: {
      keys: { bitcoin: ROOT.derive(`m/84'/1'/${account}'`).publicExtendedKey },
      chains: {
        bitcoin: {
          family: 'bitcoin',
          network: 'regtest',
          bech32: node.bech32,
          rpc: rpc ?? [node.url],
          confirmations: [{ blocks: 2 }],
          ...over,
        },
      },
    },
  })
  await till.account('acc')
  let chain: Chain = till.chain('bitcoin')
  await ensureCursor(till.ctx, chain)
  const lease = await till.lease('bitcoin')
  const shop: BitcoinShop = {
    till,
    ask: (asked = {}) =>
      createInvoice(till.ctx, { account: 'acc', rail: 'bitcoin:BTC', credits: '100', ...asked }),
    view: (id) => getInvoice(till.ctx, { account: 'acc', id }),
    async states(id) {
      const { state, payments } = await shop.view(id)
      return [state, ...payments.map((payment) => payment.state)]
    },
    async read() {
      const watched = watchedAddresses(till.db, 'bitcoin')
      await watched.refresh()
      const { cursor } = await ensureCursor(till.ctx, chain)
      await settle(till.ctx, chain, await chain.follow(cursor, watched), lease)
    },
    restart() {
      chain = openAgain(till)
    },
    close: () => till.close(),
  }
  return shop
}

function openAgain({ config, ctx }: Till): Chain {
  const [chain] = openChains({ config, runtime: ctx.runtime })
  if (!chain) throw new Error('one chain was configured')
  return chain
}
