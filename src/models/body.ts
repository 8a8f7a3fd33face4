/**
 * A request's JSON body, changed without being rewritten: members that are not changed keep their very text, with
 * numbers that JavaScript cannot hold, and unknown fields.
 */
import { isUtf8 } from 'node:buffer'
import { invalid } from '../errors.ts'
import { asRecord, type JsonObject } from './answer.ts'
import { FIT_MEMBER } from './fit.ts'

export interface RequestBody {
  /** Parsed: to look at. */
  readonly fields: JsonObject
  readonly bytes: number
  /** The body with these members set (JSON text) or left out (null), and without what is Bursar's own. */
  with(changes: Readonly<Record<string, string | null>>): string
  /** The text of each element of a member that is a list; none of any other. */
  elements(name: string): string[]
}

/** Far more than any conversation has. Ten million empty objects in a body would keep everybody waiting for seconds. */
const MAX_VALUES = 500_000

/**
 * @throws {BursarError} invalid_request: not UTF-8, not JSON, not an object, a member that is named twice at any depth,
 *   or more than half a million values.
 */
export function readBody(raw: Buffer): RequestBody {
  if (!isUtf8(raw)) throw invalid('The body is not valid UTF-8.')
  const text = raw.toString('utf8')
  const written = membersWritten(text, MAX_VALUES)
  const fields = parsed(text)
  const members = membersOf(text)
  if (written !== membersRead(fields)) {
    throw invalid('An object in the body names a member twice.', { remedy: 'Name each member once.' })
  }
  members.delete(FIT_MEMBER)
  return {
    fields,
    bytes: raw.length,
    elements: (name) => (Array.isArray(fields[name]) ? elementsOf(members.get(name) ?? '[]') : []),
    with(changes) {
      let all = ''
      for (const [name, own] of members) {
        const value = Object.hasOwn(changes, name) ? changes[name] : own
        if (typeof value === 'string') all += `,${JSON.stringify(name)}:${value}`
      }
      for (const name of Object.keys(changes)) {
        const value = changes[name]
        if (typeof value === 'string' && !members.has(name)) all += `,${JSON.stringify(name)}:${value}`
      }
      return `{${all.slice(1)}}`
    },
  }
}

/**
 * How many members all objects of a JSON text have, as they are written.
 *
 * @throws {BursarError} invalid_request: more than so many values, before they are read
 */
export function membersWritten(text: string, mostValues: number): number {
  let members = 0
  let values = 0
  let at = 0
  while (at < text.length) {
    const char = text.charCodeAt(at)
    if (char === QUOTE) {
      const end = stringEnd(text, at)
      // One without an end is no JSON, which reading it will tell.
      if (end === 0) break
      at = end
      continue
    }
    if (char === COLON) members++
    else if (char === COMMA || char === OPEN_BRACE || char === OPEN_BRACKET) values++
    if (values > mostValues) {
      throw invalid(`The body has more than ${mostValues} values.`, { remedy: 'Send fewer, or as text.' })
    }
    at++
  }
  return members
}

/** How many are left once it is parsed: of two with one name, the last. */
function membersRead(fields: JsonObject): number {
  let members = 0
  const left: unknown[] = [fields]
  while (left.length > 0) {
    const value = left.pop()
    if (typeof value !== 'object' || value === null) continue
    const inner: unknown[] = Object.values(value)
    if (!Array.isArray(value)) members += inner.length
    for (const one of inner) if (typeof one === 'object') left.push(one)
  }
  return members
}

function parsed(text: string): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw invalid('The body is not valid JSON.', { remedy: 'Send a JSON object.' })
  }
  const fields = asRecord(value)
  if (!fields) throw invalid('The body must be a JSON object.')
  return fields
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const COMMA = 0x2c
const COLON = 0x3a

/** The members of an object as text, by name. The text is known to be one JSON object. */
function membersOf(text: string): Map<string, string> {
  const members = new Map<string, string>()
  let at = skipSpace(text, text.indexOf('{') + 1)
  while (text.charCodeAt(at) === QUOTE) {
    const nameEnd = stringEnd(text, at)
    const name = nameOf(text.slice(at + 1, nameEnd - 1))
    // Of two, Bursar would check one and the upstream might take the other.
    if (members.has(name)) throw invalid(`The body names ${JSON.stringify(name.slice(0, 80))} twice.`)
    const start = skipSpace(text, text.indexOf(':', nameEnd) + 1)
    const end = valueEnd(text, start)
    members.set(name, text.slice(start, end))
    at = skipSpace(text, end)
    if (text.charCodeAt(at) === COMMA) at = skipSpace(text, at + 1)
  }
  return members
}

/** Of a member, from what stands between its quotes. */
function nameOf(quoted: string): string {
  return quoted.includes('\\') ? (JSON.parse(`"${quoted}"`) as string) : quoted
}

/** The text is known to be one JSON array. */
function elementsOf(text: string): string[] {
  const elements: string[] = []
  let at = skipSpace(text, 1)
  while (text.charCodeAt(at) !== CLOSE_BRACKET) {
    const end = valueEnd(text, at)
    elements.push(text.slice(at, end))
    at = skipSpace(text, end)
    if (text.charCodeAt(at) === COMMA) at = skipSpace(text, at + 1)
  }
  return elements
}

function valueEnd(text: string, start: number): number {
  const first = text.charCodeAt(start)
  if (first === QUOTE) return stringEnd(text, start)
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) {
    let at = start
    while (!isSpace(text.charCodeAt(at)) && !isDelimiter(text.charCodeAt(at))) at++
    return at
  }
  let depth = 0
  let at = start
  for (;;) {
    const char = text.charCodeAt(at)
    if (char === QUOTE) {
      at = stringEnd(text, at)
      continue
    }
    at++
    if (char === OPEN_BRACE || char === OPEN_BRACKET) depth++
    else if ((char === CLOSE_BRACE || char === CLOSE_BRACKET) && --depth === 0) return at
  }
}

/** After the closing quote; one that follows an odd number of backslashes is part of the string. 0: it has none. */
function stringEnd(text: string, start: number): number {
  let quote = text.indexOf('"', start + 1)
  for (;;) {
    let slashes = 0
    while (text.charCodeAt(quote - 1 - slashes) === BACKSLASH) slashes++
    if (slashes % 2 === 0) return quote + 1
    quote = text.indexOf('"', quote + 1)
  }
}

function skipSpace(text: string, start: number): number {
  let at = start
  while (isSpace(text.charCodeAt(at))) at++
  return at
}

function isSpace(char: number): boolean {
  return char === 0x20 || char === 0x0a || char === 0x0d || char === 0x09
}

function isDelimiter(char: number): boolean {
  return char === COMMA || char === CLOSE_BRACE || char === CLOSE_BRACKET
}
