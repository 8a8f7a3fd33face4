/**
 * Every error that leaves Bursar: a stable code, an HTTP status, a sentence that says what is wrong and
 * one that says what to do about it. Anything else that is thrown is a bug and becomes `internal`.
 */

/** Stable codes and their HTTP status. Callers branch on the code, never on the text. */
export const STATUS = {
  invalid_request: 400,
  unpriced_model: 400,
  invalid_config: 400,
  unauthorized: 401,
  insufficient_credits: 402,
  allowance_exceeded: 402,
  budget_exceeded: 402,
  approval_required: 402,
  insufficient_funds: 402,
  frozen: 403,
  forbidden: 403,
  unknown_payee: 403,
  not_found: 404,
  unknown_model: 404,
  method_not_allowed: 405,
  idempotency_conflict: 409,
  invoice_not_payable: 409,
  hold_closed: 409,
  conflict: 409,
  payload_too_large: 413,
  rate_limited: 429,
  internal: 500,
  upstream_error: 502,
  rate_unavailable: 503,
  chain_unavailable: 503,
  purse_unavailable: 503,
  database_unavailable: 503,
  till_unavailable: 503,
  payment_unresolved: 504,
} as const

export type ErrorCode = keyof typeof STATUS

export interface ErrorFields {
  /** What to do about it, one sentence, addressed to whoever reads the error. */
  readonly remedy?: string
  /** Machine-readable facts beside the text, JSON values only; money as decimal strings with its unit in the name. */
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

/** The wire shape of an error: RFC 9457 problem details, plus `code` and `remedy`. */
export interface Problem {
  readonly code: ErrorCode
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly remedy?: string
  readonly [fact: string]: unknown
}

export class BursarError extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly remedy: string | undefined
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, fields: ErrorFields = {}) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.name = 'BursarError'
    this.code = code
    this.status = STATUS[code]
    this.remedy = fields.remedy
    this.details = fields.details ?? {}
  }

  toProblem(): Problem {
    return {
      ...this.details,
      code: this.code,
      title: this.code.replaceAll('_', ' '),
      status: this.status,
      detail: this.message,
      ...(this.remedy === undefined ? {} : { remedy: this.remedy }),
    }
  }
}

/** Turns anything thrown into an error that may leave the process: a stranger's text is never passed on. */
export function toBursarError(thrown: unknown): BursarError {
  if (thrown instanceof BursarError) return thrown
  return new BursarError('internal', 'Something failed inside Bursar.', {
    remedy: 'Try again; if it stays, the operator finds the cause in the log.',
    cause: thrown,
  })
}

export function invalid(message: string, fields: ErrorFields = {}): BursarError {
  return new BursarError('invalid_request', message, { remedy: 'Correct it and try again.', ...fields })
}

/** @param remedy what the seller, or the owner of the purse, changes */
export function invalidConfig(message: string, remedy: string, cause?: unknown): BursarError {
  return new BursarError('invalid_config', message, { remedy, cause })
}
