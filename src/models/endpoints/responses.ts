/** `POST /v1/responses` (OpenAI API reference, "Responses"), without what the upstream would have to keep. */
import type { TokenCounts } from '../../credits/prices.ts'
import { invalid } from '../../errors.ts'
import { asRecord, errorCode, isError, type JsonObject, parseObject, plainId } from '../answer.ts'
import type { RequestBody } from '../body.ts'
import type { Model } from '../catalogue.ts'
import { dataOf, frameOf, MAY_BE_ERROR, textBytes } from '../frames.ts'
import { readResponseUsage } from '../meter.ts'
import {
  askedParts,
  countFile,
  countImage,
  deeper,
  emptyTally,
  inputTokens,
  list,
  partsOf,
  refuseHiddenMedia,
  refuseMedia,
  refuseStored,
  sizeOf,
  type Tally,
} from './content.ts'
import type { Endpoint, Plan, StreamMeter } from './endpoint.ts'
import { askedLimit, streamOf } from './limits.ts'
import { hostedTool, notSold, RESPONSES_RULES, refuseUnbounded } from './refusals.ts'
import { openaiError } from './wire-errors.ts'

/** The API refuses less. */
const LEAST_OUTPUT = 16

export const responses: Endpoint = {
  route: '/v1/responses',
  format: 'openai',
  path: '/responses',
  maxAnswerBytes: 32 * 1024 * 1024,
  plan,
  usageOf: readResponseUsage,
  outputBytesOf: (answer) => (Array.isArray(answer['output']) ? bytesOf(answer['output']) : null),
  meter,
}

function plan(model: Model, body: RequestBody): Plan {
  const { fields } = body
  refuseUnbounded(fields, RESPONSES_RULES)
  const limit = askedLimit(fields, ['max_output_tokens'], model.maxOutputTokens)
  const offered = list(fields['tools'])
  const kept = body.elements('tools').filter((_, i) => !isIdleSearch(fields, asRecord(offered[i])))
  const leavesOut = kept.length < offered.length
  return {
    ...(leavesOut ? { leftOut: ['web_search'] } : {}),
    stream: streamOf(fields),
    inputTokens: inputTokens(model, body.bytes, tallyOf(fields)),
    output: { limit, choices: 1, least: Math.min(limit, LEAST_OUTPUT) },
    wantsUsage: true,
    body: (tokens) =>
      body.with({
        model: JSON.stringify(model.upstreamModel),
        max_output_tokens: String(tokens),
        ...(leavesOut ? { tools: `[${kept.join(',')}]` } : {}),
        // Kept by default, otherwise, where the seller's other buyers might read it.
        store: 'false',
      }),
  }
}

function tallyOf(fields: JsonObject): Tally {
  const tally = emptyTally()
  const { input } = fields
  if (typeof input !== 'string' && !Array.isArray(input)) throw invalid('input must be a text or a list.')
  tally.messages += 1
  for (const item of askedParts(input)) countItem(tally, item)
  for (const tool of askedParts(fields['tools'])) if (!isIdleSearch(fields, tool)) countTool(tally, tool)
  return tally
}

/**
 * Codex offers a search of what the upstream has cached, beside its own tools and unasked. It cannot be sold, and
 * nobody misses it: it is left out, and a header says so. A search that somebody asked for is refused.
 */
function isIdleSearch({ tools, tool_choice: choice = 'auto' }: JsonObject, tool: JsonObject | null): boolean {
  const { type, external_web_access: live } = tool ?? {}
  const others = partsOf(tools).some((one) => one['type'] !== 'web_search')
  return type === 'web_search' && live === false && choice === 'auto' && others
}

function countItem(tally: Tally, item: JsonObject): void {
  const { type } = item
  tally.messages += 1
  if (type === 'item_reference') {
    throw notSold('item_reference', 'it reads what the upstream keeps', 'Send the item itself.')
  }
  if (type === 'image_generation_call') {
    countFile(tally, item['result'])
    return
  }
  for (const part of askedParts(item['content'])) countPart(tally, part)
  const { output } = item
  for (const part of Array.isArray(output) ? askedParts(output) : askedParts([output])) countPart(tally, part)
}

