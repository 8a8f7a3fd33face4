/**
 * One HTTP exchange with an upstream, over undici's `dispatch`: nothing between the socket and the reader, because
 * this is on the path of every streamed byte. Nothing here throws for what an upstream does: each way that an
 * exchange can end is a value, because each is settled differently.
 */
import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'
import type { Runtime } from '../runtime.ts'
import type { Upstream } from './catalogue.ts'

/** Why an answer never came, though the request was sent: nobody knows what the upstream did with it. */
export type LostReason =
  | 'timeout'
  | 'disconnect'
  | 'invalid_answer'
  | 'answer_too_large'
  /** It said itself, in the middle of its answer, that it had failed. */
  | 'upstream_failed'
  /** Whoever asked went away, and did not come back for the answer. */
  | 'abandoned'
  /** The till was told to stop, and could not wait longer. */
  | 'stopped'

export interface UpstreamRequest {
  /** Follows the upstream's `base_url`; with a query, where there is one. */
  readonly path: string
  /** Forwarded as it is. */
  readonly body: string | Uint8Array
  /** Beside content type and credentials, which are Bursar's own. */
  readonly headers?: Readonly<Record<string, string>>
  /** From connecting to the last byte. */
  readonly deadlineMs: number
  /** The longest silence, where that is less than the deadline. */
  readonly idleMs?: number
}

/** Takes what arrives, as it arrives. */
export interface Reader {
  head(status: number, headers: IncomingHttpHeaders): void
  /** False pauses the upstream, until `resume`. */
  data(chunk: Buffer): boolean
}

export type Exchanged =
  | { readonly kind: 'complete' }
  /** Not a byte of the request was sent. */
  | { readonly kind: 'unreached'; readonly why: string }
  | { readonly kind: 'lost'; readonly why: LostReason }

export interface Exchange {
  /** Never rejects. */
  readonly ended: Promise<Exchanged>
  resume(): void
  /** Gives up: closes the connection, or never sends the request if it waits for one. */
  abort(why: LostReason): void
}

/** Sends a POST to an upstream; the reader gets the status line and then the body, piece by piece. */
export function exchange(
  { network, after }: Pick<Runtime, 'network' | 'after'>,
  upstream: Upstream,
  request: UpstreamRequest,
  reader: Reader,
): Exchange {
  const { promise: ended, resolve } = Promise.withResolvers<Exchanged>()
  let controller: Dispatcher.DispatchController | undefined
  let over = false
  let arrived = 0
  let left = request.deadlineMs
  let stopWatching = watch(0)

  function end(result: Exchanged): void {
    if (over) return
    over = true
    stopWatching()
    resolve(result)
  }

  function abort(why: LostReason): void {
    if (over) return
    // While it still connects, undici has no controller to abort with; the request is dropped when it gets one.
    end(controller ? { kind: 'lost', why } : { kind: 'unreached', why })
    controller?.abort(new Error(why))
  }

  /** Ends a silence between one and two times its limit: a timer for every piece would cost more than the piece. */
  function watch(seen: number): () => void {
    const ms = Math.min(request.idleMs ?? left, left)
    return after(ms, () => {
      left -= ms
      if (left <= 0 || arrived === seen) return abort('timeout')
      stopWatching = watch(arrived)
    })
  }

  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(started) {
      if (over) return started.abort(new Error('given up before it was sent'))
      controller = started
    },
    onResponseStart(_, status, headers) {
      arrived += 1
      // 1xx only announces.
      if (!over && status >= 200) reader.head(status, headers)
    },
    onResponseData(started, chunk) {
      arrived += 1
      if (!over && !reader.data(chunk)) started.pause()
    },
    onResponseEnd: () => end({ kind: 'complete' }),
    onResponseError: (_, error) =>
      end(controller ? { kind: 'lost', why: whyLost(error) } : { kind: 'unreached', why: reasonOf(error) }),
  }
  try {
    network.dispatch(dispatchOptions(upstream, request), handler)
  } catch (error) {
    end({ kind: 'unreached', why: reasonOf(error) })
  }
  return { ended, abort, resume: () => controller?.resume() }
}

function dispatchOptions(upstream: Upstream, request: UpstreamRequest): Dispatcher.DispatchOptions {
  return {
    origin: upstream.origin,
    path: upstream.pathname + request.path,
    method: 'POST',
    headers: request.headers ? { ...headersFor(upstream), ...request.headers } : headersFor(upstream),
    body: request.body,
    // undici's own limits only stand behind the deadline.
    headersTimeout: request.deadlineMs + 1000,
    bodyTimeout: request.deadlineMs + 1000,
  }
}

/** Of each upstream, made once. */
const ownHeaders = new WeakMap<Upstream, Readonly<Record<string, string>>>()

function headersFor(upstream: Upstream): Readonly<Record<string, string>> {
  const known = ownHeaders.get(upstream)
  if (known) return known
  const headers = makeHeaders(upstream)
  ownHeaders.set(upstream, headers)
  return headers
}

/** undici does not decompress, and a meter cannot read what is compressed. */
function makeHeaders({ api_key: key, format }: Upstream): Record<string, string> {
  const common = {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'accept-encoding': 'identity',
  }
  if (key === undefined) return common
  return format === 'anthropic'
    ? { ...common, 'x-api-key': key }
    : { ...common, authorization: `Bearer ${key}` }
}

function whyLost(error: unknown): LostReason {
  const code = reasonOf(error)
  return code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT' ? 'timeout' : 'disconnect'
}

/** The error's code alone: a message may hold whatever the other side sent. */
function reasonOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code
  if (typeof code === 'string') return code
  return error instanceof AggregateError ? reasonOf(error.errors[0]) : 'connection_failed'
}
