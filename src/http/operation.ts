/**
 * A route as machines read it. Each file of routes exports the operations it serves; `/openapi.json` is made from
 * them, and the SDK is checked against that.
 */
import type { z } from 'zod'
import type { ErrorCode } from '../errors.ts'
import type { AnswerHeader } from './openapi-headers.ts'

/** What a paid model call is refused with, whatever route it comes by. */
export const CALL_REFUSALS: readonly ErrorCode[] = [
  'unknown_model',
  'unpriced_model',
  'insufficient_credits',
  'allowance_exceeded',
  'frozen',
  'conflict',
  'idempotency_conflict',
  'payload_too_large',
  'upstream_error',
]

export interface Operation {
  /** The operationId, in camel case: `createInvoice`. */
  readonly id: string
  readonly method: 'get' | 'post' | 'patch' | 'delete'
  /** With parameters in braces: `/v1/invoices/{id}`. */
  readonly path: string
  readonly summary: string
  /** Whose key it takes; `buyer`: an account's or an agent's; `any`: the seller's too. */
  readonly key: 'none' | 'any' | 'buyer' | 'account' | 'seller' | 'seller_or_account'
  readonly query?: z.ZodObject
  readonly body?: z.ZodObject
  /** Whether it may be asked without a body; the others take an empty object at the least. */
  readonly bodyless?: boolean
  /** Whether it takes an `Idempotency-Key`. */
  readonly idempotent?: boolean
  /** Whether its output limit may be made to fit, with `x-bursar-fit`. */
  readonly fits?: boolean
  readonly status: number
  /** What its answers have in their headers. */
  readonly headers?: readonly AnswerHeader[]
  readonly output: z.ZodType
  /** JSON by default. */
  readonly media?: 'text/event-stream'
  /** The refusals beyond those that every route has (openapi.ts names them). */
  readonly errors: readonly ErrorCode[]
}
