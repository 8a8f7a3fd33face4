/** How a call can end, as far as its charge is concerned. */
import type { IncomingHttpHeaders } from 'node:http'
import type { TokenCounts } from '../credits/prices.ts'
import { type Busy, busyOf, errorCode, isWebPage, type JsonObject, requestIdOf } from './answer.ts'
import type { Exchanged, LostReason } from './exchange.ts'

export interface Completion {
  readonly text: string
  readonly finishReason: string
  readonly usage: TokenCounts | null
}

export type Ending =
  /** A chat completion that was read whole. */
  | { readonly kind: 'answered'; readonly completion: Completion; readonly requestId: string | null }
  /** An answer of any other kind, passed on to its end. */
  | {
      readonly kind: 'forwarded'
      /** Null: none that can be believed. */
      readonly usage: TokenCounts | null
      /** Of the text that it gave, UTF-8, about: for an estimate where there is no usage. */
      readonly outputBytes: number
      readonly requestId: string | null
    }
  /** It answered that it did not do it: a status other than 2xx, an error object, a web page. */
  | {
      readonly kind: 'refused'
      readonly status: number
      /** Its machine-readable code, where it is one; its prose is never passed on. */
      readonly code: string | null
      readonly requestId: string | null
      /** It said that it has no room for the call now, so nobody worked on it: another upstream may be asked. */
      readonly busy?: Busy
    }
  /** Not a byte of the request was sent. */
  | { readonly kind: 'unreached'; readonly why: string }
  | {
      readonly kind: 'lost'
      readonly why: LostReason
      /** What it reported before it failed, where it did. */
      readonly usage: TokenCounts | null
      /** What its caller had been given, before the caller went away; absent where the fault was not the caller's. */
      readonly outputBytes?: number
      readonly requestId: string | null
    }

/** Nobody worked on it, that is certain: it was never sent, or the upstream said that it had no room for it. */
export function wasNeverTaken(ending: Ending): boolean {
  return ending.kind === 'unreached' || (ending.kind === 'refused' && ending.busy !== undefined)
}

/** What an upstream says first. */
export interface Head {
  readonly status: number
  readonly headers: IncomingHttpHeaders
}

/** A call that brought no answer of a model has ended so; any other has an answer behind this head. */
export type Heard =
  | { readonly ending: Extract<Ending, { kind: 'unreached' | 'refused' | 'lost' }> }
  | { readonly ending: null; readonly head: Head }

/**
 * Whether an exchange brought anything to read: not if it brought nothing, a part, a status other than 2xx or a web page.
 *
 * @param text of the body, where it is whole; `answer` the same, parsed.
 */
export function heard(
  ended: Exchanged,
  head: Head | undefined,
  text: string,
  answer: JsonObject | null,
): Heard {
  if (ended.kind === 'unreached') return { ending: ended }
  const why = ended.kind === 'lost' ? ended.why : 'disconnect'
  if (!head) return { ending: { kind: 'lost', why, usage: null, requestId: null } }
  const { status, headers } = head
  const requestId = requestIdOf(headers)
  if (status > 299) {
    const busy = busyOf(status, answer, headers)
    const refused = { kind: 'refused', status, code: errorCode(answer), requestId } as const
    return { ending: busy ? { ...refused, busy } : refused }
  }
  if (ended.kind === 'lost') return { ending: { kind: 'lost', why, usage: null, requestId } }
  return isWebPage(headers, text)
    ? { ending: { kind: 'refused', status, code: 'html_answer', requestId } }
    : { ending: null, head }
}
