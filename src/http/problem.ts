/** Errors over HTTP: `application/problem+json` (RFC 9457), whatever went wrong and wherever. */
import type { BursarError } from '../errors.ts'

export function problemResponse(error: BursarError, headers: Record<string, string> = {}): Response {
  const wait = error.details['retry_after_ms']
  return new Response(JSON.stringify(error.toProblem()), {
    status: error.status,
    headers: {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      ...(typeof wait === 'number' ? { 'retry-after': String(Math.ceil(wait / 1000)) } : {}),
      ...headers,
    },
  })
}
