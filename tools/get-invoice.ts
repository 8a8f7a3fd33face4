import { z } from 'zod'
import { invoiceId } from './fields.ts'
import { defineTool, readOnly } from './tool.ts'
import { describeInvoice, invoice, withoutSignature } from './views.ts'

export const getInvoice = defineTool({
  name: 'get_invoice',
  title: 'Get an invoice',
  description: 'An invoice with its state and payments, at once. To wait for a payment use await_payment.',
  input: z.strictObject({ invoice: invoiceId }),
  output: invoice,
  hints: readOnly,
  needs: 'till',
  async handler({ bursar, purse }, input) {
    const view = withoutSignature(await bursar.getInvoice(input.invoice))
    return { data: view, text: [describeInvoice(view, purse !== undefined)] }
  },
})
