/** One completion from an upstream of either format, read whole: what `call_model` asks for. */
import type { IncomingHttpHeaders } from 'node:http'
import type { TokenCounts } from '../credits/prices.ts'
import type { Runtime } from '../runtime.ts'
import {
  busyOf,
  collector,
  errorCode,
  isError,
  isWebPage,
  type JsonObject,
  parseObject,
  plainId,
  requestIdOf,
} from './answer.ts'
import type { Upstream } from './catalogue.ts'
import { ANTHROPIC_VERSION, CHAT_PATH, MESSAGES_PATH, readCompletion, readMessage } from './chat.ts'
import type { Completion, Ending } from './ending.ts'
import { type Exchange, exchange, type UpstreamRequest } from './exchange.ts'
import { readMessageUsage, readUsage } from './meter.ts'

// The word for a call's end, for those who know only this file.
export type { Ending } from './ending.ts'

/** How a call of `call_model` ends. */
export type ChatEnding = Exclude<Ending, { kind: 'forwarded' }>

/** Far above any text answer; more is a broken or hostile upstream. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024

interface Head {
  readonly status: number
  readonly headers: IncomingHttpHeaders
}

/** How an upstream of each format is asked, and answers. */
interface Wire {
  readonly request: Pick<UpstreamRequest, 'path' | 'headers'>
  readonly readAnswer: (answer: JsonObject) => Completion | null
  readonly readUsage: (answer: JsonObject) => TokenCounts | null
}

const WIRES: Readonly<Record<Upstream['format'], Wire>> = {
  openai: { request: { path: CHAT_PATH }, readAnswer: readCompletion, readUsage },
  anthropic: {
    request: { path: MESSAGES_PATH, headers: ANTHROPIC_VERSION },
    readAnswer: readMessage,
    readUsage: readMessageUsage,
  },
}

/** Sends a chat completion and reads the whole answer, within the upstream's `timeout_ms` at most. Never rejects. */
export async function completeChat(
  runtime: Runtime,
  upstream: Upstream,
  body: string,
  deadlineMs = upstream.timeout_ms,
): Promise<ChatEnding> {
  const wire = WIRES[upstream.format]
  const answer = collector(MAX_ANSWER_BYTES)
  let head: Head | undefined
  const running: Exchange = exchange(
    runtime,
    upstream,
    { ...wire.request, body, deadlineMs },
    {
      head: (status, headers) => (head = { status, headers }),
      data(chunk) {
        if (!answer.add(chunk)) running.abort('answer_too_large')
        return true
      },
    },
  )
  const ended = await running.ended
  if (ended.kind === 'unreached') return ended
  if (!head) {
    const why = ended.kind === 'lost' ? ended.why : 'disconnect'
    return { kind: 'lost', why, usage: null, requestId: null }
  }
  const { status, headers } = head
  const requestId = requestIdOf(headers)
  if (status > 299) {
    const said = ended.kind === 'complete' ? parseObject(answer.bytes().toString('utf8')) : null
    const busy = busyOf(status, said, headers)
    return { kind: 'refused', status, code: errorCode(said), requestId, ...(busy ? { busy } : {}) }
  }
  if (ended.kind === 'lost') return { kind: 'lost', why: ended.why, usage: null, requestId }
  return endingOf(wire, { status, headers }, answer.bytes().toString('utf8'), requestId)
}

function endingOf(wire: Wire, { status, headers }: Head, text: string, requestId: string | null): ChatEnding {
  if (isWebPage(headers, text)) return { kind: 'refused', status, code: 'html_answer', requestId }
  const answer = parseObject(text)
  if (!answer) return { kind: 'lost', why: 'invalid_answer', usage: null, requestId }
  const id = requestId ?? plainId(answer['id'])
  const completion = wire.readAnswer(answer)
  if (completion) return { kind: 'answered', completion, requestId: id }
  const usage = wire.readUsage(answer)
  if (isError(answer) && !usage) {
    return { kind: 'refused', status, code: errorCode(answer), requestId: id }
  }
  return { kind: 'lost', why: 'invalid_answer', usage, requestId: id }
}
