/**
 * What `call_model` puts on the wire, in the upstream's format: a request from its input, and an answer read with
 * care, because "OpenAI-compatible" means many things (OpenAI API reference, "Chat Completions").
 */
import { createHash } from 'node:crypto'
import type { CallModel, ChatMessage } from '../bursar.ts'
import type { TokenCounts } from '../credits/prices.ts'
import { BursarError, invalid } from '../errors.ts'
import { asRecord, type JsonObject } from './answer.ts'
import type { Model } from './catalogue.ts'
import type { Completion } from './ending.ts'
import { boundInput, estimateInput, limitOutput, readMessageUsage, readUsage } from './meter.ts'

export const CHAT_PATH = '/chat/completions'
export const MESSAGES_PATH = '/messages'
export const ANTHROPIC_VERSION = { 'anthropic-version': '2023-06-01' }

/** More is a mistake or an attack: the largest contexts on sale are about 2 million tokens. */
const MAX_REQUEST_BYTES = 8 * 1024 * 1024
const MAX_KEY_LENGTH = 255
const ROLES: readonly string[] = ['system', 'user', 'assistant']

/** A request ready to send, and what it can and will probably use. */
export interface ChatRequest {
  /** JSON, with this limit of its output. */
  body(maxTokens: number): string
  readonly bounds: TokenCounts
  /** Its input alone, estimated: what a call that was sent and never answered is charged for. */
  readonly knownInput: TokenCounts
}

/** @throws {BursarError} invalid_request, payload_too_large */
export function chatRequest(model: Model, input: CallModel): ChatRequest {
  checkMessages(input.messages)
  const { temperature } = input
  if (temperature !== undefined && !(temperature >= 0 && temperature <= 2)) {
    throw invalid('temperature must be a number from 0 to 2.')
  }
  const maxTokens = limitOutput(input.max_tokens, model.maxOutputTokens)
  const bodyWith = (tokens: number) =>
    JSON.stringify({
      ...(model.upstream.format === 'anthropic'
        ? conversation(input.messages, tokens)
        : {
            messages: input.messages.map(({ role, content }) => ({ role, content })),
            [model.tokenLimitField]: tokens,
          }),
      model: model.upstreamModel,
      ...(temperature === undefined ? {} : { temperature }),
    })
  const asked = bodyWith(maxTokens)
  if (Buffer.byteLength(asked) > MAX_REQUEST_BYTES) {
    throw new BursarError('payload_too_large', 'The messages are larger than 8 MiB.', {
      remedy: 'Send less text.',
    })
  }
  return {
    body: (tokens) => (tokens === maxTokens ? asked : bodyWith(tokens)),
    bounds: { inputTokens: boundInput(input.messages), outputTokens: maxTokens },
    knownInput: { inputTokens: estimateInput(input.messages), outputTokens: 0 },
  }
}

/** As Anthropic takes it: what the system says stands apart (Anthropic API reference, "Messages"). */
function conversation(messages: readonly ChatMessage[], maxTokens: number): object {
  const system = messages.filter(({ role }) => role === 'system').map(({ content }) => content)
  return {
    ...(system.length > 0 ? { system: system.join('\n\n') } : {}),
    messages: messages
      .filter(({ role }) => role !== 'system')
      .map(({ role, content }) => ({ role, content })),
    max_tokens: maxTokens,
  }
}

/** A hash of everything that makes two calls the same call; the idempotency key itself is not part of it. */
export function requestHash({
  model,
  messages,
  max_tokens,
  temperature,
  bursar_fit: fit,
}: CallModel): string {
  const canonical = [
    model,
    messages.map(({ role, content }) => [role, content]),
    max_tokens ?? null,
    temperature ?? null,
    ...(fit === undefined ? [] : [fit]),
  ]
  return createHash('sha256').update(JSON.stringify(canonical)).digest('hex')
}

/** @throws {BursarError} invalid_request: an empty or overlong key, or one with control characters. */
export function checkIdempotencyKey(key: string): string {
  if (key.length >= 1 && key.length <= MAX_KEY_LENGTH && /^[\x20-\x7e]+$/.test(key)) return key
  throw invalid(`An idempotency key is 1 to ${MAX_KEY_LENGTH} printable ASCII characters.`, {
    remedy: 'Use a random one, such as a UUID.',
  })
}

/** Reads a message of Anthropic's format; null when it is none. */
export function readMessage(answer: JsonObject): Completion | null {
  const { content, stop_reason: reason } = answer
  if (!Array.isArray(content)) return null
  return {
    text: textOf(content) ?? '',
    finishReason: finishReasonOf(reason),
    usage: readMessageUsage(answer),
  }
}

/** Reads an answer; null when it is no completion, whatever its status said. */
export function readCompletion(answer: JsonObject): Completion | null {
  const choice = asRecord(Array.isArray(answer.choices) ? answer.choices[0] : null)
  const message = asRecord(choice?.message)
  if (!choice || !message) return null
  // A model that spent its whole limit on reasoning sends null.
  const text = textOf(message.content) ?? textOf(message.refusal) ?? ''
  return { text, finishReason: finishReasonOf(choice['finish_reason']), usage: readUsage(answer) }
}

function finishReasonOf(reason: unknown): string {
  return typeof reason === 'string' && /^[a-z_]{1,40}$/.test(reason) ? reason : 'unknown'
}

/** Plain text, or the text parts of a list. */
function textOf(content: unknown): string | null {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return null
  const texts = content.map((part) => asRecord(part)?.text)
  return texts.filter((text) => typeof text === 'string').join('')
}

function checkMessages(messages: readonly ChatMessage[]): void {
  if (messages.length === 0) throw invalid('messages must hold at least one message.')
  for (const { role, content } of messages) {
    if (!ROLES.includes(role)) throw invalid('Each message has the role system, user or assistant.')
    if (typeof content !== 'string') throw invalid('Each message has a text as its content.')
  }
}
