/**
 * A tool as `tools/list` shows it and as `tools/call` answers. Kept small: every session of every agent reads the
 * list.
 */
import { z } from 'zod'
import type { Tool, ToolAnswer } from '../../tools/tool.ts'
import type { BursarError } from '../errors.ts'

export type JsonSchema = Record<string, unknown>

export function inputSchema(tool: Tool): JsonSchema {
  return compact(z.toJSONSchema(tool.input, { io: 'input' }))
}

/**
 * What a result's structuredContent looks like: either the tool's own answer, or a problem. First-generation clients
 * check errors against the output schema too, second-generation ones only answers; this schema holds for both.
 */
export function outputSchema(tool: Tool): JsonSchema {
  const { required, ...schema } = compact(z.toJSONSchema(tool.output, { io: 'output' }))
  return { ...open(schema), anyOf: [{ required }, { required: ['code', 'detail'] }] }
}

export interface ToolResult {
  [key: string]: unknown
  content: ({ type: 'text'; text: string } | { type: 'image'; data: string; mimeType: string })[]
  structuredContent: Record<string, unknown>
  isError?: true
}

export function answered(answer: ToolAnswer<Record<string, unknown>>): ToolResult {
  const content: ToolResult['content'] = answer.text.map((text) => ({ type: 'text', text }))
  if (answer.image) {
    const data = Buffer.from(answer.image).toString('base64')
    content.push({ type: 'image', data, mimeType: 'image/png' })
  }
  return { content, structuredContent: answer.data }
}

/** A refusal: the problem as structuredContent, and the same in two lines for who reads only text. */
export function refused(tool: Tool, error: BursarError): ToolResult {
  const lines = [`${error.code}: ${error.message}`]
  if (error.remedy !== undefined) lines.push(`What to do: ${error.remedy}`)
  const problem = Object.entries(error.toProblem()).filter(([name, value]) => fits(tool, name, value))
  return {
    content: [{ type: 'text', text: lines.join('\n') }],
    structuredContent: Object.fromEntries(problem),
    isError: true,
  }
}

/** A fact whose name means something else in this tool's answers would fail a first-generation client's check. */
function fits(tool: Tool, name: string, value: unknown): boolean {
  const field: z.core.$ZodType | undefined = tool.output.shape[name]
  return field === undefined || z.safeParse(field, value).success
}

/** Without what carries no information for an agent: the dialect, and the bounds of every JavaScript integer. */
function compact(value: JsonSchema): JsonSchema {
  return mapObjects(value, (schema) => {
    delete schema['$schema']
    if (schema['minimum'] === Number.MIN_SAFE_INTEGER) delete schema['minimum']
    if (schema['maximum'] === Number.MAX_SAFE_INTEGER) delete schema['maximum']
    const { type, ...rest } = schema
    // Legal, but some clients map schemas onto dialects with one type a field.
    return Array.isArray(type) ? { ...rest, anyOf: type.map((one) => ({ type: one })) } : schema
  })
}

/** Answers may grow fields: a client with an older list must still take them. */
function open(value: JsonSchema): JsonSchema {
  return mapObjects(value, (schema) => {
    delete schema['additionalProperties']
    return schema
  })
}

function mapObjects(value: JsonSchema, change: (schema: JsonSchema) => JsonSchema): JsonSchema {
  const walk = (item: unknown): unknown => {
    if (Array.isArray(item)) return item.map(walk)
    if (typeof item !== 'object' || item === null) return item
    return change(Object.fromEntries(Object.entries(item).map(([key, inner]) => [key, walk(inner)])))
  }
  return change(Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, walk(inner)])))
}
