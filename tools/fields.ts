/** Input fields that several tools take, each with bounds and a message that says what would be right. */
import { z } from 'zod'

/** At most nine digits before the point and six after: finer than any sale, far from any overflow. */
const CREDITS = /^\d{1,9}(\.\d{1,6})?$/

export const credits = z
  .string({ error: 'expected a decimal as text, such as "12.5"' })
  .regex(CREDITS, { error: (issue) => whyNotCredits(String(issue.input)) })
  .refine((text) => /[1-9]/.test(text), { error: 'expected more than zero credits' })

function whyNotCredits(text: string): string {
  if (text.startsWith('-')) return 'expected more than zero credits, not a negative number'
  if (/^\d+\.\d{7,}$/.test(text)) return 'a credit has at most six decimals'
  if (/^\d{10,}(\.\d*)?$/.test(text)) return 'at most 999999999 credits'
  return 'expected a plain decimal without sign, exponent or separators, such as "12.5"'
}

export const invoiceId = z
  .string()
  .regex(/^[\w-]{1,64}$/, { error: 'expected the id of an invoice, as create_invoice returned it' })

export const idempotencyKey = z
  .string()
  .regex(/^[!-~]{1,128}$/, { error: 'expected 1 to 128 printable ASCII characters without spaces' })
  .exactOptional()
