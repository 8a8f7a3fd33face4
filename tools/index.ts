/** Every tool, in the order in which an agent needs them. */
import { awaitPayment } from './await-payment.ts'
import { callModel } from './call-model.ts'
import { createInvoice } from './create-invoice.ts'
import { getBalance } from './get-balance.ts'
import { getInvoice } from './get-invoice.ts'
import { listOffers } from './list-offers.ts'
import { listUsage } from './list-usage.ts'
import { payInvoice } from './pay-invoice.ts'
import type { Tool } from './tool.ts'

export const tools: readonly Tool[] = [
  listOffers,
  createInvoice,
  payInvoice,
  awaitPayment,
  getInvoice,
  callModel,
  getBalance,
  listUsage,
]
