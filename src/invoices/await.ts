/** Waits for an invoice: told at once when this process settles it, and soon when another does (looks.ts). */
import type { AwaitedInvoice, InvoiceView } from '../bursar.ts'
import { BursarError, invalid } from '../errors.ts'
import type { InvoiceContext } from './context.ts'
import { lookFor } from './looks.ts'
import { getInvoice } from './view.ts'

/** What tells of changes is a hint: this long at most goes by without a look of one's own. */
const LOOK_MS = 15_000
/** A block from just before the lock's end may still be on its way to us. */
const GRACE_MS = 15_000
const MAX_TIMEOUT_MS = 3_600_000
/** Of one account at once, in this process. */
const MAX_WAITS = 100
const BUSY_MS = 5_000

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
 * @throws {BursarError} not_found; rate_limited: the account waits for too much already; the signal's reason when it is
 *   aborted.
 */
export async function awaitPayment(ctx: InvoiceContext, wait: AwaitInvoice): Promise<AwaitedInvoice> {
  const { timeoutMs } = wait
  if (!Number.isFinite(timeoutMs) || timeoutMs < 0 || timeoutMs > MAX_TIMEOUT_MS) {
    throw invalid(`timeout_ms must be from 0 to ${MAX_TIMEOUT_MS}.`, { remedy: 'Wait for less, and repeat.' })
  }
  const leave = enter(ctx, wait.account)
  const ended = timeoutMs > 0 ? lookFor(ctx, wait.invoice) : () => {}
  try {
    return await waitFor(ctx, wait)
  } finally {
    ended()
    leave()
  }
}

/** How many wait, by account; of each till in this process. */
const waiting = new WeakMap<object, Map<string, number>>()

/** One more of an account; call what is returned when it has ended. @throws {BursarError} rate_limited */
function enter({ changes }: InvoiceContext, account: string): () => void {
  const counts = waiting.get(changes) ?? new Map<string, number>()
  waiting.set(changes, counts)
  const count = counts.get(account) ?? 0
  if (count >= MAX_WAITS) {
    throw new BursarError('rate_limited', `This account waits for ${MAX_WAITS} payments already.`, {
      remedy: 'Wait until one of them has ended, or ask for the invoice from time to time.',
      details: { retry_after_ms: BUSY_MS },
    })
  }
  counts.set(account, count + 1)
  return () => {
    const left = (counts.get(account) ?? 1) - 1
    if (left > 0) counts.set(account, left)
    else counts.delete(account)
  }
}

async function waitFor(ctx: InvoiceContext, wait: AwaitInvoice): Promise<AwaitedInvoice> {
  const { timeoutMs, invoice: id, account } = wait
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
      const next = Math.min(now + LOOK_MS, deadline, ...lockEnds(invoice).filter((at) => at > now))
      await Promise.race([change, ctx.runtime.sleep(next - now, stop)])
    } finally {
      round.abort()
    }
  }
}

/** When an invoice changes by itself. */
function lockEnds({ expires_at: at }: InvoiceView): readonly [lock: number, grace: number] {
  const lock = Date.parse(at)
  return [lock, lock + GRACE_MS]
}

/** Paid, or past its lock with nothing on the way. A payment that a fork took back may return: that is waited for. */
function isOver(invoice: InvoiceView, now: number): boolean {
  if (invoice.state === 'paid') return true
  const [, graceEnds] = lockEnds(invoice)
  if (invoice.state !== 'expired' || now < graceEnds) return false
  return !invoice.payments.some(({ state }) => state === 'seen' || state === 'confirming')
}
