/** One GET of a small JSON document from a public API, distrusting all of it. */
import { request } from 'undici'
import type { z } from 'zod'
import type { Runtime } from '../runtime.ts'
import { SourceError } from './source.ts'

export type Web = Pick<Runtime, 'network' | 'now'>

export interface Fetched<T> {
  readonly body: T
  /** When the answer was made: HTTP's own Date, less the Age of a cached copy (RFC 9110 6.6.1, RFC 9111 5.1). */
  readonly at: number
}

/** Tickers are below one kilobyte. */
const LARGEST_BYTES = 65_536
/** Status codes that say: not you, not now. */
const REFUSALS: ReadonlySet<number> = new Set([403, 418, 429, 451])

/**
 * Numbers arrive as the text they were written in, never as floats; redirects are not followed.
 *
 * @throws {SourceError} no answer, another status, too large, not JSON, another shape
 */
export async function fetchJson<T>(
  web: Web,
  url: string,
  { shape, signal }: { shape: z.ZodType<T>; signal: AbortSignal },
): Promise<Fetched<T>> {
  const asked = web.now()
  const { headers, text } = await fetchText(web, url, signal)
  const checked = shape.safeParse(readJson(text))
  if (!checked.success) throw new SourceError('an answer of another shape', { cause: checked.error })
  return { body: checked.data, at: madeAt(headers, asked) }
}

/** JSON with every number as its own text, so that no price passes through a float. */
export function readJson(text: string): unknown {
  try {
    return parse(text, (_key, value, { source }) => (typeof value === 'number' ? source : value))
  } catch (cause) {
    throw new SourceError('an answer that is not JSON', { cause })
  }
}

/** TypeScript's library does not know the third argument yet (ECMAScript proposal "JSON.parse source text access"). */
const parse = JSON.parse as (
  text: string,
  reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
) => unknown

type Headers = Readonly<Record<string, string | string[] | undefined>>

async function fetchText(
  { network }: Web,
  url: string,
  signal: AbortSignal,
): Promise<{ headers: Headers; text: string }> {
  try {
    const { statusCode, headers, body } = await request(url, {
      dispatcher: network,
      // Coinbase refuses requests without a user agent.
      headers: { accept: 'application/json', 'user-agent': 'bursar' },
      signal,
    })
    if (statusCode !== 200) {
      body.dump({ limit: LARGEST_BYTES, signal }).catch(() => undefined)
      throw new SourceError(`HTTP ${statusCode}`, { refused: REFUSALS.has(statusCode) })
    }
    const chunks: Uint8Array[] = []
    let size = 0
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength
      if (size > LARGEST_BYTES) throw new SourceError('an answer that is too large')
      chunks.push(chunk)
    }
    return { headers, text: Buffer.concat(chunks).toString('utf8') }
  } catch (cause) {
    signal.throwIfAborted()
    throw cause instanceof SourceError ? cause : new SourceError('no connection', { cause })
  }
}

/** Without a usable Date, the moment before the question: an answer is never taken for newer than it is. */
function madeAt(headers: Headers, asked: number): number {
  const { date, age } = headers
  const made = typeof date === 'string' ? Date.parse(date) : Number.NaN
  if (Number.isNaN(made)) return asked
  return made - (typeof age === 'string' && /^\d{1,9}$/.test(age) ? Number(age) * 1000 : 0)
}