const IMAGE = ['image_url', 'file_id']
const FILE = ['file_id', 'file_data', 'file_url', 'filename']

function countPart(tally: Tally, part: JsonObject): void {
  const { type } = part
  const isImage = type === 'input_image' || type === 'computer_screenshot'
  refuseHiddenMedia(part, isImage ? IMAGE : type === 'input_file' ? FILE : [])
  if (isImage) {
    refuseStored(part['file_id'])
    countImage(tally, part['image_url'])
  } else if (type === 'input_file') {
    refuseStored(part['file_id'])
    countFile(tally, part['file_data'])
  } else {
    refuseMedia(type)
  }
}

const CLIENT_TOOLS = ['function', 'custom', 'local_shell', 'apply_patch', 'computer', 'computer_use_preview']

/** Tools that the client runs; a namespace holds others. */
function countTool(tally: Tally, tool: JsonObject, depth = 0): void {
  const { type } = tool
  if (type === 'namespace') {
    tally.tools += 1
    for (const inner of askedParts(tool['tools'])) countTool(tally, inner, deeper(depth))
  } else if (typeof type === 'string' && CLIENT_TOOLS.includes(type)) {
    if (type === 'function' || type === 'custom') tally.tools += 1
    else tally.builtIns += 1
  } else if (isClientRun(tool)) {
    tally.builtIns += 1
  } else {
    throw hostedTool(type)
  }
}

/** A search of tools, or a shell, runs here or there, as the tool itself says. */
function isClientRun({ type, execution, environment }: JsonObject): boolean {
  if (type === 'tool_search') return execution === 'client'
  return type === 'shell' && asRecord(environment)?.['type'] === 'local'
}

function bytesOf(output: readonly unknown[]): number {
  let bytes = 0
  for (const item of partsOf(output)) {
    const texts = [item['arguments'], item['input'], ...partsOf(item['content']).map((part) => part['text'])]
    for (const text of texts) if (typeof text === 'string') bytes += Buffer.byteLength(text)
    bytes += list(item['summary']).length > 0 ? sizeOf(item['summary']) : 0
  }
  return bytes
}

const FINAL = /"type"\s*:\s*"response\.(?:completed|incomplete|failed)"/

/** The last event holds the whole response, with its usage. */
function meter(): StreamMeter {
  let complete = false
  let usage: TokenCounts | null = null
  let outputBytes = 0
  let code: string | null = null
  let requestId: string | null = null
  let events = 0
  return {
    read(frame) {
      events += 1
      requestId ??= plainId(/"id"\s*:\s*"(resp_[^"\\]+)"/.exec(frame)?.[1])
      const final = FINAL.test(frame)
      if (final || MAY_BE_ERROR.test(frame)) {
        const event = parseObject(dataOf(frame))
        const response = asRecord(event?.['response'])
        usage = (response && readResponseUsage(response)) ?? usage
        if (event && (isError(event) || event['type'] === 'response.failed')) {
          code = errorCode(response ?? { error: asRecord(event['error']) ?? event })
          return 'failed'
        }
        complete ||= final && response !== null
      }
      outputBytes += final ? 0 : textBytes(frame, ['"delta":'])
      return 'pass'
    },
    state: () => ({ complete, usage, input: null, outputBytes, code, requestId }),
    failure(error) {
      const { message, code: failed } = openaiError(error).error
      const response = {
        id: requestId ?? 'resp_failed',
        object: 'response',
        created_at: 0,
        status: 'failed',
        error: { code: failed, message },
        incomplete_details: null,
        output: [],
        usage: null,
      }
      return frameOf({ type: 'response.failed', sequence_number: events, response }, 'response.failed')
    },
  }
}
