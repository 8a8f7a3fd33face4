/**
 * A model call as its client sent it, paid in credits: checked and bounded, its worst case held, forwarded, its answer
 * passed on, its true cost charged.
 */
import { createHash } from 'node:crypto'
import { type BursarError, invalid } from '../errors.ts'
import { checkMayUse } from '../ledger/may-use.ts'
import { formatCredits } from '../money.ts'
import { readBody } from './body.ts'
import { type Model, type Models, modelOf } from './catalogue.ts'
import { checkIdempotencyKey } from './chat.ts'
import type { Endpoint, Plan, StreamMeter } from './endpoints/endpoint.ts'
import { ENDPOINTS } from './endpoints/index.ts'
import { askInTurn } from './failover.ts'
import { errorOf, type Failure, rawFailureOf, stillRunning } from './failure.ts'
import { FIT_MEMBER, fitFloorOf, fitOf } from './fit.ts'
import { type Relayed, relay } from './relay.ts'
import {
  type CallContext,
  type Caller,
  counting,
  failedCall,
  type Reserved,
  reserve,
  sendHeld,
  settle,
  standing,
  type Work,
} from './reserve.ts'
import type { Client } from './streaming.ts'

export interface RawCall {
  readonly endpoint: Endpoint
  readonly body: Buffer
  /** What the upstream is told beside the body: a query, with its question mark, and headers. */
  readonly query: string
  readonly headers: Readonly<Record<string, string>>
  readonly idempotencyKey: string | undefined
  /** The fewest output tokens that the caller takes when the balance is short; absent: the seller's default. */
  readonly fitFloor: number | undefined
}

