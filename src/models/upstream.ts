/** One completion from an upstream of either format, read whole: what `call_model` asks for. */
import type { TokenCounts } from '../credits/prices.ts'
import type { Runtime } from '../runtime.ts'
import {
  collector,
  errorCode,
  isError,
  type JsonObject,
  parseObject,
  plainId,
  requestIdOf,
} from './answer.ts'
import type { Upstream } from './catalogue.ts'
import { ANTHROPIC_VERSION, CHAT_PATH, MESSAGES_PATH, readCompletion, readMessage } from './chat.ts'
import { type Completion, type Ending, type Head, heard } from './ending.ts'
import { type Exchange, exchange, type UpstreamRequest } from './exchange.ts'
import { readMessageUsage, readUsage } from './meter.ts'

/** How a call of `call_model` ends. */
export type ChatEnding = Exclude<Ending, { kind: 'forwarded' }>

/** Far above any text answer; more is a broken or hostile upstream. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024

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

/** Sends a chat completion and reads the whole answer. Never rejects. */
export async function completeChat(
  runtime: Runtime,
  upstream: Upstream,
  body: string,
  deadlineMs: number,
): Promise<ChatEnding> {
  const wire = WIRES[upstream.format]
  const whole = collector(MAX_ANSWER_BYTES)
  let head: Head | undefined
  const running: Exchange = exchange(
    runtime,
    upstream,
    { ...wire.request, body, deadlineMs },
    {
      head: (status, headers) => (head = { status, headers }),
      data(chunk) {
        if (!whole.add(chunk)) running.abort('answer_too_large')
        return true
      },
    },
  )
  const ended = await running.ended
  const text = ended.kind === 'complete' ? whole.bytes().toString('utf8') : ''
  const answer = parseObject(text)
  const read = heard(ended, head, text, answer)
  return read.ending ?? endingOf(wire, read.head, answer)
}

function endingOf(wire: Wire, { status, headers }: Head, answer: JsonObject | null): ChatEnding {
  const requestId = requestIdOf(headers)
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
