/**
 * What cannot be sold: parameters that make an upstream keep state, read state that it keeps for the seller (which
 * may be another buyer's), run tools whose cost nobody bounds, or charge at another price than the model's.
 */
import { type BursarError, invalid } from '../../errors.ts'
import type { JsonObject } from '../answer.ts'

/** Why a value of a member is refused, as the end of "X is not sold here: ..."; null when it is fine. */
export type Rule = (value: unknown) => string | null

/** Null and false are the ways to ask for nothing. */
const never =
  (why: string): Rule =>
  (value) =>
    value === null || value === false || (Array.isArray(value) && value.length === 0) ? null : why

const onlyOneOf =
  (allowed: readonly string[], why: string): Rule =>
  (value) =>
    value === null || (typeof value === 'string' && allowed.includes(value)) ? null : why

const ELSEWHERE = 'it lets the request choose another model, or another price, than the one that is paid for'
const STATE = 'the upstream would keep the answer, or read what it keeps'

const SEARCH = 'a search runs at the upstream, at a cost that has no bound'
const LIMIT = 'some servers take it for a limit, before the one that is checked'

/**
 * Of servers and gateways that speak the OpenAI format (OpenRouter, LiteLLM, vLLM, llama.cpp, xAI, Qwen, Gemini): ways
 * past the model, or past the bounds, that are paid for.
 */
const GATEWAYS: Readonly<Record<string, Rule>> = {
  models: never(ELSEWHERE),
  route: never(ELSEWHERE),
  provider: never(ELSEWHERE),
  preset: never(ELSEWHERE),
  fallbacks: never(ELSEWHERE),
  api_base: never(ELSEWHERE),
  base_url: never(ELSEWHERE),
  api_key: never(ELSEWHERE),
  plugins: never('plugins run at the upstream, at a cost that has no bound'),
  search_parameters: never(SEARCH),
  enable_search: never(SEARCH),
  deferred: never(STATE),
  n_predict: never(LIMIT),
  n_cmpl: never(LIMIT),
  chat_template: never('a template can repeat the input beyond its bytes'),
  mm_processor_kwargs: never('it can make an image count more than its cap'),
  extra_body: never('what it hands on to others cannot be checked'),
  best_of: (value) =>
    value === null || value === 1 ? null : 'it makes answers that nobody sees, and bills them',
}

const OPENAI_TIER = onlyOneOf(
  ['auto', 'default', 'flex'],
  'other service tiers cost more than the price says',
)

export const CHAT_RULES: Readonly<Record<string, Rule>> = {
  ...GATEWAYS,
  store: never(STATE),
  service_tier: OPENAI_TIER,
  web_search_options: never(SEARCH),
  audio: never('audio has no price here'),
  modalities: (value) =>
    value === null || (Array.isArray(value) && value.every((one) => one === 'text'))
      ? null
      : 'only text has a price here',
  prediction: never('rejected predicted tokens are billed beyond the output limit'),
}

export const RESPONSES_RULES: Readonly<Record<string, Rule>> = {
  ...GATEWAYS,
  store: never(STATE),
  background: never(STATE),
  previous_response_id: never(STATE),
  conversation: never(STATE),
  prompt: never('a stored prompt is state of the seller, of unknown length'),
  context_management: never('a compaction at the upstream bills a request of its own'),
  previous_input_messages: never('some servers read it as more input, past its caps'),
  service_tier: OPENAI_TIER,
}

/** vLLM embeds messages, images among them, where there are any. */
export const EMBEDDINGS_RULES: Readonly<Record<string, Rule>> = {
  ...GATEWAYS,
  messages: never('only input is counted'),
}

export const MESSAGES_RULES: Readonly<Record<string, Rule>> = {
  container: never(STATE),
  mcp_servers: never('tools of remote servers run at the upstream, at a cost that has no bound'),
  speed: onlyOneOf(['standard'], 'other speeds cost more than the price says'),
  inference_geo: onlyOneOf(['global', 'not_available'], 'a place of its own costs more than the price says'),
  service_tier: onlyOneOf(['auto', 'standard_only'], 'other service tiers cost more than the price says'),
  fallbacks: never(ELSEWHERE),
  context_management: (value) =>
    editsOf(value).every((type) => type.startsWith('clear_'))
      ? null
      : 'a compaction at the upstream bills a request of its own',
}

/** What Bursar looks at or sets, in any of the formats. */
const CHECKED = new Set([
  ...Object.keys({ ...CHAT_RULES, ...RESPONSES_RULES, ...MESSAGES_RULES }),
  'model',
  'messages',
  'input',
  'tools',
  'functions',
  'stream',
  'stream_options',
  'n',
  'max_tokens',
  'max_completion_tokens',
  'max_output_tokens',
  'thinking',
])

/** @throws {BursarError} invalid_request */
export function refuseUnbounded(fields: JsonObject, rules: Readonly<Record<string, Rule>>): void {
  for (const name of Object.keys(fields)) {
    refuseDisguised(name, CHECKED)
    const why = Object.hasOwn(rules, name) ? rules[name]?.(fields[name]) : undefined
    if (why) throw notSold(name, why)
  }
}

/**
 * Servers in Go (Ollama, many gateways) match names whatever their case, ſ and the Kelvin sign included, and the last
 * one counts: what was checked under the one name would be asked for under the other.
 *
 * @throws {BursarError} invalid_request
 */
function refuseDisguised(name: string, checked: ReadonlySet<string>): void {
  if (/^[a-z0-9_]*$/.test(name)) return
  const plain = name.toUpperCase().toLowerCase()
  if (plain === name || !checked.has(plain)) return
  throw notSold(name, 'some servers read it as the same name in small letters')
}

/** The same of messages, their parts, and tools: what says what they are, and what they hold. */
const CHECKED_IN_PARTS = new Set([
  'type',
  'role',
  'content',
  'image_url',
  'file',
  'source',
  'audio',
  'output',
  'result',
  'tools',
  'execution',
  'environment',
])

/** @throws {BursarError} invalid_request */
export function refuseDisguisedIn(parts: readonly JsonObject[]): void {
  for (const part of parts) for (const name of Object.keys(part)) refuseDisguised(name, CHECKED_IN_PARTS)
}

export function notSold(what: string, why: string, remedy = `Leave ${what} out.`): BursarError {
  return invalid(`${what} is not sold here: ${why}.`, { remedy, details: { parameter: what } })
}

/** A tool that the upstream would run, or one that Bursar does not know: nobody bounds what it does. */
export function hostedTool(type: unknown): BursarError {
  return notSold(
    `A tool of type ${typeof type === 'string' ? JSON.stringify(type.slice(0, 58)) : typeof type}`,
    'it runs at the upstream, at a cost that has no bound',
    'Leave this tool out; tools that the client itself runs are fine.',
  )
}

function editsOf(value: unknown): string[] {
  if (value === null) return []
  const edits = (value as { edits?: unknown }).edits
  if (edits === undefined || edits === null) return []
  if (!Array.isArray(edits)) return ['']
  return edits.map((edit) => {
    const type = (edit as { type?: unknown } | null)?.type
    return typeof type === 'string' ? type : ''
  })
}
