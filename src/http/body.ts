/** JSON bodies of the till's own routes. */
import { invalid } from '../errors.ts'
import { tooLarge } from './security.ts'

/** What most routes take is a few hundred. */
const MAX_BYTES = 64 * 1024

/** @throws {BursarError} invalid_request, payload_too_large */
export async function jsonOf(request: Request, maxBytes = MAX_BYTES): Promise<unknown> {
  const text = await textWithin(request, maxBytes)
  try {
    return JSON.parse(text)
  } catch {
    throw invalid('The body is not valid JSON.', { remedy: 'Send a JSON object.' })
  }
}

/** The body with the request's `Idempotency-Key` as its `idempotency_key`. */
export async function keyedJsonOf(request: Request, maxBytes = MAX_BYTES): Promise<unknown> {
  const key = request.headers.get('idempotency-key')
  const body = await jsonOf(request, maxBytes)
  return key === null ? body : { ...Object(body), idempotency_key: key }
}

/** A body as text. Also bounds one whose length was not declared. */
export async function textWithin(request: Request, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body ?? []) {
    size += chunk.length
    if (size > maxBytes) throw tooLarge(maxBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
