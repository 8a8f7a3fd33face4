/** Errors over HTTP: `application/problem+json` (RFC 9457), whatever went wrong and wherever. */
import type { BursarError } from '../errors.ts'

/** @param beside members of the body that some clients read instead of the problem's. */
export function problemResponse(
  error: BursarError,
  headers: Record<string, string> = {},
  beside: object = {},
): Response {
  return new Response(JSON.stringify({ ...error.toProblem(), ...beside }), {
    status: error.status,
    headers: {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      ...headers,
    },
  })
}
