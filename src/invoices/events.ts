/** What a settled step means to the seller: outbox rows, written in the same commit. Pure. */
import type { InvoiceView, PaymentView } from '../bursar.ts'
import { type Statement, statement } from '../db/db.ts'
import type { InvoiceContext } from './context.ts'
import type { InvoiceRecord, PaymentRecord } from './records.ts'
import { type Derived, isLive } from './state.ts'
import { buildView, deriveInvoice, paymentView } from './view.ts'
import type { ChainStates } from './waiting.ts'

export type EventType =
  | 'invoice.detected'
  | 'invoice.partial'
  | 'invoice.paid'
  | 'invoice.overpaid'
  | 'invoice.expired'
  | 'invoice.paid_late'
  | 'invoice.reverted'

/** The body of a webhook, as it will be sent. */
export interface EventPayload {
  readonly type: EventType
  readonly timestamp: string
  readonly data: {
    readonly account: string
    readonly invoice: InvoiceView
    /** The payment that it is about, where it is about one. */
    readonly payment?: PaymentView
  }
}

export interface InvoiceChange {
  readonly invoice: InvoiceRecord
  readonly before: readonly PaymentRecord[]
  readonly after: readonly PaymentRecord[]
  /**
   * The moments that the two belong to. They differ only for the chain that the invoice is on, so that a lock's end
   * falls between exactly one pair of them.
   */
  readonly beforeAt: number
  readonly now: number
  readonly states: ChainStates
}

type Found = readonly [type: EventType, payment?: PaymentRecord]

/**
 * - detected: a payment to the invoice was seen for the first time
 * - reverted: a credited payment has left the chain
 * - partial: something was credited, not yet all
 * - paid, paid_late: all is credited; late if any of it came after the lock's end
 * - overpaid: more than the amount is credited
 * - expired: the lock has ended and less than the amount has arrived
 */
export function eventsOf(ctx: Pick<InvoiceContext, 'chains'>, change: InvoiceChange): EventPayload[] {
  const { invoice, after, states, now } = change
  const found = findEvents(
    change,
    deriveInvoice(ctx, invoice, change.before, change.beforeAt),
    deriveInvoice(ctx, invoice, after, now),
  )
  // An invoice whose rail was taken out of the configuration is still credited; it cannot be described any more.
  const rail = ctx.chains.get(invoice.chain)?.assets.some((asset) => asset.symbol === invoice.symbol)
  if (found.length === 0 || !rail) return []
  const view = buildView(ctx, { invoice, payments: after, states, now })
  return found.map(([type, payment]) => ({
    type,
    timestamp: new Date(now).toISOString(),
    data: {
      account: invoice.account,
      invoice: view,
      ...(payment ? { payment: paymentView(payment, states, now) } : {}),
    },
  }))
}

export function insertEvent(invoice: string, payload: EventPayload, at: number): Statement {
  return statement('INSERT INTO outbox (type, subject, payload, at) VALUES (?, ?, ?, ?)', [
    payload.type,
    invoice,
    JSON.stringify(payload),
    BigInt(at),
  ])
}

function findEvents({ invoice, before, after }: InvoiceChange, was: Derived, is: Derived): Found[] {
  const earlier = new Map(before.map((payment) => [payment.key, payment]))
  const found: Found[] = []
  for (const payment of after) {
    if (isLive(payment.state) && !earlier.has(payment.key)) found.push(['invoice.detected', payment])
  }
  for (const payment of after) {
    if (earlier.get(payment.key)?.state === 'credited' && payment.state !== 'credited') {
      found.push(['invoice.reverted', payment])
    }
  }
  const more = is.settled > was.settled
  if (more && is.settled < invoice.amount) found.push(['invoice.partial'])
  if (more && was.settled < invoice.amount && is.settled >= invoice.amount) {
    found.push([is.settledLate ? 'invoice.paid_late' : 'invoice.paid'])
  }
  if (more && is.settled > invoice.amount) found.push(['invoice.overpaid'])
  if (is.state === 'expired' && was.state !== 'expired') found.push(['invoice.expired'])
  return found
}
