/** Calls that fail upstream, in words for whoever made them. An upstream's own prose is not among them. */
import { BursarError, type ErrorCode } from '../errors.ts'
import { asRecord, type JsonObject } from './answer.ts'
import type { Model } from './catalogue.ts'
import { type Ending, wasNeverTaken } from './ending.ts'
import type { LostReason } from './exchange.ts'

/** As it is stored under an idempotency key. */
export interface Failure {
  readonly code: ErrorCode
  readonly message: string
  readonly remedy: string
  readonly details: Readonly<Record<string, unknown>>
}

/** The call that failed. */
export interface Failed {
  readonly model: Model
  /** Null: it costs nothing, whatever becomes of it. */
  readonly receipt: string | null
  /** It had an idempotency key. */
  readonly keyed: boolean
}

export type Unanswered = Extract<Ending, { kind: 'unreached' | 'refused' | 'lost' }>

/** When to ask again for a call that is still running. */
const RETRY_AFTER_MS = 2000

const LOST: Readonly<Record<LostReason, string>> = {
  timeout: 'The upstream did not answer in time.',
  disconnect: 'The upstream broke off before its answer was complete.',
  invalid_answer: 'The upstream answered something that is no completion.',
  answer_too_large: "The upstream's answer was larger than Bursar accepts.",
  upstream_failed: 'The upstream failed in the middle of its answer.',
  abandoned: 'The caller went away.',
  stopped: 'The till was stopped before the answer was complete.',
}

/** What a call that failed upstream means for whoever made it. */
export function failureOf({ receipt, keyed }: Failed, ending: Unanswered): Failure {
  const again = !keyed
    ? ''
    : wasNeverTaken(ending)
      ? ' The same idempotency_key may be used again.'
      : ' Use a new idempotency_key: this one keeps its answer.'
  if (ending.kind === 'unreached') {
    return {
      code: 'upstream_error',
      message: 'The upstream could not be reached; the call was never sent and costs nothing.',
      remedy: `Try again later, or choose another model.${again}`,
      details: { reason: 'unreachable', receipt },
    }
  }
  if (ending.kind === 'lost') {
    return {
      code: 'upstream_error',
      message: `${LOST[ending.why]} It may have worked on the call; the receipt says what was charged.`,
      remedy: `Asking again is a new call, charged anew.${again}`,
      details: { reason: ending.why, receipt },
    }
  }
  const { status, code } = ending
  return {
    code: 'upstream_error',
    message: `${refusal(status, code)}; it costs nothing.`,
    remedy: `${refusalRemedy(status)}${again}`,
    details: { reason: 'refused', upstream_status: status, upstream_code: code, receipt },
  }
}

function refusal(status: number, code: string | null): string {
  if (code === 'html_answer') return 'The upstream answered with a web page instead of a completion'
  if (status < 300) return 'The upstream answered with an error instead of a completion'
  return `The upstream refused the call with status ${status}`
}

function refusalRemedy(status: number): string {
  if (status === 429 || status === 529) return 'The upstream is busy: wait a little and ask again.'
  if (status === 400 || status === 413 || status === 422)
    return 'Change the request: the upstream does not take it.'
  if (status >= 500) return 'Try again later, or choose another model.'
  return "Choose another model; the seller must look at this upstream's address, key and model name."
}

/** @param now what may have changed since: what was charged, what is available. */
export function errorOf(
  { code, message, remedy, details }: Failure,
  now: Readonly<Record<string, unknown>>,
): BursarError {
  return new BursarError(code, message, { remedy, details: { ...details, ...now } })
}

export function stillRunning(receipt: string): BursarError {
  return new BursarError('conflict', 'A call with this idempotency key is still running.', {
    remedy:
      'Wait a few seconds and repeat it with the same key and arguments: the answer is given without a new charge.',
    details: { receipt, retry_after_ms: RETRY_AFTER_MS },
  })
}

/** Stored in an answer's place, so that a repeat does not run again although no answer is kept. */
export function withoutAnswer(receipt: string): string {
  const failure: Failure = {
    code: 'idempotency_conflict',
    message: 'The request with this idempotency key has ended; its answer is not kept.',
    remedy: `See what receipt ${receipt} was charged (list_usage); use a new key to ask again.`,
    details: { receipt },
  }
  return JSON.stringify({ v: 1, kind: 'failure', failure })
}

/**
 * The same for who speaks to the upstream's own API: what is wrong with the request, as the upstream says it
 * (clients act on it: they shorten a conversation that is too long), and a status that they know how to treat.
 */
export function rawFailureOf(
  failed: Failed,
  ending: Unanswered,
  { answer, retryAfterMs }: { readonly answer: JsonObject | null; readonly retryAfterMs: number | null },
): Failure {
  const failure = failureOf(failed, ending)
  if (ending.kind !== 'refused') return failure
  const { status } = ending
  if (status === 429) {
    const wait = retryAfterMs === null ? {} : { retry_after_ms: retryAfterMs }
    return { ...failure, code: 'rate_limited', details: { ...failure.details, ...wait } }
  }
  const message = status === 400 || status === 413 || status === 422 ? proseOf(answer, failed.model) : null
  if (message === null) return failure
  return { ...failure, code: status === 413 ? 'payload_too_large' : 'invalid_request', message }
}

const MAX_PROSE = 2000

/** What an upstream says is wrong, without what is nobody's business: its key, whatever looks like one, its address. */
function proseOf(answer: JsonObject | null, { upstream }: Model): string | null {
  const { api_key: key, origin } = upstream
  const said = asRecord(answer?.['error'])?.['message'] ?? answer?.['message']
  if (typeof said !== 'string' || said === '') return null
  return (
    said
      .slice(0, 2 * MAX_PROSE)
      .replaceAll(key ?? '\0', '[secret]')
      .replaceAll(/\b(?:sk|bk|key|pk)[-_][\w-]{6,}/g, '[secret]')
      .replaceAll(origin, '[upstream]')
      .replaceAll(/\p{Cc}+/gu, ' ')
      // Last: half a key would not be known for one.
      .slice(0, MAX_PROSE)
  )
}
