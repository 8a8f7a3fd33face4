/**
 * Passes an upstream's answer on to whoever asked, as it comes, and reads on the way what it used. A client that goes
 * away is not followed at once: its answer is still read for the usage, for a while.
 */
import type { IncomingHttpHeaders } from 'node:http'
import type { Runtime } from '../runtime.ts'
import {
  collector,
  errorCode,
  isError,
  type JsonObject,
  parseObject,
  plainId,
  requestIdOf,
  retryAfterMs,
} from './answer.ts'
import type { Upstream } from './catalogue.ts'
import { type Ending, type Head, heard } from './ending.ts'
import type { Endpoint, Plan, StreamMeter } from './endpoints/endpoint.ts'
import { type Exchange, type Exchanged, exchange } from './exchange.ts'
import { type Client, createStream, type Stream } from './streaming.ts'

export interface Relay {
  readonly endpoint: Endpoint
  readonly plan: Plan
  readonly upstream: Upstream
  readonly path: string
  /** Of each choice's output. */
  readonly limit: number
  readonly headers: Readonly<Record<string, string>>
  readonly deadlineMs: number
  readonly client: Client
  /** Sent with the first byte of a streamed answer. */
  readonly answerHeaders: Readonly<Record<string, string>>
  /** Takes what was streamed, to give it again. */
  readonly keep: ((chunk: Buffer) => void) | null
}

export interface Relayed {
  readonly ending: Exclude<Ending, { kind: 'answered' }>
  /** The meter of an answer that has begun; null when the client has been given nothing yet. */
  readonly streamed: StreamMeter | null
  /** An answer that was not streamed, or an error: as it came, and parsed. */
  readonly bytes: Buffer
  readonly answer: JsonObject | null
  /** When a refusing upstream wants to be asked again; null when it does not say. */
  readonly retryAfterMs: number | null
  /** The upstream's id of the request, for whoever was answered. */
  readonly idHeaders: Readonly<Record<string, string>>
}

const NO_ANSWER = { streamed: null, bytes: Buffer.alloc(0), answer: null, retryAfterMs: null, idHeaders: {} }

/** Sends the request and sees it through. Never rejects. */
export async function relay(runtime: Runtime, call: Relay): Promise<Relayed> {
  const { client, upstream, plan, endpoint } = call
  if (client.gone()) return { ...NO_ANSWER, ending: { kind: 'unreached', why: 'abandoned' } }
  const whole = collector(endpoint.maxAnswerBytes)
  let head: Head | undefined
  let meter: StreamMeter | null = null
  let stream: Stream | undefined
  /** Until its first bytes tell: some servers stream under any content type, which clients overlook. */
  let mayStream = false
  const running: Exchange = exchange(runtime, upstream, requestOf(call), {
    head(status, headers) {
      head = { status, headers }
      if (isStream(head)) begin(headers)
      else mayStream = plan.stream && status < 300
    },
    data(chunk) {
      if (stream) return pass(stream, chunk)
      if (!whole.add(chunk)) running.abort('answer_too_large')
      if (!mayStream) return true
      const begun = beginsEvents(whole.bytes())
      if (begun === undefined) return true
      mayStream = false
      const late = begun && head && begin(head.headers)
      return late ? pass(late, whole.bytes()) : true
    },
  })

  /** Null where nobody asked for a stream. */
  function begin(headers: IncomingHttpHeaders): Stream | null {
    if (!endpoint.meter || !plan.stream) return null
    meter = endpoint.meter(plan)
    stream = createStream(client, meter, call.keep)
    client.onDrain(() => {
      stream?.drained()
      running.resume()
    })
    client.start({ ...call.answerHeaders, ...streamHeaders(headers) })
    return stream
  }

  function pass(to: Stream, chunk: Buffer): boolean {
    const more = to.data(chunk)
    const broken = to.broken()
    if (broken) running.abort(broken)
    return more
  }

  let stopDraining = (): void => {}
  client.onGone((why) => {
    running.resume()
    stopDraining = runtime.after(upstream.drain_ms, () => running.abort(why))
  })
  const ended = await running.ended
  stopDraining()
  if (stream) return { ...NO_ANSWER, ending: stream.end(ended), streamed: meter }
  return wholeAnswer(endpoint, ended, head, whole.bytes())
}

function requestOf({ path, limit, headers, deadlineMs, plan, upstream }: Relay) {
  return {
    path,
    body: plan.body(limit),
    headers,
    deadlineMs,
    ...(plan.stream ? { idleMs: upstream.timeout_ms } : {}),
  }
}

function isStream({ status, headers }: Head): boolean {
  return status < 300 && /^text\/event-stream/i.test(headers['content-type'] ?? '')
}

const EVENT_FIELDS = ['data:', 'event:', 'id:', 'retry:', ':']

/** Whether it is a stream of events, by its first bytes; undefined: too few to tell. */
function beginsEvents(bytes: Buffer): boolean | undefined {
  const start = bytes.toString('utf8', 0, 64).replace(/^[\uFEFF\s]+/, '')
  if (EVENT_FIELDS.some((field) => start.startsWith(field))) return true
  return EVENT_FIELDS.some((field) => field.startsWith(start)) ? undefined : false
}

function streamHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  return {
    ...idHeaders(headers),
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
    // nginx would collect the whole answer otherwise.
    'x-accel-buffering': 'no',
  }
}

/** The upstream's id of the request, under its own name: clients show it, and support asks for it. */
function idHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const ids: Record<string, string> = {}
  for (const name of ID_HEADERS) {
    const id = plainId(headers[name])
    if (id !== null) ids[name] = id
  }
  return ids
}

const ID_HEADERS = ['x-request-id', 'request-id'] as const

function wholeAnswer(endpoint: Endpoint, ended: Exchanged, head: Head | undefined, bytes: Buffer): Relayed {
  const text = ended.kind === 'complete' ? bytes.toString('utf8') : ''
  const answer = parseObject(text)
  const read = heard(ended, head, text, answer)
  if (read.ending) {
    const wait = read.ending.kind === 'refused' ? retryAfterMs(head?.headers['retry-after']) : null
    return { ...NO_ANSWER, answer, ending: read.ending, retryAfterMs: wait }
  }
  const { status, headers } = read.head
  const usage = answer && endpoint.usageOf(answer)
  const outputBytes = answer && endpoint.outputBytesOf(answer)
  const id = requestIdOf(headers) ?? plainId(answer?.['id'])
  if (outputBytes !== null) {
    const ending = { kind: 'forwarded', usage, outputBytes, requestId: id } as const
    return { ...NO_ANSWER, bytes, answer, ending, idHeaders: idHeaders(headers) }
  }
  if (answer && isError(answer) && !usage) {
    return {
      ...NO_ANSWER,
      answer,
      ending: { kind: 'refused', status, code: errorCode(answer), requestId: id },
    }
  }
  return { ...NO_ANSWER, answer, ending: { kind: 'lost', why: 'invalid_answer', usage, requestId: id } }
}
