/** JSON bodies of the till's own routes. */
import { invalid } from '../errors.ts'
import { membersWritten } from '../models/body.ts'
import { requireStillInForce, tooLarge } from './security.ts'

/** What most routes take is a few hundred. */
const MAX_BYTES = 64 * 1024
/** A thousand messages fit. Hundreds of thousands, each to be checked and refused, would keep everybody waiting. */
const MAX_VALUES = 50_000

interface Reading {
  readonly maxBytes?: number
  /** What a request without a body means. A client need not declare that it sends none: curl does not. */
  readonly empty?: unknown
}

/** @throws {BursarError} invalid_request, payload_too_large */
export async function jsonOf(request: Request, reading: Reading = {}): Promise<unknown> {
  const text = await textOf(request, reading.maxBytes ?? MAX_BYTES)
  if (text === '' && 'empty' in reading) return reading.empty
  try {
    return JSON.parse(text)
  } catch {
    throw invalid('The body is not valid JSON.', { remedy: 'Send a JSON object.' })
  }
}

/** The body with the request's `Idempotency-Key` as its `idempotency_key`. */
export async function keyedJsonOf(request: Request, maxBytes = MAX_BYTES): Promise<unknown> {
  const key = request.headers.get('idempotency-key')
  const body = await jsonOf(request, { maxBytes })
  return key === null ? body : withMembers(body, { idempotency_key: key })
}

/** What is no object stays as it is, to be refused: each character of a text would become a member. */
export function withMembers(body: unknown, members: Readonly<Record<string, unknown>>): unknown {
  return typeof body === 'object' && body !== null && !Array.isArray(body) ? { ...body, ...members } : body
}

/** JSON that can be read in no time, not read yet. @throws {BursarError} payload_too_large, unauthorized, invalid_request */
export async function textOf(request: Request, maxBytes: number): Promise<string> {
  const text = await textWithin(request, maxBytes)
  await requireStillInForce(request)
  membersWritten(text, MAX_VALUES)
  return text
}

/** Also bounds a body whose length was not declared. */
async function textWithin(request: Request, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body ?? []) {
    size += chunk.length
    if (size > maxBytes) throw tooLarge(maxBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
