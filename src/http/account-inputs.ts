/** What the routes of accounts, agents and keys take. */
import { z } from 'zod'
import { BursarError, invalid } from '../errors.ts'
import type { AllowanceChange } from '../ledger/allowance.ts'
import type { KeyPrint } from '../ledger/keys.ts'
import { pageOf } from '../ledger/page.ts'
import { parseCredits } from '../money.ts'

const name = z.string().min(1).max(80)
const id = z.string().regex(/^[\w-]{1,64}$/, { error: 'expected an id' })
const limit = z
  .string({ error: 'expected credits as a decimal in text, such as "2.5", or null' })
  .regex(/^\d{1,9}(\.\d{1,6})?$/, { error: 'expected credits, a plain decimal such as "2.5"' })
  .nullable()
  .exactOptional()

const allowance = z.strictObject({
  per_call: limit.describe('The most that one call may hold, credits; null lifts the limit'),
  per_day: limit.describe('Credits a calendar day, UTC'),
  per_month: limit.describe('Credits a calendar month, UTC'),
  models: z
    .array(z.string().min(1).max(200))
    .max(200)
    .nullable()
    .exactOptional()
    .describe('Ids of the models that it may call; null allows all'),
})

/** Of a key that its holder made; the till never sees that. */
const print = {
  key_hash: z
    .string()
    .regex(/^[0-9a-f]{64}$/, {
      error: 'expected the SHA-256 of the key: 64 hexadecimal digits in lower case',
    })
    .exactOptional()
    .describe('SHA-256 of a key that you made (bk_ and 43 characters of base64url), hex'),
  key_prefix: z
    .string()
    .regex(/^bk_[A-Za-z0-9_-]{8}$/, { error: 'expected the first 11 characters of the key' })
    .exactOptional()
    .describe('Its first 11 characters; with key_hash'),
}

const externalId = z.string().min(1).max(200)

export const createAccountInput = z.strictObject({
  external_id: externalId.exactOptional().describe("The seller's own name for the account"),
  ...print,
})
export const changeAccountInput = z.strictObject({ frozen: z.boolean() })
export const createAgentInput = z.strictObject({ name, allowance: allowance.exactOptional() })
export const changeAgentInput = z.strictObject({
  allowance: allowance
    .nullable()
    .exactOptional()
    .describe('Changes the limits that are named; null lifts all of them'),
  frozen: z.boolean().exactOptional(),
})
export const createKeyInput = z.strictObject({
  scope: z.enum(['seller', 'account', 'agent']).exactOptional(),
  account: id.exactOptional(),
  agent: id.exactOptional(),
  name: name.exactOptional().describe('What the key is for'),
  ...print,
})
export const pageQuery = z.strictObject({
  limit: z
    .string()
    .regex(/^([1-9]\d{0,2}|1000)$/, { error: 'expected 1 to 1000' })
    .exactOptional(),
  cursor: id.exactOptional(),
})
export const accountsQuery = pageQuery.extend({
  external_id: externalId.exactOptional().describe('Only the account that the seller calls so'),
})
export const keysQuery = pageQuery.extend({ account: id.exactOptional() })

export function printOf(input: {
  readonly key_hash?: string
  readonly key_prefix?: string
}): KeyPrint | undefined {
  const { key_hash: hash, key_prefix: prefix } = input
  if (hash !== undefined && prefix !== undefined) return { hash, prefix }
  if (hash === undefined && prefix === undefined) return undefined
  throw invalid('key_hash and key_prefix go together.')
}

type AllowanceInput = z.output<typeof allowance>

/** Null lifts every limit. */
export function allowanceOf(input: AllowanceInput | null): AllowanceChange {
  if (input === null) return { perCall: null, perDay: null, perMonth: null, models: null }
  const { per_call: perCall, per_day: perDay, per_month: perMonth, models } = input
  return {
    ...(perCall === undefined ? {} : { perCall: perCall === null ? null : parseCredits(perCall) }),
    ...(perDay === undefined ? {} : { perDay: perDay === null ? null : parseCredits(perDay) }),
    ...(perMonth === undefined ? {} : { perMonth: perMonth === null ? null : parseCredits(perMonth) }),
    ...(models === undefined ? {} : { models }),
  }
}

const DEFAULT_PAGE = 100

/** A page, and where the next one begins. */
export async function paged<T extends { readonly id: string }>(
  query: z.output<typeof pageQuery>,
  read: (page: { readonly after?: string; readonly limit: number }) => Promise<T[]>,
): Promise<{ readonly page: T[]; readonly next_cursor: string | null }> {
  const { limit: size = DEFAULT_PAGE, cursor } = query
  const after = cursor === undefined ? {} : { after: cursor }
  const { page, next } = await pageOf(Number(size), (limit) => read({ ...after, limit }))
  return { page, next_cursor: next }
}

export function notThere(what: 'account' | 'agent' | 'key'): BursarError {
  return new BursarError('not_found', `There is no such ${what}.`, { remedy: `Check the id of the ${what}.` })
}
