import { z } from 'zod'
import type { InvoiceView } from '../src/bursar.ts'
import { invoiceId } from './fields.ts'
import { defineTool, readOnly, type ToolProgress } from './tool.ts'
import { describeInvoice, describeWait, invoice, withoutSignature } from './views.ts'

/** Clients give up on a call after 60 s by default: the longest wait stays below it. */
const LONGEST_S = 55
const DEFAULT_S = 45

export const awaitPayment = defineTool({
  name: 'await_payment',
  title: 'Wait for a payment',
  description:
    'Waits until an invoice is paid or can no longer be, at most timeout_s seconds, and reports confirmations meanwhile. Safe to repeat: call it again while timed_out is true.',
  input: z.strictObject({
    invoice: invoiceId,
    timeout_s: z
      .int({ error: 'expected whole seconds' })
      .min(1)
      .max(LONGEST_S, { error: `expected at most ${LONGEST_S} seconds; call it again to wait longer` })
      .default(DEFAULT_S),
  }),
  output: z.object({
    // In full it would be the longest entry of the tool list, and get_invoice has it already.
    invoice: z
      .looseObject(invoice.pick({ id: true, state: true, credits_granted: true, missing: true }).shape)
      .describe('all fields of get_invoice'),
    timed_out: z.boolean(),
  }),
  hints: readOnly,
  needs: 'till',
  async handler({ bursar, purse, signal, progress }, input) {
    const { invoice: view, timed_out } = await bursar.awaitPayment({
      invoice: input.invoice,
      timeout_ms: input.timeout_s * 1000,
      signal,
      onProgress: (seen) => progress(stepOf(seen)),
    })
    const settled = withoutSignature(view)
    const waited = timed_out ? [waitedFor(settled, input.timeout_s)] : []
    return {
      data: { invoice: settled, timed_out },
      text: [[describeInvoice(settled, purse !== undefined), ...waited].join('\n')],
    }
  },
})

/** What was never paid does not come by waiting. */
function waitedFor({ state, payments }: Pick<InvoiceView, 'state' | 'payments'>, seconds: number): string {
  return state === 'open' && payments.length === 0
    ? `No payment was seen within ${seconds} s. If it was made, call await_payment again.`
    : `Nothing final within ${seconds} s: call await_payment again.`
}

const WAITING: Partial<Record<InvoiceView['state'], string>> = {
  open: 'No payment seen yet.',
  reversed: 'The payment left the chain and its credits were taken back; waiting for it to return.',
}

function progressOf({
  block,
  confirmations,
  confirmations_needed,
  credits,
  state,
}: InvoiceView['payments'][number]): string {
  if (block === null) return 'Seen, not mined yet.'
  const depth = `${Math.min(confirmations, confirmations_needed)} of ${confirmations_needed} confirmations, block ${block}`
  return state === 'credited' ? `${depth}: ${credits} credits granted.` : `${depth}.`
}

/** The payment that has furthest to go decides: the invoice is settled when the last one is. */
function stepOf(view: InvoiceView): ToolProgress {
  const alive = view.payments.filter((paid) => ['seen', 'confirming', 'credited'].includes(paid.state))
  const slowest = alive.reduce<InvoiceView['payments'][number] | undefined>(
    (worst, paid) =>
      worst === undefined ||
      paid.confirmations_needed - paid.confirmations > worst.confirmations_needed - worst.confirmations
        ? paid
        : worst,
    undefined,
  )
  if (!slowest) return { done: 0, total: 1, message: WAITING[view.state] ?? `The invoice is ${view.state}.` }
  return {
    done: Math.min(slowest.confirmations, slowest.confirmations_needed),
    total: slowest.confirmations_needed,
    message: progressOf(slowest) + describeWait(slowest),
  }
}
