/** One open till, whose chain `local` is settled step by step by hand. */
import { expect } from 'vitest'
import type { InvoiceView } from '../../src/bursar.ts'
import type { Step, Transfer } from '../../src/chains/chain.ts'
import type { Lease } from '../../src/db/lease.ts'
import { BursarError } from '../../src/errors.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { type SettledStep, settle } from '../../src/invoices/settle.ts'
import { getInvoice } from '../../src/invoices/view.ts'
import { verifyDatabase } from '../../src/ledger/verify/verify.ts'
import type { Rates } from '../../src/rates/rates.ts'
import { blockAt, openTill, type StepParts, stepTo, type Till, type TillOptions, transferTo } from './till.ts'

export const T0 = Date.UTC(2026, 10, 1)
export const LOCK_END = T0 + 900_000
export const CREDIT = 1_000_000n

/** A market that tests move; null: closed. */
export const market: { eth: number | null } = { eth: 2500 }

export const rates: Rates = {
  async quote(symbol) {
    if (market.eth === null) throw new BursarError('rate_unavailable', 'closed')
    const usd = symbol === 'ETH' ? market.eth : symbol === 'BTC' ? 50_000 : 1
    return { symbol, priceE8: BigInt(usd) * 10n ** 8n, source: 'market', at: T0 }
  },
}

export let till: Till
/** The lease that the next step is booked under. */
export let lease: Lease

export async function open(options: TillOptions = {}): Promise<void> {
  market.eth = 2500
  till = await openTill({ at: T0, rates: () => rates, ...options })
  await till.account('acc')
  for (const id of till.ctx.chains.keys()) await till.seedCursor(id)
  await take('local')
}

/** Whatever a test did, the database must verify. */
export async function close(): Promise<void> {
  const { findings } = await verifyDatabase({ url: till.url, runtime: till.ctx.runtime })
  await till.close()
  expect(findings).toEqual([])
}

export async function take(chain: string): Promise<Lease> {
  lease = await till.lease(chain)
  return lease
}

export function ask(over: object = {}): Promise<InvoiceView> {
  return createInvoice(till.ctx, { account: 'acc', rail: 'local:ETH', credits: '100', ...over })
}

export function view(id: string): Promise<InvoiceView> {
  return getInvoice(till.ctx, { account: 'acc', id })
}

export function book(step: Step, chain = 'local'): Promise<SettledStep> {
  return settle(till.ctx, till.chain(chain), step, lease)
}

/** Books a step along `local`. */
export function at(parts: StepParts): Promise<SettledStep> {
  return book(stepTo(parts))
}

/** The invoiced amount, or another, in a block of `local`. */
export function pay(
  invoice: InvoiceView,
  height: number,
  over: Partial<Transfer> = {},
  amount = BigInt(invoice.amount),
): Transfer {
  return transferTo(invoice.address, amount, { block: blockAt(height, T0 + height), ...over })
}

/** Everything that settling may change. */
export function snapshot(): Promise<unknown> {
  const tables = ['payment', 'posting', 'lot', 'account', 'outbox', 'invoice', 'chain_cursor']
  return Promise.all(tables.map((table) => till.db.query(`SELECT * FROM ${table} ORDER BY 1`)))
}
