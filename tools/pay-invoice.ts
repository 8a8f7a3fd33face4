import { z } from 'zod'
import type { InvoiceView, PurseClient, PursePayment } from '../src/bursar.ts'
import { BursarError } from '../src/errors.ts'
import { verifyInvoice } from '../src/signed-invoice.ts'
import { idempotencyKey, invoiceId } from './fields.ts'
import { defineTool, type ToolContext } from './tool.ts'

const text = z.string()

export const payInvoice = defineTool({
  name: 'pay_invoice',
  title: 'Pay an invoice',
  description:
    "Pays an open invoice from the owner's wallet, within the owner's budget (USD). Recipient and amount come from the signed invoice. Pays each invoice once: a repeat returns the first payment. Next: await_payment.",
  input: z.strictObject({ invoice: invoiceId, idempotency_key: idempotencyKey }),
  output: z.object({
    id: text,
    invoice: text,
    payee: text,
    state: z.enum(['reserved', 'signed', 'broadcast', 'confirmed', 'failed', 'unknown']),
    note: text.nullable(),
    rail: text,
    network: text,
    recipient: text,
    amount: text.describe('atomic units'),
    amount_display: text,
    usd: text,
    fee_usd: text.describe('highest network fee'),
    charged_usd: text.describe('what it takes of the budget'),
    txid: text.nullable(),
    block: z.int().nullable(),
    budget_left: z.object({ day_usd: text, month_usd: text }),
    replayed: z.boolean(),
  }),
  hints: { readOnlyHint: false, destructiveHint: true, idempotentHint: true, openWorldHint: true },
  needs: 'purse',
  async handler(ctx, input) {
    const purse = purseOf(ctx)
    const invoice = await ctx.bursar.getInvoice(input.invoice)
    requireSame(input.invoice, invoice)
    const payment =
      invoice.state === 'open'
        ? await purse.pay({
            signed: invoice.signed,
            signal: ctx.signal,
            ...(input.idempotency_key === undefined ? {} : { idempotencyKey: input.idempotency_key }),
          })
        : await earlierPayment(purse, invoice)
    return { data: payment, text: [describe(payment)] }
  },
})

function purseOf(ctx: ToolContext): PurseClient {
  if (ctx.purse) return ctx.purse
  throw new BursarError('purse_unavailable', 'No purse is connected here.', {
    remedy: 'Let a wallet pay the payment URI of the invoice, or configure a purse.',
  })
}

/**
 * The purse pays what is signed, and the agent has seen what is not: both must be the invoice that it named. Another
 * buyer's, from the same seller, is signed as well.
 */
function requireSame(asked: string, { id, rail, address, amount, signed }: InvoiceView): void {
  const promised = verifyInvoice(signed)
  const same =
    asked === id &&
    asked === promised.invoice &&
    rail === promised.rail &&
    address === promised.recipient &&
    amount === promised.amount
  if (same) return
  throw new BursarError('invoice_not_payable', 'The till shows one invoice and has signed another.', {
    remedy: 'Do not pay it. Tell the human who chose this till.',
    details: { reason: 'mismatch' },
  })
}

/** An invoice that somebody has begun to pay is not paid a second time; a repeated call gets the first payment. */
async function earlierPayment(purse: PurseClient, invoice: InvoiceView): Promise<PursePayment> {
  const found = await purse.find(invoice.id, invoice.signed.payee)
  if (found) return { ...found, replayed: true }
  throw new BursarError('invoice_not_payable', `Invoice ${invoice.id} is ${invoice.state}, not open.`, {
    remedy:
      invoice.state === 'expired'
        ? 'Create a new invoice with create_invoice.'
        : 'Look at its payments with get_invoice; if credits are still short, create a new invoice.',
    details: { invoice: invoice.id, state: invoice.state },
  })
}

function describe(payment: PursePayment): string {
  const what = `${payment.amount_display} ($${payment.usd}) to ${payment.payee} at ${payment.recipient} on ${payment.rail}`
  const how = payment.replayed ? 'was begun before and not paid again' : `is ${payment.state}`
  return [
    `Payment of ${what} ${how}; transaction ${payment.txid ?? 'not signed yet'}.`,
    ...(payment.note === null ? [] : [payment.note]),
    `Budget left: $${payment.budget_left.day_usd} today, $${payment.budget_left.month_usd} this month.`,
    payment.state === 'failed' ? 'It failed: the invoice is not paid.' : 'Next: await_payment.',
  ].join('\n')
}
