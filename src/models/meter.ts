/**
 * Counting tokens: how many a request can cost at most, what to assume when nobody counted, and what the upstream
 * says it used.
 */
import type { ChatMessage } from '../bursar.ts'
import type { TokenCounts } from '../credits/prices.ts'
import { invalid } from '../errors.ts'
import { asRecord, type JsonObject } from './answer.ts'

/**
 * What a chat template adds around each message (role, separators, a name) and around the whole request (start, the
 * answer's header, a default system prompt): the largest seen in common open templates, with room to spare.
 */
export const TEMPLATE_TOKENS_PER_MESSAGE = 16
export const TEMPLATE_TOKENS_PER_REQUEST = 128

/** English text in byte-level BPE vocabularies comes near four bytes a token. For estimates, never for bounds. */
const BYTES_PER_TOKEN = 4
export const ESTIMATED_TEMPLATE_TOKENS = 4

/**
 * The most input tokens these messages can be: in byte-level BPE every token covers at least one byte of UTF-8.
 */
export function boundInput(messages: readonly ChatMessage[]): number {
  return textBytes(messages) + templateTokens(messages)
}

/** What the template around these messages counts, at most. */
export function templateTokens(messages: readonly ChatMessage[]): number {
  return messages.length * TEMPLATE_TOKENS_PER_MESSAGE + TEMPLATE_TOKENS_PER_REQUEST
}

/** What these messages are likely to count: charged when a call was sent and its usage never arrived. */
export function estimateInput(messages: readonly ChatMessage[]): number {
  return estimateTokens(textBytes(messages)) + messages.length * ESTIMATED_TEMPLATE_TOKENS
}

export function estimateTokens(bytes: number): number {
  return Math.ceil(bytes / BYTES_PER_TOKEN)
}

/**
 * The output limit to send: what was asked, at most the model's; the model's where nothing was asked, because an
 * unlimited call has no worst case.
 *
 * @throws {BursarError} invalid_request: not a whole number above zero.
 */
export function limitOutput(asked: number | undefined, most: number, name = 'max_tokens'): number {
  if (asked === undefined) return most
  if (!Number.isSafeInteger(asked) || asked < 1) {
    throw invalid(`${name} must be a whole number, 1 or more.`, {
      remedy: `Leave it out, or give 1 to ${most}.`,
    })
  }
  return Math.min(asked, most)
}

/**
 * The usage that a chat completion or an embedding reports; null when it reports none that can be believed. An
 * explicit 0 is 0.
 *
 * `prompt_tokens` includes what a cache read and wrote, `completion_tokens` the reasoning (OpenAI API reference, "The
 * chat completion object"); embeddings have no `completion_tokens`. Some compatible servers (xAI, Gemini) count
 * reasoning beside the completion: their own total tells (CLIProxyAPI#5733, any-llm#1290). DeepSeek
 * (`prompt_cache_hit_tokens`) and Moonshot (`cached_tokens`) have names of their own for what a cache read.
 */
export function readUsage(answer: JsonObject): TokenCounts | null {
  const usage = asRecord(answer['usage'])
  if (!usage) return null
  const { prompt_tokens: input, completion_tokens: output = answer['object'] === 'list' ? 0 : undefined } =
    usage
  const details = asRecord(usage['prompt_tokens_details'])
  const parts = {
    cached: details?.['cached_tokens'] ?? usage['prompt_cache_hit_tokens'] ?? usage['cached_tokens'],
    write: details?.['cache_write_tokens'],
    reasoning: asRecord(usage['completion_tokens_details'])?.['reasoning_tokens'],
  }
  const beside = reasoningBeside(usage, output, parts)
  return beside > 0 && isCount(output)
    ? counted(input, output + beside, { ...parts, reasoning: beside })
    : counted(input, output, parts)
}

/**
 * The reasoning that only the total has: named or not, for Gemini's own endpoint names none. What a cache read or wrote
 * is none, where a server counts that beside the prompt.
 */
function reasoningBeside(
  { prompt_tokens: input, total_tokens: total }: JsonObject,
  output: unknown,
  { cached, write, reasoning }: Parts,
): number {
  if (!isCount(input) || !isCount(output) || !isCount(total)) return 0
  const rest = Math.max(0, total - input - output)
  if (isCount(reasoning) && reasoning > 0) return rest === reasoning ? rest : 0
  const [read, written] = [cached, write].map((part) => (isCount(part) ? part : 0)) as [number, number]
  return [read, written, read + written].includes(rest) ? 0 : rest
}

/** The same of a Response (OpenAI API reference, "The Response object"): other names, the same sums. */
export function readResponseUsage(response: JsonObject): TokenCounts | null {
  const usage = asRecord(response['usage'])
  const details = asRecord(usage?.['input_tokens_details'])
  return (
    usage &&
    counted(usage['input_tokens'], usage['output_tokens'], {
      cached: details?.['cached_tokens'],
      write: details?.['cache_write_tokens'],
      reasoning: asRecord(usage['output_tokens_details'])?.['reasoning_tokens'],
    })
  )
}

/** The same of a Message. */
export function readMessageUsage(message: JsonObject): TokenCounts | null {
  const usage = asRecord(message['usage'])
  return usage && messageCounts(usage)
}

/**
 * Usage as Anthropic counts it (API reference, "Usage"): `input_tokens` is only what no cache read or wrote, and
 * `cache_creation` says how long the written part is kept.
 */
export function messageCounts(usage: JsonObject): TokenCounts | null {
  const { input_tokens: plain, output_tokens: output } = usage
  const cached = usage['cache_read_input_tokens'] ?? 0
  const written = usage['cache_creation_input_tokens'] ?? 0
  const write1h = asRecord(usage['cache_creation'])?.['ephemeral_1h_input_tokens'] ?? 0
  if (!isCount(plain) || !isCount(cached) || !isCount(written) || !isCount(write1h)) return null
  const hour = Math.min(write1h, written)
  return counted(plain + cached + written, output, {
    cached,
    write: written - hour,
    write1h: hour,
    reasoning: asRecord(usage['output_tokens_details'])?.['thinking_tokens'],
  })
}

interface Parts {
  readonly cached?: unknown
  readonly write?: unknown
  readonly write1h?: number
  readonly reasoning?: unknown
}

/** A part that is larger than its whole is not believed: it would make a discount of a lie. */
function counted(input: unknown, output: unknown, parts: Parts): TokenCounts | null {
  if (!isCount(input) || !isCount(output)) return null
  const { cached, write, write1h = 0, reasoning } = parts
  const read = isPart(cached, input) ? cached : 0
  return {
    inputTokens: input,
    outputTokens: output,
    ...(read > 0 ? { cachedInputTokens: read } : {}),
    ...(isPart(write, input - read) ? { cacheWriteTokens: write } : {}),
    ...(write1h > 0 ? { cacheWrite1hTokens: write1h } : {}),
    ...(isPart(reasoning, output) ? { reasoningTokens: reasoning } : {}),
  }
}

function isPart(value: unknown, whole: number): value is number {
  return isCount(value) && value > 0 && value <= whole
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function textBytes(messages: readonly ChatMessage[]): number {
  let bytes = 0
  for (const { content } of messages) bytes += Buffer.byteLength(content, 'utf8')
  return bytes
}
