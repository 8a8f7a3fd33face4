/** How many invoices are in each state, for whoever watches the till. */
import type { InvoiceState } from '../bursar.ts'
import { DAY_MS } from '../time.ts'
import type { InvoiceContext } from './context.ts'
import { invoicesBy, paymentsBy } from './records.ts'
import { deriveInvoice } from './view.ts'

/** Of those that can still be paid at their rate, or could within these days: older ones change seldom, and are many. */
export const TALLY_DAYS = 7

/** Invoices read at once: a few milliseconds, because reads of a file hold the whole process up. */
const PAGE = 128n
/** Between two pages: room for calls. */
const PAUSE_MS = 2
/** Of a server, each page is a way there and back, and small: three columns of each invoice. */
const SERVER_PAGE = 4_096n
/**
 * Of those that something was paid to, every column is read, over a kilobyte each and as much of each payment: 4,096 at
 * once kept the event loop for 50 ms, and were half of what a server answers at most (10 MB, sqld's default).
 */
const WHOLE = 1_024

type TallyContext = Pick<InvoiceContext, 'db' | 'runtime' | 'chains'>

/** Derived, as everywhere: only those that something was paid to have to be read. */
export async function tallyInvoices(ctx: TallyContext): Promise<Record<InvoiceState, number>> {
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
  const size = ctx.db.overlaps ? PAGE : SERVER_PAGE
  // Behind every id of that moment.
  let after: Ended = { id: '~', expires_at: since, is_touched: 0n }
  for (;;) {
    const page = await ctx.db.query<Ended>(
      `SELECT id, expires_at, EXISTS (SELECT 1 FROM payment p WHERE p.invoice = i.id) AS is_touched FROM invoice i
       WHERE (expires_at, id) > (?1, ?2) ORDER BY expires_at, id LIMIT ?3`,
      [after.expires_at, after.id, size],
    )
    const touched = page.filter(({ is_touched: is }) => is === 1n).map(({ id }) => id)
    for (const { expires_at: at, is_touched: is } of page) {
      if (is === 0n) counts[at > BigInt(now) ? 'open' : 'expired'] += 1
    }
    for (let from = 0; from < touched.length; from += WHOLE) {
      for (const state of await statesOf(ctx, touched.slice(from, from + WHOLE), now)) counts[state] += 1
    }
    const last = page.at(-1)
    if (!last || BigInt(page.length) < size) return counts
    after = last
    await ctx.runtime.sleep(PAUSE_MS)
  }
}

interface Ended {
  readonly id: string
  readonly expires_at: bigint
  readonly is_touched: bigint
}

async function statesOf(ctx: TallyContext, ids: readonly string[], now: number): Promise<InvoiceState[]> {
  const [invoices, payments] = await Promise.all([
    invoicesBy(ctx.db, 'id', ids),
    paymentsBy(ctx.db, 'invoice', ids),
  ])
  const byInvoice = Map.groupBy(payments, ({ invoice }) => invoice)
  return invoices.map((invoice) => deriveInvoice(ctx, invoice, byInvoice.get(invoice.id) ?? [], now).state)
}
