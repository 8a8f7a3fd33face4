/** What a till's database says at this moment about how it is doing: the gauges of /metrics. */
import type { Readings } from './http/metrics.ts'
import type { InvoiceContext } from './invoices/context.ts'
import { tallyInvoices } from './invoices/tally.ts'

interface CursorRow {
  readonly chain: string
  readonly behind: bigint
  readonly updated_at: bigint
  readonly halted: bigint
}

export async function takeReadings(ctx: InvoiceContext): Promise<Readings> {
  const { db, runtime, chains } = ctx
  const [holds, cursors, invoices] = await Promise.all([
    db.query<{ n: bigint; amount: bigint | null }>('SELECT count(*) AS n, sum(amount) AS amount FROM hold'),
    db.query<CursorRow>(
      `SELECT chain, max(tip_height - height, 0) AS behind, updated_at, halted IS NOT NULL AS halted
       FROM chain_cursor`,
    ),
    tallyInvoices(ctx),
  ])
  return {
    holds: { open: Number(holds[0]?.n ?? 0n), micro: holds[0]?.amount ?? 0n },
    invoices,
    chains: cursors
      .filter(({ chain }) => chains.has(chain))
      .map(({ chain, behind, updated_at: at, halted }) => ({
        chain,
        blocksBehind: Number(behind),
        readSecondsAgo: Math.max(0, runtime.now() - Number(at)) / 1000,
        halted: halted === 1n,
      })),
  }
}
