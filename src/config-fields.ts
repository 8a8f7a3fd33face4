/** What fields of the configuration are made of. */
import { z } from 'zod'

export const decimal = z.string().regex(/^\d{1,15}(\.\d{1,18})?$/, {
  error: 'expected a plain decimal as text, such as "12.50"',
  abort: true,
})
export const usd = decimal.describe('USD, a decimal as text')
export const positive = decimal.refine((text) => /[1-9]/.test(text), 'expected more than zero')
export const name = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'expected lower-case letters, digits, . _ -')
export const url = z.url({ protocol: /^https?$/, error: 'expected an http:// or https:// URL' })
