/**
 * A model call paid in credits: hold the worst case, send the request only when the hold is durable, charge what the
 * answer used, give back the rest.
 */
import type { CallModel, CallResult } from '../bursar.ts'
import { formatCredits } from '../money.ts'
import { type Model, modelOf } from './catalogue.ts'
import { chatRequest, checkIdempotencyKey, requestHash } from './chat.ts'
import { errorOf, type Failure, failureOf, stillRunning } from './failure.ts'
import { FIT_MEMBER, fitFloorOf, fitOf } from './fit.ts'
import { templateTokens } from './meter.ts'
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
  storedUsage,
} from './reserve.ts'
import type { Settlement } from './settle.ts'
import { type ChatEnding, completeChat } from './upstream.ts'

const ROUTE = 'call_model'

/** What a repeated key gets; charge and balance are read afresh, because the ledger has the last word on them. */
type Stored =
  | {
      readonly v: 1
      readonly kind: 'answer'
      readonly answer: Omit<CallResult, 'charged' | 'available' | 'replayed'>
    }
  | { readonly v: 1; readonly kind: 'failure'; readonly failure: Failure }

/**
 * Asks a model and charges the account for it, exactly once per idempotency key.
 *
 * @throws {BursarError} unknown_model, unpriced_model, invalid_request, payload_too_large: nothing happened.
 *   insufficient_credits, allowance_exceeded, frozen: nothing was held. conflict: the same key is still running.
 *   idempotency_conflict: the key belongs to another request. upstream_error: the details say what was charged, mostly
 *   nothing.
 */
export async function callModel(ctx: CallContext, caller: Caller, input: CallModel): Promise<CallResult> {
  const model = modelOf(ctx.models, input.model)
  const request = chatRequest(model, input)
  const key = input.idempotency_key
  const fitFloor = fitFloorOf(input.bursar_fit, FIT_MEMBER)
  const { outputTokens: limit } = request.bounds
  const reservation = await reserve(ctx, caller, {
    model,
    route: ROUTE,
    bounds: request.bounds,
    knownInput: request.knownInput,
    ...counting(ctx, model, () => request.body(limit), templateTokens(input.messages)),
    ...fitOf(fitFloor, ctx.fitFloorTokens, { limit, choices: 1, least: 1 }),
    ...(key === undefined
      ? {}
      : { idempotency: { key: checkIdempotencyKey(key), bodyHash: requestHash(input) } }),
  })
  if (reservation.kind === 'running') throw stillRunning(reservation.ref)
  if (reservation.kind === 'replayed') return replay(ctx, caller, reservation)
  const { outputTokens: granted } = reservation.work.bounds
  // What each upstream calls the model, and its limit, is a part of the request.
  const bodyAt = (place: Model) => (place === model ? request : chatRequest(place, input)).body(granted)
  return run(ctx, reservation, bodyAt)
}

async function run(ctx: CallContext, held: Reserved, bodyAt: (place: Model) => string): Promise<CallResult> {
  const { reserved, result } = await sendHeld(ctx, held, async (place, deadlineMs) => ({
    ending: await completeChat(ctx.ledger.runtime, place.upstream, bodyAt(place), deadlineMs),
  }))
  const { ending } = result
  const { hold, work } = reserved
  if (ending.kind === 'answered') {
    const answer = (settlement: Settlement) => answerOf(reserved, ending, settlement)
    const { settlement, settled } = await settle(ctx, reserved, ending, (result) =>
      stored({ v: 1, kind: 'answer', answer: answer(result) }),
    )
    return {
      ...answer(settlement),
      charged: formatCredits(settled.charged),
      available: formatCredits(settled.available),
      replayed: false,
    }
  }
  const failure = failureOf(failedCall(reserved), ending)
  ctx.ledger.runtime.log.warn(
    { receipt: hold.ref, model: work.model.id, upstream: work.model.upstream.name, ...failure.details },
    'A model call failed upstream.',
  )
  const { settled } = await settle(ctx, reserved, ending, () => stored({ v: 1, kind: 'failure', failure }))
  throw errorOf(failure, {
    charged: formatCredits(settled.charged),
    available: formatCredits(settled.available),
  })
}

async function replay(
  ctx: CallContext,
  { account }: Caller,
  { ref, response }: { readonly ref: string; readonly response: string },
): Promise<CallResult> {
  const now = { ...(await standing(ctx, account, ref)), replayed: true }
  const first = JSON.parse(response) as Stored
  if (first.kind === 'answer') return { ...first.answer, ...now }
  throw errorOf(first.failure, now)
}

function answerOf(
  { hold, terms, work }: Reserved,
  { completion }: Extract<ChatEnding, { kind: 'answered' }>,
  { usage }: Settlement,
): Omit<CallResult, 'charged' | 'available' | 'replayed'> {
  return {
    text: completion.text,
    model: work.model.id,
    finish_reason: completion.finishReason,
    max_tokens: work.bounds.outputTokens,
    // An answer always has usage, reported or estimated.
    usage: storedUsage(usage ?? { ...terms.knownInput, source: 'estimate' }),
    held: formatCredits(hold.amount),
    receipt: hold.ref,
  }
}

function stored(value: Stored): string {
  return JSON.stringify(value)
}
