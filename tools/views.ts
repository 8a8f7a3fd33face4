/** The shapes that tools promise, and the sentences that say the same to a reader. */
import { z } from 'zod'
import type { InvoiceView } from '../src/bursar.ts'

const text = z.string()
const time = z.string()

const payment = z.object({
  state: z.enum(['seen', 'confirming', 'credited', 'replaced', 'orphaned', 'failed', 'reversed']),
  rail: text,
  amount: text,
  txid: text,
  block: z.int().nullable(),
  confirmations: z.int(),
  confirmations_needed: z.int(),
  credits: text,
  waiting_for: text.nullable(),
})

/** An invoice without its signature: only a purse needs that, and fetches it by itself. */
export const invoice = z.object({
  id: text,
  state: z.enum(['open', 'partial', 'processing', 'paid', 'expired', 'reversed']),
  flags: z.array(z.enum(['late', 'over', 'under'])),
  rail: text,
  asset: text,
  decimals: z.int(),
  amount: text.describe('atomic units, like missing and payments.amount'),
  amount_display: text,
  usd: text,
  credits: text,
  address: text,
  payment_uri: text,
  rate: z.object({ usd: text, source: text, at: time }),
  created_at: time,
  expires_at: time.describe('the rate holds until then'),
  payments: z.array(payment),
  missing: text,
  credits_granted: text,
})

type Invoice = z.output<typeof invoice>

export function withoutSignature(view: InvoiceView): Invoice {
  return invoice.parse(view)
}

/** What happened so far, and what to do next. */
export function describeInvoice(view: Invoice, canPay: boolean): string {
  const head = `Invoice ${view.id} is ${[view.state, ...view.flags].join(', ')}.`
  const paid = view.payments.map(describePayment)
  return [head, ...paid, NEXT_STEP[view.state](view, canPay)].join('\n')
}

export function describePayment(paid: Invoice['payments'][number]): string {
  const depth =
    paid.block === null
      ? 'not mined yet'
      : `block ${paid.block}, ${paid.confirmations} of ${paid.confirmations_needed} confirmations`
  const credited = paid.state === 'credited' ? `, ${paid.credits} credits` : ''
  return `Payment ${paid.txid}: ${paid.state}, ${depth}${credited}.${describeWait(paid)}`
}

/** What else than confirmations a payment waits for. */
export function describeWait({ waiting_for: wait }: { readonly waiting_for: string | null }): string {
  return wait === null || /^\d+ of \d+ confirmations$|^a block:/.test(wait) ? '' : ` It waits for ${wait}.`
}

const NEXT_STEP: Record<Invoice['state'], (view: Invoice, canPay: boolean) => string> = {
  open: (view, canPay) =>
    `Pay exactly ${view.amount_display} (${view.amount} atomic units, $${view.usd}) on ${view.rail} to ${view.address} before ${view.expires_at}. It buys ${view.credits} credits.\nPayment URI: ${view.payment_uri}\nNext: ${canPay ? 'pay_invoice with this id' : 'let a wallet pay the URI'}, then await_payment.`,
  partial: (view) =>
    `${view.missing} atomic units of ${view.asset} are still missing; what arrived is credited. Next: pay the rest to ${view.address} before ${view.expires_at}.`,
  processing: () => 'Next: await_payment again until it is paid.',
  paid: (view) => `${view.credits_granted} credits were granted. Next: call_model, or get_balance.`,
  expired: (view) =>
    `Its rate no longer holds and ${view.credits_granted} credits were granted; a late payment is still credited, at the lower of the two rates. Next: create_invoice.`,
  reversed: () =>
    'Its payment left the chain, so its credits were taken back; they return if the payment does. Next: await_payment.',
}