/** An answer that was not streamed, or one that is given again. */
export interface RawAnswer {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** What a repeated idempotency key gets. */
type Stored =
  | { readonly v: 1; readonly kind: 'raw'; readonly type: string; readonly body: string }
  | { readonly v: 1; readonly kind: 'failure'; readonly failure: Failure }

/** Larger answers are not kept: a repeated key is told so, with the receipt. */
const MAX_STORED_BYTES = 1024 * 1024
const JSON_TYPE = 'application/json'
const STREAM_TYPE = 'text/event-stream; charset=utf-8'

/**
 * Forwards a call; null when its answer was streamed to the client.
 *
 * @throws {BursarError} as `callModel`, before the client has been given anything. Of a refusal by the upstream that
 *   concerns the request, invalid_request or payload_too_large with the upstream's words; rate_limited for its 429.
 */
export async function forward(
  ctx: CallContext,
  caller: Caller,
  call: RawCall,
  client: Client,
): Promise<RawAnswer | null> {
  const body = readBody(call.body)
  const model = sellableAt(call.endpoint, ctx.models, body.fields['model'])
  const plan = call.endpoint.plan(model, body)
  // What stands in the request itself was meant for it; a header may be a client's habit.
  const fitFloor = fitFloorOf(body.fields[FIT_MEMBER], FIT_MEMBER) ?? call.fitFloor
  if (call.endpoint.free) {
    await checkMayUse(ctx.ledger, caller, model.id)
    return forwardFree(ctx, model, { ...call, plan }, client)
  }
  const reservation = await reserve(ctx, caller, workOf(ctx, { ...call, fitFloor }, model, plan))
  if (reservation.kind === 'running') throw stillRunning(reservation.ref)
  if (reservation.kind === 'replayed') return replay(ctx, caller, reservation)
  return run(ctx, reservation, { ...call, plan }, client)
}

/** @throws {BursarError} unknown_model, unpriced_model, invalid_request: it is sold at another endpoint. */
export function sellableAt({ format, route }: Endpoint, models: Models, id: unknown): Model {
  if (typeof id !== 'string' || id === '') throw invalid('model must name a model.')
  const model = modelOf(models, id)
  if (model.upstream.format === format) return model
  const routes = ENDPOINTS.filter((one) => one.format === model.upstream.format).map((one) => one.route)
  throw invalid(`The model ${JSON.stringify(id)} is not sold at ${route}: nothing is translated.`, {
    remedy: `Call it at ${routes.join(' or ')}.`,
    details: { endpoints: routes },
  })
}

function workOf(ctx: CallContext, call: RawCall, model: Model, plan: Plan): Work {
  const { endpoint, idempotencyKey: key } = call
  const { output, inputTokens } = plan
  const { limit, choices } = output ?? { limit: 0, choices: 1 }
  const { besidesText } = inputTokens
  return {
    model,
    route: endpoint.route,
    bounds: { inputTokens: inputTokens.bound, outputTokens: limit * choices },
    knownInput: { inputTokens: inputTokens.estimate, outputTokens: 0 },
    ...(besidesText === null ? {} : counting(ctx, model, () => call.body.toString('utf8'), besidesText)),
    deadlineMs: plan.stream ? model.upstream.stream_timeout_ms : model.upstream.timeout_ms,
    ...(output ? fitOf(call.fitFloor, ctx.fitFloorTokens, output) : {}),
    ...(key === undefined ? {} : { idempotency: { key: checkIdempotencyKey(key), bodyHash: hashOf(call) } }),
  }
}

function hashOf({ body, query }: RawCall): string {
  return createHash('sha256').update(`${query}\n`).update(body).digest('hex')
}

type PlannedCall = RawCall & { readonly plan: Plan }

async function run(
  ctx: CallContext,
  held: Reserved,
  call: PlannedCall,
  client: Client,
): Promise<RawAnswer | null> {
  const { plan } = call
  const { work, hold } = held
  const limit = work.bounds.outputTokens / (plan.output?.choices ?? 1)
  const headers = {
    'x-bursar-receipt': hold.ref,
    ...(plan.output ? { 'x-bursar-max-tokens': String(limit) } : {}),
    ...(plan.leftOut ? { 'x-bursar-left-out': plan.leftOut.join(', ') } : {}),
  }
  const kept = work.idempotency ? transcript() : null
  const { reserved, result } = await sendHeld(ctx, held, (place, deadlineMs) =>
    relay(ctx.ledger.runtime, {
      ...sentTo(place, call, work.model),
      limit,
      deadlineMs,
      client,
      answerHeaders: headers,
      keep: kept && kept.add,
    }),
  )
  return finish(ctx, reserved, result, { headers, client, kept })
}

/** The call for one of its model's upstreams: a plan holds the upstream's own name of the model. */
function sentTo(place: Model, call: PlannedCall, planned: Model) {
  const { endpoint, plan, query, headers } = call
  return {
    endpoint,
    plan: place === planned ? plan : endpoint.plan(place, readBody(call.body)),
    upstream: place.upstream,
    path: endpoint.path + query,
    headers,
  }
}

/** Nothing is held, and nothing charged: what the upstream gives for nothing costs nothing. */
async function forwardFree(
  ctx: CallContext,
  model: Model,
  call: PlannedCall,
  client: Client,
): Promise<RawAnswer> {
  const { circuit, ledger } = ctx
  const { runtime } = ledger
  const send = (place: Model, deadlineMs: number) =>
    relay(runtime, {
      ...sentTo(place, call, model),
      limit: 0,
      deadlineMs,
      client,
      answerHeaders: {},
      keep: null,
    })
  const { timeout_ms: timeoutMs } = model.upstream
  const { place, result: relayed } = await askInTurn({ runtime, circuit }, model, timeoutMs, send)
  const { ending } = relayed
  if (ending.kind === 'forwarded') return { headers: { 'content-type': JSON_TYPE }, body: relayed.bytes }
  const failure = rawFailureOf({ model: place, receipt: null, keyed: false }, ending, relayed)
  logFailure(ctx, place, failure)
  throw errorOf(failure, {})
}

interface Given {
  readonly headers: Readonly<Record<string, string>>
  readonly client: Client
  readonly kept: Transcript | null
}

async function finish(
  ctx: CallContext,
  reserved: Reserved,
  relayed: Relayed,
  { headers, client, kept }: Given,
): Promise<RawAnswer | null> {
  const { ending, streamed, bytes } = relayed
  const failure = ending.kind === 'forwarded' ? null : rawFailureOf(failedCall(reserved), ending, relayed)
  if (failure) logFailure(ctx, reserved.work.model, failure)
  const type = streamed ? STREAM_TYPE : JSON_TYPE
  const { settled } = await settle(ctx, reserved, ending, () =>
    failure
      ? stored({ v: 1, kind: 'failure', failure })
      : storedAnswer(type, kept && streamed ? kept.bytes() : bytes),
  )
  const now = { charged: formatCredits(settled.charged), available: formatCredits(settled.available) }
  if (failure && !streamed) throw errorOf(failure, now)
  if (streamed) {
    if (failure) tell(client, streamed, errorOf(failure, now))
    return null
  }
  return {
    headers: {
      ...headers,
      ...relayed.idHeaders,
      'content-type': type,
      'x-bursar-charged': now.charged,
      'x-bursar-balance': now.available,
    },
    body: bytes,
  }
}

/** A stream that just ends looks like a whole answer to some clients. */
function tell(client: Client, meter: StreamMeter, error: BursarError): void {
  if (!client.gone()) client.write(meter.failure(error))
}

function logFailure({ ledger }: CallContext, { id, upstream }: Model, { details }: Failure): void {
  ledger.runtime.log.warn({ ...details, model: id, upstream: upstream.name }, 'A model call failed upstream.')
}

interface Transcript {
  add(chunk: Buffer): void
  /** Null when it has become too large to keep. */
  bytes(): Buffer | null
}

function transcript(): Transcript {
  let chunks: Buffer[] | null = []
  let size = 0
  return {
    add(chunk) {
      size += chunk.length
      if (size > MAX_STORED_BYTES) chunks = null
      chunks?.push(chunk)
    },
    bytes: () => chunks && Buffer.concat(chunks),
  }
}

function storedAnswer(type: string, bytes: Buffer | null): string | null {
  if (bytes === null || bytes.length > MAX_STORED_BYTES) return null
  return stored({ v: 1, kind: 'raw', type, body: bytes.toString('utf8') })
}

function stored(value: Stored): string {
  return JSON.stringify(value)
}

/** The first answer again, streamed or not as it was; charge and balance as they are now. */
async function replay(
  ctx: CallContext,
  { account }: Caller,
  { ref, response }: { readonly ref: string; readonly response: string },
): Promise<RawAnswer> {
  const { charged, available } = await standing(ctx, account, ref)
  const first = JSON.parse(response) as Stored
  if (first.kind === 'failure') throw errorOf(first.failure, { charged, available, replayed: true })
  return {
    headers: {
      'content-type': first.type,
      'x-bursar-receipt': ref,
      'x-bursar-charged': charged,
      'x-bursar-balance': available,
      'x-bursar-replayed': 'true',
    },
    body: Buffer.from(first.body),
  }
}
