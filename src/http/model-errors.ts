/**
 * Refusals at the model endpoints: problem details and, beside them, the error member that the caller's client reads.
 * Headers tell the clients that listen whether to try again.
 */
import type { ServerResponse } from 'node:http'
import type { BursarError } from '../errors.ts'
import type { Format } from '../models/endpoints/endpoint.ts'
import { wireError } from '../models/endpoints/wire-errors.ts'

export function refuse(
  response: ServerResponse,
  format: Format,
  error: BursarError,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent || response.destroyed) {
    response.end()
    return
  }
  const body = Buffer.from(JSON.stringify({ ...error.toProblem(), ...wireError(format, error) }))
  response
    .writeHead(error.status, {
      'content-type': 'application/problem+json',
      'content-length': body.length,
      'cache-control': 'no-store',
      ...headersOf(error),
      ...headers,
    })
    .end(body)
}

/** Whether to try again, what it cost, and which receipt has it. */
export function headersOf(error: BursarError): Record<string, string> {
  const { receipt, charged, available, replayed, retry_after_ms: wait } = error.details
  const retry = shouldRetry(error)
  return {
    ...(retry === null ? {} : { 'x-should-retry': String(retry) }),
    ...(typeof wait === 'number' ? { 'retry-after': String(Math.ceil(wait / 1000)) } : {}),
    ...(typeof receipt === 'string' ? { 'x-bursar-receipt': receipt } : {}),
    ...(typeof charged === 'string' ? { 'x-bursar-charged': charged } : {}),
    ...(typeof available === 'string' ? { 'x-bursar-balance': available } : {}),
    ...(replayed === true ? { 'x-bursar-replayed': 'true' } : {}),
    ...(error.code === 'payload_too_large' && receipt === undefined ? { connection: 'close' } : {}),
  }
}

/**
 * False where asking again cannot change the answer, or would be charged again; null leaves it to the client, which
 * asks again after 409, 429 and 5xx.
 */
function shouldRetry({ code, status, details }: BursarError): boolean | null {
  if (details['replayed'] === true) return false
  if (code === 'conflict') return true
  if (code === 'rate_limited') return null
  if (code === 'insufficient_credits' || code === 'allowance_exceeded')
    return details['reason'] === 'held' ? null : false
  if (status < 500) return false
  if (code !== 'upstream_error' || details['reason'] === 'unreachable') return null
  const upstreamStatus = details['upstream_status']
  return typeof upstreamStatus === 'number' && (upstreamStatus >= 500 || upstreamStatus === 429)
    ? null
    : false
}
