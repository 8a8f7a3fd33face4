/** Reading what upstreams answer, with care: they are strangers, and their prose is never passed on unasked. */
import type { IncomingHttpHeaders } from 'node:http'

export type JsonObject = Readonly<Record<string, unknown>>

export function asRecord(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null
}

/** Null for what is no JSON object. A byte order mark before it is overlooked, as by every client's own reader. */
export function parseObject(text: string): JsonObject | null {
  try {
    return asRecord(JSON.parse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text))
  } catch {
    return null
  }
}

/** Proxies and wrong base URLs answer 200 with a page: no model ran. */
export function isWebPage(headers: IncomingHttpHeaders, text: string): boolean {
  return /text\/html/i.test(headers['content-type'] ?? '') || /^\s*</.test(text)
}

/** `error.code` or `error.type`, when it looks like an identifier: prose from an upstream may carry instructions. */
export function errorCode(answer: JsonObject | null): string | null {
  const error = asRecord(answer?.['error'])
  for (const value of [error?.['code'], error?.['type']]) {
    if (typeof value === 'string' && /^[a-z][a-z0-9_.-]{0,47}$/i.test(value)) return value
  }
  return null
}

/** What an upstream without room says. */
export interface Busy {
  /** When it wants to be asked again; null when it does not say. */
  readonly retryAfterMs: number | null
}

/** Whether it says in any of the usual ways that it is an error: an error object, its text alone, or vLLM's own form. */
export function isError({ error, object, type }: JsonObject): boolean {
  return (
    asRecord(error) !== null ||
    (typeof error === 'string' && error !== '') ||
    [object, type].includes('error')
  )
}

const BUSY: readonly number[] = [429, 503, 529]

/**
 * Whether an upstream that refused a call has said, in an error of its own, that it did not take it: 429, 503 or 529
 * (Anthropic's "overloaded"). Not when a page or nothing at all came with the status, for a proxy that has given up
 * waiting says the same; nor with any usage.
 */
export function busyOf(status: number, answer: JsonObject | null, headers: IncomingHttpHeaders): Busy | null {
  if (!BUSY.includes(status) || !answer || asRecord(answer['usage'])) return null
  if (!isError(answer)) return null
  return { retryAfterMs: retryAfterMs(headers['retry-after']) }
}

/** Seconds only, an hour at most: the other form is a date by a clock that is not ours. */
export function retryAfterMs(value: string | undefined): number | null {
  return value !== undefined && /^\d{1,4}$/.test(value) ? Math.min(Number(value), 3600) * 1000 : null
}

/** The upstream's id of a request, from its headers (`request-id` is Anthropic's name for it). */
export function requestIdOf(headers: IncomingHttpHeaders): string | null {
  return plainId(headers['x-request-id']) ?? plainId(headers['request-id'])
}

export function plainId(value: unknown): string | null {
  return typeof value === 'string' && /^[\x21-\x7e]{1,128}$/.test(value) ? value : null
}

export interface Collector {
  /** False when the answer has become too large; it is dropped then. */
  add(chunk: Buffer): boolean
  bytes(): Buffer
}

/** Keeps an answer whole, up to a limit. */
export function collector(maxBytes: number): Collector {
  let chunks: Buffer[] = []
  let size = 0
  return {
    add(chunk) {
      size += chunk.length
      if (size > maxBytes) {
        chunks = []
        return false
      }
      chunks.push(chunk)
      return true
    },
    bytes: () => (chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)),
  }
}
