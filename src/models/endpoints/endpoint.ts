/** A model endpoint: what it may be asked, what that can cost at most, and where its answers say what they used. */
import type { TokenCounts } from '../../credits/prices.ts'
import type { BursarError } from '../../errors.ts'
import type { JsonObject } from '../answer.ts'
import type { RequestBody } from '../body.ts'
import type { Model } from '../catalogue.ts'
import type { Fittable } from '../fit.ts'

export type Format = 'openai' | 'anthropic'

export interface Endpoint {
  /** Where Bursar serves it; idempotency keys are scoped to it, receipts name it. */
  readonly route: string
  /** It serves upstreams of this format only: nothing is translated. */
  readonly format: Format
  /** Where the upstream has it, after its `base_url`. */
  readonly path: string
  readonly maxAnswerBytes: number
  /** Costs nothing, so nothing is held and there is no receipt. */
  readonly free?: boolean
  /** @throws {BursarError} invalid_request: malformed, or asks for what has no bound; the message says why. */
  plan(model: Model, body: RequestBody): Plan
  /** What an answer says it used; null when it says nothing that can be believed. */
  usageOf(answer: JsonObject): TokenCounts | null
  /** Bytes of its text, about; null when it is no answer of this endpoint. */
  outputBytesOf(answer: JsonObject): number | null
  /** The meter of a streamed answer; null where there are none. */
  meter: ((plan: Plan) => StreamMeter) | null
}

/** A request, checked and bounded, whose output limit is still open. */
export interface Plan {
  readonly stream: boolean
  readonly inputTokens: InputTokens
  /** As asked, at most the model's. Null: there is no output, as of embeddings. */
  readonly output: Fittable | null
  /** Whether the caller wants the last chunk of a stream, the one with the usage. */
  readonly wantsUsage: boolean
  /** Tools that were offered and are not sent, by type. */
  readonly leftOut?: readonly string[]
  /** The request to send. */
  body(limit: number): string
}

export interface InputTokens {
  /** Never less than the request can count. */
  readonly bound: number
  readonly estimate: number
  /** The part of the bound that is not text; null where the body holds data, which no tokeniser counts. */
  readonly besidesText: number | null
}

export interface StreamMeter {
  /** Looks at a frame: pass it on, hide it from a caller that did not ask for it, or the upstream has failed. */
  read(frame: string): 'pass' | 'hide' | 'failed'
  /** What is known so far. */
  state(): StreamState
  /** The event that tells the caller, in its own format, that the answer ends early. */
  failure(error: BursarError): Buffer
}

export interface StreamState {
  /** The upstream said that its answer was whole. */
  readonly complete: boolean
  /** Its final word on what was used. */
  readonly usage: TokenCounts | null
  /** What it reported of the input at the beginning, where it does; without output. */
  readonly input: TokenCounts | null
  readonly outputBytes: number
  /** Of a failure, when it looks like an identifier. */
  readonly code: string | null
  readonly requestId: string | null
}
