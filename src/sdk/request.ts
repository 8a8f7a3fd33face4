/**
 * One request to a till, repeated where a repetition is safe and can help. Everything that spends carries an
 * idempotency key that is made once, so that no repetition is charged twice.
 */
import { BursarError, invalid } from '../errors.ts'
import { errorOf } from './problem.ts'

export interface ClientOptions {
  /** Where the till is: `https://till.example`. */
  readonly url: string
  /** An account's, agent's or seller's API key; a metered endpoint that forwards its buyers' keys needs none. */
  readonly key?: string | undefined
  readonly fetch?: typeof fetch
  /** The longest that one attempt may take; 30 s by default, for model calls 15 minutes. */
  readonly timeoutMs?: number
  /** Attempts after the first; 4 by default. */
  readonly retries?: number
  /** Waits between attempts; rejects when the signal is aborted. */
  readonly sleep?: (ms: number, signal?: AbortSignal) => Promise<void>
  /** Runs a task later; the returned function cancels it. */
  readonly after?: (ms: number, task: () => void) => () => void
  /** From 0 to 1: spreads repeated attempts. */
  readonly random?: () => number
  /** Makes idempotency keys. */
  readonly id?: () => string
  /** Unix milliseconds. */
  readonly now?: () => number
}

export interface RequestOptions {
  readonly signal?: AbortSignal
  /** Speaks with this key instead of the client's own. */
  readonly key?: string
}

export interface Ask extends RequestOptions {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  /** With its query. */
  readonly path: string
  readonly body?: unknown
  readonly idempotencyKey?: string
  /** A repetition could do it twice: asked once, whatever becomes of it. */
  readonly once?: boolean
  readonly accept?: string
  readonly timeoutMs?: number
}

export interface Transport {
  readonly url: string
  /** The body of a success. @throws {BursarError} as the till refused, or till_unavailable */
  json<T>(ask: Ask): Promise<T>
  /** A success whose body is not read yet, asked for once; the timeout covers its headers. */
  open(ask: Ask & { readonly signal: AbortSignal }): Promise<Response>
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  after(ms: number, task: () => void): () => void
  /** How long to wait before a repetition. */
  backoff(attempt: number): number
  readonly id: () => string
  readonly now: () => number
}

const TIMEOUT_MS = 30_000
const RETRIES = 4
const FIRST_WAIT_MS = 250
const LONGEST_WAIT_MS = 8_000
/** A till that wants to be left alone for longer says so to the caller. */
const LONGEST_RETRY_AFTER_MS = 60_000

/** @throws {BursarError} invalid_config: no URL of a till, or something that cannot be a key. */
export function createTransport(options: ClientOptions): Transport {
  const url = checkedUrl(options.url)
  const { key, timeoutMs = TIMEOUT_MS, retries = RETRIES, random = Math.random, sleep = wait } = options
  if (key !== undefined) checkKey(key, 'key')
  // Looked up for each request: a fetch that is instrumented later is used too.
  const doFetch: typeof fetch = (...args) => (options.fetch ?? fetch)(...args)
  const backoff = (attempt: number): number => {
    const most = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt)
    return Math.ceil(most / 2 + (random() * most) / 2)
  }

  async function attempt<T>(ask: Ask, read: (response: Response) => Promise<T>): Promise<T> {
    const limitMs = ask.timeoutMs ?? timeoutMs
    const limit = AbortSignal.timeout(limitMs)
    const signal = ask.signal ? AbortSignal.any([ask.signal, limit]) : limit
    try {
      const response = await doFetch(`${url}${ask.path}`, {
        method: ask.method,
        headers: headersOf(ask, ask.key ?? key),
        // Following one would send the key wherever it leads.
        redirect: 'manual',
        signal,
        ...(ask.body === undefined ? {} : { body: JSON.stringify(ask.body) }),
      })
      if (response.ok) return await read(response)
      throw new Refused(await errorOf(response, url), response)
    } catch (thrown) {
      if (ask.signal?.aborted) throw ask.signal.reason
      if (thrown instanceof Refused || thrown instanceof BursarError) throw thrown
      throw unreachable(url, limit.aborted ? `no answer within ${limitMs} ms` : reasonOf(thrown), thrown)
    }
  }

  return {
    url,
    sleep,
    after: options.after ?? later,
    backoff,
    id: options.id ?? (() => crypto.randomUUID()),
    now: options.now ?? (() => Date.now()),
    async json<T>(ask: Ask): Promise<T> {
      const most = ask.once ? 0 : retries
      for (let tried = 0; ; tried++) {
        ask.signal?.throwIfAborted()
        try {
          return await attempt(ask, (response) => jsonOf<T>(response, url))
        } catch (thrown) {
          const again = tried < most ? waitBefore(thrown, backoff(tried)) : null
          if (again === null) throw thrown instanceof Refused ? thrown.error : thrown
          await sleep(again, ask.signal)
        }
      }
    },
    async open(ask) {
      try {
        return await openOnce(doFetch, `${url}${ask.path}`, {
          headers: headersOf(ask, ask.key ?? key),
          signal: ask.signal,
        })
      } catch (thrown) {
        if (ask.signal.aborted) throw ask.signal.reason
        if (thrown instanceof BursarError) throw thrown
        throw unreachable(url, reasonOf(thrown), thrown)
      }
    },
  }
}

