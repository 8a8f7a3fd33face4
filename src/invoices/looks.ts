/**
 * Looks for what other processes have settled, for all who wait in this one. Together: thousands may wait, for an hour
 * each, and if each looked for itself there would be no time for anything else.
 */
import type { Changes } from './changes.ts'
import type { InvoiceContext } from './context.ts'
import { type ChainStates, readChainStates, STALE_MS } from './waiting.ts'

export const LOOK_MS = 500

type LooksContext = Pick<InvoiceContext, 'db' | 'runtime' | 'changes'>

interface Watched {
  waiters: number
  /** What the last look has shown; undefined: there was none yet. */
  seen?: string
}

interface Looks {
  readonly watched: Map<string, Watched>
  readonly stop: AbortController
}

/** By what they notify: of each till in this process. */
const looking = new WeakMap<Changes, Looks>()

/**
 * From now on `changes` is notified of this invoice when another process has changed it, or what its payments wait for;
 * and once in any case, for what came before the first look. Call what is returned when nobody waits any more.
 */
export function lookFor(ctx: LooksContext, invoice: string): () => void {
  const looks = looking.get(ctx.changes) ?? begin(ctx)
  const entry = looks.watched.get(invoice) ?? { waiters: 0 }
  looks.watched.set(invoice, entry)
  entry.waiters++
  return () => {
    entry.waiters--
    if (entry.waiters > 0) return
    looks.watched.delete(invoice)
    if (looks.watched.size > 0) return
    looking.delete(ctx.changes)
    looks.stop.abort()
  }
}

function begin(ctx: LooksContext): Looks {
  const looks: Looks = { watched: new Map(), stop: new AbortController() }
  looking.set(ctx.changes, looks)
  void keepLooking(ctx, looks)
  return looks
}

/** Never rejects: who waits looks for itself now and then, and hears then what is wrong with the database. */
async function keepLooking(ctx: LooksContext, { watched, stop }: Looks): Promise<void> {
  while (!stop.signal.aborted) {
    try {
      await ctx.runtime.sleep(LOOK_MS, stop.signal)
      await look(ctx, watched)
    } catch {
      // Stopped, or tried again.
    }
  }
}

interface PaymentsRow {
  readonly invoice: string
  readonly payments: string
  readonly is_open: bigint
}

async function look({ db, runtime, changes }: LooksContext, watched: Map<string, Watched>): Promise<void> {
  const ids = [...watched.keys()]
  const [rows, states] = await Promise.all([
    db.query<PaymentsRow>(
      `SELECT p.invoice, group_concat(concat_ws(' ', p.key, p.state, p.epoch, p.height, p.amount, w.reason)) AS payments,
         max(p.state IN ('seen', 'confirming')) AS is_open
       FROM payment p LEFT JOIN waiting w ON w.subject = 'payment:' || p.key
       WHERE p.invoice IN (SELECT value FROM json_each(?)) GROUP BY p.invoice`,
      [JSON.stringify(ids)],
    ),
    readChainStates(db),
  ])
  const chains = chainsText(states, runtime.now())
  const shown = new Map(
    rows.map(({ invoice, payments, is_open: is }) => [invoice, is === 1n ? payments + chains : payments]),
  )
  for (const id of ids) {
    const entry = watched.get(id)
    const now = shown.get(id) ?? ''
    if (!entry || entry.seen === now) continue
    entry.seen = now
    changes.notify(id)
  }
}

/** What of the chains shows in a payment that is on its way. */
function chainsText(states: ChainStates, now: number): string {
  return JSON.stringify(
    [...states].map(([chain, { height, halted, wait, settledAt }]) => {
      return [chain, height, halted, wait?.reason, now - settledAt > STALE_MS]
    }),
  )
}
