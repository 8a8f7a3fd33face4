/** `POST /v1/chat/completions` (OpenAI API reference, "Chat Completions"), for every server that speaks it. */
import type { TokenCounts } from '../../credits/prices.ts'
import { asRecord, errorCode, isError, type JsonObject, parseObject, plainId } from '../answer.ts'
import type { RequestBody } from '../body.ts'
import type { Model } from '../catalogue.ts'
import { CHAT_PATH } from '../chat.ts'
import { dataOf, frameOf, MAY_BE_ERROR, textBytes } from '../frames.ts'
import { readUsage } from '../meter.ts'
import {
  askedParts,
  countFile,
  countImage,
  emptyTally,
  inputTokens,
  list,
  partsOf,
  refuseHiddenMedia,
  refuseMedia,
  refuseStored,
  requireList,
  sizeOf,
  type Tally,
} from './content.ts'
import type { Endpoint, Plan, StreamMeter } from './endpoint.ts'
import { refuseHourlyCache } from './hourly.ts'
import { askedLimit, choicesOf, streamOf } from './limits.ts'
import { CHAT_RULES, hostedTool, notSold, refuseUnbounded } from './refusals.ts'
import { openaiError } from './wire-errors.ts'

const LIMITS = ['max_tokens', 'max_completion_tokens'] as const

export const chatCompletions: Endpoint = {
  route: '/v1/chat/completions',
  format: 'openai',
  path: CHAT_PATH,
  maxAnswerBytes: 32 * 1024 * 1024,
  plan,
  usageOf: readUsage,
  outputBytesOf(answer) {
    const choices = list(answer['choices'])
    return asRecord(asRecord(choices[0])?.['message']) && bytesOf(choices)
  },
  meter: ({ wantsUsage, output }) => meter(wantsUsage, output?.choices ?? 1),
}

function plan(model: Model, body: RequestBody): Plan {
  const { fields } = body
  refuseUnbounded(fields, CHAT_RULES)
  refuseHourlyCache(model, fields)
  const stream = streamOf(fields)
  const options = asRecord(fields['stream_options'])
  const limit = askedLimit(fields, LIMITS, model.maxOutputTokens)
  return {
    stream,
    inputTokens: inputTokens(model, body.bytes, tallyOf(fields)),
    output: { limit, choices: choicesOf(fields), least: 1 },
    wantsUsage: options?.['include_usage'] === true,
    body: (tokens) =>
      body.with({
        model: JSON.stringify(model.upstreamModel),
        // Only the name that this upstream knows: one that it ignored would be no limit.
        max_tokens: null,
        max_completion_tokens: null,
        [model.tokenLimitField]: String(tokens),
        ...(stream ? { stream_options: JSON.stringify({ ...options, include_usage: true }) } : {}),
      }),
  }
}

function tallyOf(fields: JsonObject): Tally {
  const tally = emptyTally()
  for (const message of askedParts(requireList(fields['messages'], 'messages'))) {
    tally.messages += 1
    if (asRecord(message['audio'])) throw notSold('audio', 'a stored answer is state of the seller')
    for (const part of askedParts(message['content'])) countPart(tally, part)
  }
  for (const tool of askedParts(fields['tools'])) {
    const { type } = tool
    if (type !== undefined && type !== 'function' && type !== 'custom') throw hostedTool(type)
    tally.tools += 1
  }
  tally.tools += list(fields['functions']).length
  return tally
}

function countPart(tally: Tally, part: JsonObject): void {
  const { type } = part
  refuseHiddenMedia(part, type === 'image_url' || type === 'file' ? [type] : [])
  if (type === 'image_url') {
    const image = part['image_url']
    countImage(tally, typeof image === 'string' ? image : asRecord(image)?.['url'])
  } else if (type === 'file') {
    const file = asRecord(part['file'])
    refuseStored(file?.['file_id'])
    countFile(tally, file?.['file_data'])
  } else if (type !== 'text') {
    refuseMedia(type)
  }
}

function bytesOf(choices: readonly unknown[]): number {
  let bytes = 0
  for (const choice of partsOf(choices)) {
    const message = asRecord(choice['message'])
    // Keys and punctuation of tool calls count a little too much, for lack of a better estimate.
    for (const name of ['content', 'reasoning_content', 'reasoning', 'refusal', 'tool_calls']) {
      bytes += sizeOf(message?.[name])
    }
  }
  return bytes
}

const TEXTS = ['"content":', '"reasoning_content":', '"reasoning":', '"refusal":', '"arguments":']

function meter(wantsUsage: boolean, choices: number): StreamMeter {
  let complete = false
  const finished = new Set<unknown>()
  let usage: TokenCounts | null = null
  let outputBytes = 0
  let code: string | null = null
  let requestId: string | null = null
  return {
    read(frame) {
      requestId ??= plainId(/"id"\s*:\s*"([^"\\]+)"/.exec(frame)?.[1])
      if (/"usage"\s*:\s*\{/.test(frame) || MAY_BE_ERROR.test(frame)) {
        const chunk = parseObject(dataOf(frame))
        if (chunk && isError(chunk)) {
          code = errorCode(chunk)
          return 'failed'
        }
        usage = (chunk && readUsage(chunk)) ?? usage
        const given = chunk?.['choices']
        // Also with a usage that nobody can believe: it is there because it was asked for here.
        if (asRecord(chunk?.['usage']) && Array.isArray(given) && given.length === 0) {
          // It comes after everything else; a server may have made fewer choices than it was asked for.
          complete ||= finished.size > 0
          return wantsUsage ? 'pass' : 'hide'
        }
      }
      outputBytes += textBytes(frame, TEXTS)
      // Some servers never send [DONE]; all of them say why they stopped.
      if (/"finish_reason"\s*:\s*"/.test(frame)) {
        if (choices > 1) for (const index of finishedIn(frame)) finished.add(index)
        complete ||= choices === 1 || finished.size >= choices
      } else complete ||= dataOf(frame) === '[DONE]'
      return 'pass'
    },
    state: () => ({ complete, usage, input: null, outputBytes, code, requestId }),
    failure: (error) => frameOf(openaiError(error)),
  }
}

/** Which of several choices end in a chunk. */
function finishedIn(frame: string): unknown[] {
  return partsOf(parseObject(dataOf(frame))?.['choices'])
    .filter((choice) => typeof choice['finish_reason'] === 'string')
    .map((choice) => choice['index'])
}
