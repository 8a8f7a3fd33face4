/** How many invoices are in each state, for whoever watches the till. */
import type { InvoiceState } from '../bursar.ts'
import type { InvoiceContext } from './context.ts'
import { invoicesBy, paymentsBy } from './records.ts'
import { deriveInvoice } from './view.ts'

const DAY_MS = 86_400_000

/** Of those that can still be paid at their rate, or could within these days: older ones change seldom, and are many. */
export const TALLY_DAYS = 7

/** Derived, as everywhere: only those that something was paid to have to be read. */
export async function tallyInvoices(
  ctx: Pick<InvoiceContext, 'db' | 'runtime' | 'chains'>,
): Promise<Record<InvoiceState, number>> {
  const now = ctx.runtime.now()
  const since = BigInt(now - TALLY_DAYS * DAY_MS)
  const counts: Record<InvoiceState, number> = {
    open: 0,
    partial: 0,
    processing: 0,
    paid: 0,
    expired: 0,
    reversed: 0,
  }
  const unpaid = await ctx.db.query<{ open: bigint; n: bigint }>(
    `SELECT expires_at > ?2 AS open, count(*) AS n FROM invoice i
     WHERE expires_at > ?1 AND NOT EXISTS (SELECT 1 FROM payment p WHERE p.invoice = i.id) GROUP BY 1`,
    [since, BigInt(now)],
  )
  for (const { open, n } of unpaid) counts[open === 1n ? 'open' : 'expired'] += Number(n)
  const touched = await ctx.db.query<{ id: string }>(
    `SELECT id FROM invoice i
     WHERE expires_at > ?1 AND EXISTS (SELECT 1 FROM payment p WHERE p.invoice = i.id)`,
    [since],
  )
  const ids = touched.map(({ id }) => id)
  const [invoices, payments] = await Promise.all([
    invoicesBy(ctx.db, 'id', ids),
    paymentsBy(ctx.db, 'invoice', ids),
  ])
  const byInvoice = Map.groupBy(payments, ({ invoice }) => invoice)
  for (const invoice of invoices) {
    const { state } = deriveInvoice(ctx, invoice, byInvoice.get(invoice.id) ?? [], now)
    counts[state] += 1
  }
  return counts
}
