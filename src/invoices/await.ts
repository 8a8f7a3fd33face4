/** Waits for an invoice: at once when this process settles it, by looking from time to time when another does. */
import type { AwaitedInvoice, InvoiceView } from '../bursar.ts'
import { invalid } from '../errors.ts'
import type { InvoiceContext } from './context.ts'
import { getInvoice } from './view.ts'

/** How often to look when another process may be the one that settles. */
const LOOK_MS = 500
/** A block from just before the lock's end may still be on its way to us. */
const GRACE_MS = 15_000
const MAX_TIMEOUT_MS = 3_600_000

export interface AwaitInvoice {
  readonly account: string
  readonly invoice: string
  /** 0 looks once. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal
  /** Called with the first view, and with each one that differs from the last. */
  readonly onProgress?: (invoice: InvoiceView) => void
}

/**
 * Resolves when the invoice is paid, or its lock has ended with nothing on the way, or the time is up. Repeating it
 * is safe: it changes nothing.
 *
 * @throws {BursarError} not_found; the signal's reason when it is aborted.
 */
export async function awaitPayment(ctx: InvoiceContext, wait: AwaitInvoice): Promise<AwaitedInvoice> {
  const { timeoutMs, invoice: id, account } = wait
  if (!Number.isFinite(timeoutMs) || timeoutMs < 0 || timeoutMs > MAX_TIMEOUT_MS) {
    throw invalid(`timeout_ms must be from 0 to ${MAX_TIMEOUT_MS}.`, { remedy: 'Wait for less, and repeat.' })
  }
  const deadline = ctx.runtime.now() + timeoutMs
  let shown = ''
  while (true) {
    const round = new AbortController()
    const stop = wait.signal ? AbortSignal.any([wait.signal, round.signal]) : round.signal
    // Listening begins before looking: a change in between is not missed.
    const change = ctx.changes.wait(id, stop)
    change.catch(() => undefined)
    try {
      wait.signal?.throwIfAborted()
      const invoice = await getInvoice(ctx, { account, id })
      const text = JSON.stringify(invoice)
      if (text !== shown) wait.onProgress?.(invoice)
      shown = text
      const now = ctx.runtime.now()
      if (isOver(invoice, now)) return { invoice, timed_out: false }
      if (now >= deadline) return { invoice, timed_out: true }
      await Promise.race([change, ctx.runtime.sleep(Math.min(LOOK_MS, deadline - now), stop)])
    } finally {
      round.abort()
    }
  }
}

/** Paid, or past its lock with nothing on the way. A payment that a fork took back may return: that is waited for. */
function isOver(invoice: InvoiceView, now: number): boolean {
  if (invoice.state === 'paid') return true
  if (invoice.state !== 'expired' || now < Date.parse(invoice.expires_at) + GRACE_MS) return false
  return !invoice.payments.some(({ state }) => state === 'seen' || state === 'confirming')
}