async function openOnce(
  doFetch: typeof fetch,
  url: string,
  init: { headers: Record<string, string>; signal: AbortSignal },
): Promise<Response> {
  const response = await doFetch(url, { ...init, redirect: 'manual' })
  if (response.ok) return response
  throw await errorOf(response, url)
}

/** A refusal with what its headers say about another attempt. */
class Refused extends Error {
  readonly error: BursarError
  readonly status: number
  readonly shouldRetry: string | null
  readonly retryAfter: string | null

  constructor(error: BursarError, { status, headers }: Response) {
    super(error.message)
    this.error = error
    this.status = status
    this.shouldRetry = headers.get('x-should-retry')
    this.retryAfter = headers.get('retry-after')
  }
}

/** Milliseconds until the next attempt; null: there is no use in one. */
function waitBefore(thrown: unknown, backoff: number): number | null {
  if (thrown instanceof BursarError) return thrown.code === 'till_unavailable' ? backoff : null
  if (!(thrown instanceof Refused) || !mayHelp(thrown)) return null
  const asked = retryAfterMs(thrown.retryAfter)
  if (asked === null) return backoff
  return asked > LONGEST_RETRY_AFTER_MS ? null : Math.max(asked, backoff)
}

function mayHelp({ status, shouldRetry }: Refused): boolean {
  if (shouldRetry === 'true') return true
  if (shouldRetry === 'false') return false
  return [408, 429, 500, 502, 503, 504].includes(status)
}

/** Seconds, or a date (RFC 9110, "Retry-After"). */
function retryAfterMs(value: string | null): number | null {
  if (value === null) return null
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000
  const at = Date.parse(value)
  return Number.isNaN(at) ? null : Math.max(0, at - Date.now())
}

async function jsonOf<T>(response: Response, url: string): Promise<T> {
  const text = await response.text()
  try {
    return JSON.parse(text) as T
  } catch (cause) {
    throw new BursarError('till_unavailable', `${url} answered with something that is not JSON.`, {
      remedy: 'Check the URL: it is what bursar serve prints, such as http://127.0.0.1:8402.',
      cause,
    })
  }
}

function headersOf(ask: Ask, key: string | undefined): Record<string, string> {
  return {
    accept: ask.accept ?? 'application/json',
    ...(key === undefined ? {} : { authorization: `Bearer ${checkKey(key, 'key')}` }),
    ...(ask.body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(ask.idempotencyKey === undefined ? {} : { 'idempotency-key': ask.idempotencyKey }),
  }
}

/** Without a slash at its end, and without the path of an endpoint that was pasted along. */
function checkedUrl(given: string): string {
  checkFilled(given, 'url')
  const parsed = URL.canParse(given) ? new URL(given) : null
  if (!parsed || !/^https?:$/.test(parsed.protocol) || parsed.username !== '' || parsed.search !== '') {
    throw invalidOption(
      'The URL of the till must be an http or https URL.',
      'Give it as http://127.0.0.1:8402.',
    )
  }
  return `${parsed.origin}${parsed.pathname}`.replace(/\/+$/, '').replace(/\/(?:v1|mcp)$/, '')
}

function checkKey(key: string, name: string): string {
  checkFilled(key, name)
  if (/^[\x21-\x7e]{1,500}$/.test(key)) return key
  throw invalidOption('The API key must be printable text without spaces.', 'Give it as bk_...')
}

/** Some programs pass on a `${NAME}` that nobody filled in. Only a name is repeated: a value may be a secret. */
function checkFilled(value: string, name: string): void {
  const literal = /\$\{[A-Za-z_]\w*\}/.exec(value)
  if (!literal) return
  throw invalidOption(
    `The ${name} of the till is the literal text ${literal[0]}: nobody filled it in.`,
    'Set that variable where the program is started, or give the value itself.',
  )
}

function invalidOption(message: string, remedy: string): BursarError {
  return invalid(message, { remedy })
}

function unreachable(url: string, why: string, cause: unknown): BursarError {
  return new BursarError('till_unavailable', `The till at ${url} cannot be reached: ${why}.`, {
    remedy: 'Check that it runs, and its URL; then try again.',
    details: { reason: 'unreachable' },
    cause,
  })
}

/** A code where there is one (ECONNREFUSED): Node keeps it in the cause. */
function reasonOf(thrown: unknown): string {
  const { code, cause, message } = Object(thrown) as { code?: unknown; cause?: unknown; message?: unknown }
  if (typeof code === 'string') return code
  if (cause instanceof Error) return reasonOf(cause)
  return typeof message === 'string' && message !== '' ? message : 'the connection failed'
}

function later(ms: number, task: () => void): () => void {
  const timer = setTimeout(task, ms)
  return () => clearTimeout(timer)
}

/** Rejects with the signal's reason. */
function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason)
      return
    }
    const stop = (): void => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop)
      resolve()
    }, ms)
    signal?.addEventListener('abort', stop, { once: true })
  })
}
