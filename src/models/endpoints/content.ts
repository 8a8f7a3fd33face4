/**
 * What a request's content can count. Text is bounded by its bytes; an image or a file by its cap, and its bytes
 * are not text. Content is looked for where the format has it, never inside a tool's arguments, which are text.
 */
import { type BursarError, invalid } from '../../errors.ts'
import { asRecord, type JsonObject } from '../answer.ts'
import type { Model } from '../catalogue.ts'
import {
  ESTIMATED_TEMPLATE_TOKENS,
  estimateTokens,
  TEMPLATE_TOKENS_PER_MESSAGE,
  TEMPLATE_TOKENS_PER_REQUEST,
} from '../meter.ts'
import type { InputTokens } from './endpoint.ts'
import { notSold, refuseDisguisedIn } from './refusals.ts'

/** What a request holds besides plain text. */
export interface Tally {
  messages: number
  tools: number
  /** Tools that the model knows by name, whose description is not in the request. */
  builtIns: number
  images: number
  files: number
  /** Of images and files, in the body. */
  dataBytes: number
}

/** Descriptions that an upstream adds: for having tools at all, for each tool, for each one it knows by name. */
const TOOLS_TOKENS = 1024
const TOKENS_PER_TOOL = 64
const TOKENS_PER_BUILT_IN = 2048
/** For estimates: what an image of ordinary size counts. */
const ESTIMATED_IMAGE_TOKENS = 1000

export function emptyTally(): Tally {
  return { messages: 0, tools: 0, builtIns: 0, images: 0, files: 0, dataBytes: 0 }
}

/** Input tokens, at most and about. @throws {BursarError} invalid_request: images or files that have no cap. */
export function inputTokens(model: Model, bodyBytes: number, tally: Tally): InputTokens {
  if (tally.images > 0 && model.imageTokens === 0) throw uncapped('images', model)
  if (tally.files > 0 && model.fileTokens === 0) throw uncapped('files', model)
  const textBytes = bodyBytes - tally.dataBytes
  const tools = tally.tools + tally.builtIns
  const besides =
    tally.messages * TEMPLATE_TOKENS_PER_MESSAGE +
    TEMPLATE_TOKENS_PER_REQUEST +
    (tools > 0 ? TOOLS_TOKENS : 0) +
    tally.tools * TOKENS_PER_TOOL +
    tally.builtIns * TOKENS_PER_BUILT_IN +
    tally.images * model.imageTokens +
    tally.files * model.fileTokens
  return {
    bound: textBytes + besides,
    besidesText: tally.dataBytes === 0 ? besides : null,
    estimate:
      estimateTokens(textBytes) +
      tally.messages * ESTIMATED_TEMPLATE_TOKENS +
      Math.min(ESTIMATED_IMAGE_TOKENS, model.imageTokens) * tally.images,
  }
}

function uncapped(what: string, model: Model): BursarError {
  const setting = what === 'images' ? 'image_tokens' : 'file_tokens'
  return invalid(`The model ${model.id} is sold without ${what}: nothing bounds what one would cost.`, {
    remedy: `Send text instead; the seller can set ${setting} for this model.`,
  })
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** @throws {BursarError} invalid_request */
export function requireList(value: unknown, name: string): readonly unknown[] {
  if (Array.isArray(value)) return value
  throw invalid(`${name} must be a list.`)
}

/** A URL that carries its data, or one that the upstream fetches and scales down as any other. */
export function countImage(tally: Tally, url: unknown): void {
  tally.images += 1
  if (typeof url === 'string' && url.startsWith('data:')) tally.dataBytes += url.length
}

export function countFile(tally: Tally, data: unknown): void {
  tally.files += 1
  if (typeof data === 'string') tally.dataBytes += data.length
}

/** @throws {BursarError} invalid_request: the upstream would read what it keeps for the seller. */
export function refuseStored(id: unknown): void {
  if (id !== undefined && id !== null) {
    throw notSold(
      'file_id',
      'a stored file is state of the seller, of unknown size',
      'Send the content itself.',
    )
  }
}

/** Types of content that Bursar does not know count as their bytes, unless they are none of text. */
export function refuseMedia(type: unknown): void {
  if (typeof type === 'string' && /audio|video|image|file|document|container/i.test(type)) {
    throw notSold(
      `content of type ${type.slice(0, 40)}`,
      'nothing bounds what it counts',
      'Send text instead.',
    )
  }
}

/**
 * Some servers look at the names of a part's members before its type, or where it has none (vLLM, "chat_utils.py"):
 * what was counted as text would be fetched as an image.
 *
 * @param own what a part of this type holds.
 * @throws {BursarError} invalid_request
 */
export function refuseHiddenMedia(part: JsonObject, own: readonly string[] = []): void {
  for (const [name, value] of Object.entries(part)) {
    if (value === null || own.includes(name) || !/audio|video|image|file/i.test(name)) continue
    const type = typeof part['type'] === 'string' ? `of type ${part['type'].slice(0, 40)}` : 'without a type'
    throw notSold(
      `${name.slice(0, 40)} in content ${type}`,
      'it would be counted as text, and read as what it is called',
      'Send it in content of its own type, or leave it out.',
    )
  }
}

/** The formats themselves nest two or three deep. */
const MAX_DEPTH = 16

/** @throws {BursarError} invalid_request: what is nested so deep that reading it could fail. */
export function deeper(depth: number): number {
  if (depth < MAX_DEPTH) return depth + 1
  throw invalid(`Content and tools may be nested ${MAX_DEPTH} levels deep, no more.`)
}

/** Bytes of a part of an answer, about; none of what is nested too deep to be written again. */
export function sizeOf(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value)
  try {
    return value ? Buffer.byteLength(JSON.stringify(value)) : 0
  } catch {
    return 0
  }
}

export function partsOf(content: unknown): JsonObject[] {
  return list(content)
    .map(asRecord)
    .filter((part) => part !== null)
}

/** The same of a request. @throws {BursarError} invalid_request: one has a name in letters that hide it. */
export function askedParts(content: unknown): JsonObject[] {
  const parts = partsOf(content)
  refuseDisguisedIn(parts)
  return parts
}
