/**
 * Follows an invoice until it is settled: by events where they arrive, by asking where they do not. A connection that
 * breaks is made again; the till keeps the state, so nothing is missed but steps in between.
 */
import type { InvoiceView } from '../bursar.ts'
import { BursarError } from '../errors.ts'
import { readEvents } from './events.ts'
import type { RequestOptions, Transport } from './request.ts'

/** A till sends something every 15 s. */
const SILENCE_MS = 45_000
/** A till answers at once; what does not is a proxy that collects what should stream. */
const FIRST_EVENT_MS = 10_000
const POLL_MS = 2_000
/** In a row, each after a longer wait: about a minute. */
const MAX_FAILURES = 10
/** A block from just before the end of the lock may still be on its way. */
const GRACE_MS = 15_000

/** What a source of views says: a view, or that there is nothing more to wait for. */
type Told = { readonly view: InvoiceView } | { readonly over: true }

/**
 * Yields the invoice as it is, and again whenever it changes; ends when it is paid, or its lock has ended with nothing
 * on the way.
 *
 * @throws {BursarError} not_found, unauthorized; till_unavailable when it stays away for about a minute; the signal's
 *   reason when it is aborted.
 */
export async function* awaitPayment(
  transport: Transport,
  id: string,
  options: RequestOptions = {},
): AsyncGenerator<InvoiceView, void> {
  const { signal } = options
  let shown = ''
  let failures = 0
  let streamed = true
  for (;;) {
    signal?.throwIfAborted()
    try {
      for await (const told of streamed ? watch(transport, id, options) : look(transport, id, options)) {
        failures = 0
        if ('over' in told) return
        const text = JSON.stringify(told.view)
        if (text === shown) continue
        shown = text
        yield told.view
      }
    } catch (thrown) {
      if (signal?.aborted) throw signal.reason
      if (thrown instanceof NoStream) {
        streamed = false
        continue
      }
      failures++
      if (!passes(thrown) || failures === MAX_FAILURES) throw thrown
      await transport.sleep(transport.backoff(failures), signal)
    }
  }
}

/** There are no events here: an older till, or something in between that keeps them back. */
class NoStream extends Error {}

async function* watch(transport: Transport, id: string, options: RequestOptions): AsyncGenerator<Told, void> {
  const connection = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, connection.signal]) : connection.signal
  const silence = watchdog(transport, connection)
  try {
    silence.allow(FIRST_EVENT_MS)
    const response = await open(transport, id, { ...options, signal })
    if (!response.body) throw new NoStream()
    let first = true
    for await (const { event, data } of readEvents(response.body, () => silence.allow(SILENCE_MS))) {
      first = false
      if (event === 'invoice') yield { view: JSON.parse(data) as InvoiceView }
      if (event === 'end') {
        if ((JSON.parse(data) as { timed_out?: unknown }).timed_out !== true) yield { over: true }
        return
      }
    }
    throw first ? new NoStream() : gone('The stream of events ended early.')
  } catch (thrown) {
    if (thrown instanceof BursarError || thrown instanceof NoStream || options.signal?.aborted) throw thrown
    if (silence.firstIsMissing()) throw new NoStream()
    throw gone('The stream of events broke off.', thrown)
  } finally {
    silence.stop()
    connection.abort(new Error('Nobody listens any more.'))
  }
}

async function open(
  transport: Transport,
  id: string,
  options: RequestOptions & { readonly signal: AbortSignal },
): Promise<Response> {
  const path = `/v1/invoices/${encodeURIComponent(id)}/events`
  try {
    const response = await transport.open({ ...options, method: 'GET', path, accept: 'text/event-stream' })
    if (/^text\/event-stream/i.test(response.headers.get('content-type') ?? '')) return response
    await response.body?.cancel()
  } catch (thrown) {
    // Whether it is the invoice or the route that is unknown, asking for the invoice will tell.
    const known = thrown instanceof BursarError && ['not_found', 'method_not_allowed'].includes(thrown.code)
    if (!known) throw thrown
  }
  throw new NoStream()
}

/** Breaks a connection off that stays silent. */
function watchdog(
  transport: Transport,
  connection: AbortController,
): { allow(ms: number): void; firstIsMissing(): boolean; stop(): void } {
  let cancel = (): void => {}
  let heard = -1
  return {
    allow(ms) {
      heard++
      cancel()
      cancel = transport.after(ms, () => connection.abort(new Error(`silent for ${ms} ms`)))
    },
    firstIsMissing: () => heard < 1 && connection.signal.aborted,
    stop: () => cancel(),
  }
}

async function* look(transport: Transport, id: string, options: RequestOptions): AsyncGenerator<Told, void> {
  for (;;) {
    const path = `/v1/invoices/${encodeURIComponent(id)}`
    const view = await transport.json<InvoiceView>({ ...options, method: 'GET', path })
    yield { view }
    if (isOver(view, transport.now())) {
      yield { over: true }
      return
    }
    await transport.sleep(POLL_MS, options.signal)
  }
}

function isOver(view: InvoiceView, now: number): boolean {
  if (view.state === 'paid') return true
  if (view.state !== 'expired' || now < Date.parse(view.expires_at) + GRACE_MS) return false
  return !view.payments.some(({ state }) => state === 'seen' || state === 'confirming')
}

function passes(thrown: unknown): boolean {
  return thrown instanceof BursarError && (thrown.status >= 500 || thrown.status === 429)
}

function gone(message: string, cause?: unknown): BursarError {
  return new BursarError('till_unavailable', message, { remedy: 'Ask again.', cause })
}
