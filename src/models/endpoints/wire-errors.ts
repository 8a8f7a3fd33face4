/** Errors as the clients of each format read them. */
import type { BursarError } from '../../errors.ts'
import type { Format } from './endpoint.ts'

/** OpenAI API reference, "Error codes"; clients show `message` and branch on `type` and `code`. */
export interface OpenAiError {
  readonly error: {
    readonly message: string
    readonly type: string
    readonly code: string
    readonly param: string | null
  }
}

/** Anthropic API reference, "Errors". */
export interface AnthropicError {
  readonly type: 'error'
  readonly error: { readonly type: string; readonly message: string }
}

const OPENAI_TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  402: 'insufficient_quota',
  403: 'permission_error',
  429: 'rate_limit_error',
}

const ANTHROPIC_TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  504: 'timeout_error',
}

/** Of Anthropic's, those that say something about the upstream; its clients know what to do about each. */
const ANTHROPIC_UPSTREAM_TYPES = ['overloaded_error', 'rate_limit_error', 'api_error', 'timeout_error']

export function openaiError(error: BursarError): OpenAiError {
  const { upstream_code: upstreamCode, parameter } = error.details
  return {
    error: {
      message: messageOf(error),
      type: OPENAI_TYPES[error.status] ?? (error.status < 500 ? 'invalid_request_error' : 'server_error'),
      code: typeof upstreamCode === 'string' ? upstreamCode : error.code,
      param: typeof parameter === 'string' ? parameter : null,
    },
  }
}

export function anthropicError(error: BursarError): AnthropicError {
  const upstreamCode = String(error.details['upstream_code'])
  const type = ANTHROPIC_UPSTREAM_TYPES.includes(upstreamCode)
    ? upstreamCode
    : (ANTHROPIC_TYPES[error.status] ?? (error.status < 500 ? 'invalid_request_error' : 'api_error'))
  return { type: 'error', error: { type, message: messageOf(error) } }
}

export function wireError(format: Format, error: BursarError): OpenAiError | AnthropicError {
  return format === 'anthropic' ? anthropicError(error) : openaiError(error)
}

function messageOf(error: BursarError): string {
  return error.remedy === undefined ? error.message : `${error.message} ${error.remedy}`
}
