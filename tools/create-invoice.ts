import { z } from 'zod'
import { credits, idempotencyKey } from './fields.ts'
import { qrPng } from './qr.ts'
import { defineTool } from './tool.ts'
import { describeInvoice, invoice, withoutSignature } from './views.ts'

export const createInvoiceInput = z
  .strictObject({
    rail: z
      .string()
      .regex(/^[a-z0-9._-]{1,64}:[A-Z0-9.]{2,10}$/, {
        error: 'expected a rail of list_offers, such as "ethereum:ETH"',
      })
      .describe('chain:ASSET'),
    pack: z
      .string()
      .regex(/^[a-z0-9._-]{1,64}$/, { error: 'expected the id of a pack of list_offers' })
      .exactOptional(),
    credits: credits.exactOptional().describe('instead of pack'),
    idempotency_key: idempotencyKey,
  })
  .refine((input) => (input.pack === undefined) !== (input.credits === undefined), {
    error: 'expected either pack or credits, and only one of them',
  })

export const createInvoice = defineTool({
  name: 'create_invoice',
  title: 'Create an invoice',
  description:
    'Asks for a payment address and an exact amount for a pack, or for an amount of credits (decimal text). Costs nothing until it is paid. Repeat with the same idempotency_key to get the same invoice again. Next: pay it, then await_payment.',
  input: createInvoiceInput,
  // What an invoice becomes is in get_invoice: in full here, too, it would be the longest entry of the tool list.
  output: z.looseObject(
    invoice.omit({ flags: true, payments: true, missing: true, credits_granted: true }).shape,
  ),
  hints: { readOnlyHint: false, destructiveHint: false, idempotentHint: false, openWorldHint: false },
  needs: 'till',
  async handler({ bursar, purse }, input) {
    const view = withoutSignature(await bursar.createInvoice(input))
    return {
      data: view,
      text: [describeInvoice(view, purse !== undefined)],
      image: qrPng(view.payment_uri),
    }
  },
})
