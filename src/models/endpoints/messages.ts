/** `POST /v1/messages` and `/v1/messages/count_tokens` (Anthropic API reference, "Messages"). */
import type { TokenCounts } from '../../credits/prices.ts'
import { invalid } from '../../errors.ts'
import { asRecord, errorCode, isError, type JsonObject, parseObject, plainId } from '../answer.ts'
import type { RequestBody } from '../body.ts'
import type { Model } from '../catalogue.ts'
import { MESSAGES_PATH } from '../chat.ts'
import { dataOf, frameOf, MAY_BE_ERROR, textBytes } from '../frames.ts'
import { messageCounts, readMessageUsage } from '../meter.ts'
import {
  askedParts,
  countFile,
  countImage,
  deeper,
  emptyTally,
  inputTokens,
  partsOf,
  refuseMedia,
  refuseStored,
  requireList,
  sizeOf,
  type Tally,
} from './content.ts'
import type { Endpoint, Plan, StreamMeter } from './endpoint.ts'
import { askedLimit, streamOf } from './limits.ts'
import { hostedTool, MESSAGES_RULES, refuseUnbounded } from './refusals.ts'
import { anthropicError } from './wire-errors.ts'

const MAX_ANSWER_BYTES = 32 * 1024 * 1024

export const messages: Endpoint = {
  route: '/v1/messages',
  format: 'anthropic',
  path: MESSAGES_PATH,
  maxAnswerBytes: MAX_ANSWER_BYTES,
  plan,
  usageOf: readMessageUsage,
  outputBytesOf: (answer) => (Array.isArray(answer['content']) ? bytesOf(answer['content']) : null),
  meter,
}

/** Costs nothing at the upstream, and so nothing here; it reads what a message would read, and no more. */
export const countTokens: Endpoint = {
  ...messages,
  route: '/v1/messages/count_tokens',
  path: `${MESSAGES_PATH}/count_tokens`,
  free: true,
  plan(model, body) {
    const { inputTokens: input } = plan(model, body)
    return {
      stream: false,
      inputTokens: input,
      output: null,
      wantsUsage: false,
      body: () => body.with({ model: JSON.stringify(model.upstreamModel) }),
    }
  },
  outputBytesOf: (answer) => (typeof answer['input_tokens'] === 'number' ? 0 : null),
  meter: null,
}

function plan(model: Model, body: RequestBody): Plan {
  const { fields } = body
  refuseUnbounded(fields, MESSAGES_RULES)
  const limit = askedLimit(fields, ['max_tokens'], model.maxOutputTokens)
  return {
    stream: streamOf(fields),
    inputTokens: inputTokens(model, body.bytes, tallyOf(fields)),
    output: { limit, choices: 1, least: leastOutput(fields, limit) },
    wantsUsage: true,
    body: (tokens) => body.with({ model: JSON.stringify(model.upstreamModel), max_tokens: String(tokens) }),
  }
}

/** The upstream refuses a limit that leaves nothing beside the budget for thinking. */
function leastOutput(fields: JsonObject, limit: number): number {
  const budget = asRecord(fields['thinking'])?.['budget_tokens']
  if (typeof budget !== 'number') return 1
  if (budget < limit) return Math.max(1, budget + 1)
  throw invalid(`thinking.budget_tokens must be below the output limit, which is ${limit} tokens here.`, {
    remedy: 'Ask for less thinking, or for more max_tokens where the model has them.',
    details: { max_output_tokens: limit },
  })
}

function tallyOf(fields: JsonObject): Tally {
  const tally = emptyTally()
  for (const message of askedParts(requireList(fields['messages'], 'messages'))) {
    tally.messages += 1
    for (const block of askedParts(message['content'])) countBlock(tally, block)
  }
  for (const tool of askedParts(fields['tools'])) countTool(tally, tool)
  return tally
}

function countBlock(tally: Tally, block: JsonObject, depth = 0): void {
  const { type } = block
  if (type === 'image' || type === 'document') {
    const source = asRecord(block['source'])
    refuseStored(source?.['type'] === 'file' ? (source['file_id'] ?? '') : source?.['file_id'])
    if (type === 'image') countImageSource(tally, source)
    else countDocument(tally, source, depth)
  } else if (type === 'tool_result') {
    for (const inner of askedParts(block['content'])) countBlock(tally, inner, deeper(depth))
  } else if (type !== 'text' && type !== 'tool_use') {
    refuseMedia(type)
  }
}

function countImageSource(tally: Tally, source: JsonObject | null): void {
  const data = source?.['data']
  countImage(tally, source?.['url'])
  if (source?.['type'] === 'base64' && typeof data === 'string') tally.dataBytes += data.length
}

/** Plain text and blocks are in the body, and count as their bytes. */
function countDocument(tally: Tally, source: JsonObject | null, depth: number): void {
  if (source?.['type'] === 'text') return
  if (source?.['type'] === 'content') {
    for (const inner of askedParts(source['content'])) countBlock(tally, inner, deeper(depth))
    return
  }
  countFile(tally, source?.['data'])
}

/** Tools that the client runs. Those of other types run at the upstream, in a loop that bills its input each time. */
function countTool(tally: Tally, { type }: JsonObject): void {
  if (type === undefined || type === null || type === 'custom') tally.tools += 1
  else if (typeof type === 'string' && /^(?:bash|text_editor|computer|memory)_\d+$/.test(type))
    tally.builtIns += 1
  else throw hostedTool(type)
}

function bytesOf(content: readonly unknown[]): number {
  let bytes = 0
  for (const block of partsOf(content)) {
    for (const name of ['text', 'thinking', 'input'] as const) {
      bytes += sizeOf(block[name])
    }
  }
  return bytes
}

const TEXTS = ['"text":', '"thinking":', '"partial_json":']

/** `message_start` reports the input, `message_delta` the whole, `message_stop` ends it. */
function meter(): StreamMeter {
  let complete = false
  let start: JsonObject | null = null
  let usage: TokenCounts | null = null
  let outputBytes = 0
  let code: string | null = null
  let requestId: string | null = null

  function readEvent(event: JsonObject): void {
    const { type } = event
    if (type === 'message_start') {
      const message = asRecord(event['message'])
      requestId = plainId(message?.['id'])
      start = asRecord(message?.['usage'])
    } else if (type === 'message_delta') {
      // Cumulative; what it leaves out stands as it was.
      const delta = asRecord(event['usage'])
      usage = (delta && messageCounts({ ...start, ...known(delta) })) ?? usage
    } else if (type === 'message_stop') {
      complete = true
    }
  }

  return {
    read(frame) {
      if (/"usage"\s*:\s*\{/.test(frame) || MAY_BE_ERROR.test(frame)) {
        const event = parseObject(dataOf(frame))
        if (event && isError(event)) {
          code = errorCode(event)
          return 'failed'
        }
        if (event) readEvent(event)
      } else {
        outputBytes += textBytes(frame, TEXTS)
        complete ||= /"type"\s*:\s*"message_stop"/.test(frame)
      }
      return 'pass'
    },
    state: () => ({
      complete,
      usage,
      input: start && messageCounts({ ...start, output_tokens: 0 }),
      outputBytes,
      code,
      requestId,
    }),
    failure: (error) => frameOf(anthropicError(error), 'error'),
  }
}

function known(usage: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(usage).filter(([, value]) => value !== null))
}
