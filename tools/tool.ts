/**
 * What a tool is, independent of any protocol: a name, a text for the agent that chooses it, a checked input, a
 * checked output, and a handler that sees one caller's till (and purse). src/mcp/server.ts puts them on the wire.
 */
import { z } from 'zod'
import type { Bursar, PurseClient } from '../src/bursar.ts'
import { BursarError, invalid } from '../src/errors.ts'

export interface ToolContext {
  /** The till, bound to the caller. */
  readonly bursar: Bursar
  /** Present only where the caller has a purse of its own: over stdio. */
  readonly purse?: PurseClient
  /** Aborted when the caller cancels or goes away. */
  readonly signal: AbortSignal
  /** Tells a waiting caller how far a long call has come. */
  readonly progress: (step: ToolProgress) => void
}

export interface ToolProgress {
  readonly done: number
  readonly total: number
  readonly message: string
}

/** The hints of MCP, none left to its default. They inform; nothing relies on them. */
export interface ToolHints {
  readonly readOnlyHint: boolean
  readonly destructiveHint: boolean
  readonly idempotentHint: boolean
  readonly openWorldHint: boolean
}

export interface ToolAnswer<Data> {
  readonly data: Data
  /** One block each: what a person or an agent reads. */
  readonly text: readonly string[]
  /** PNG bytes. */
  readonly image?: Uint8Array
}

interface Definition<Input extends z.ZodObject, Output extends z.ZodObject> {
  readonly name: string
  readonly title: string
  /** For the agent: what it does, units, what to do next. Short: every session pays for it. */
  readonly description: string
  readonly input: Input
  readonly output: Output
  readonly hints: ToolHints
  readonly needs: 'till' | 'purse'
  readonly handler: (ctx: ToolContext, input: z.output<Input>) => Promise<ToolAnswer<z.output<Output>>>
}

export interface Tool extends Omit<Definition<z.ZodObject, z.ZodObject>, 'handler'> {
  /**
   * Checks the input, runs the handler, checks its output.
   *
   * @throws {BursarError} invalid_request (what is wrong with which field), internal (the answer has a form that the
   *   tool does not promise), or whatever the handler refuses with.
   */
  run(ctx: ToolContext, input: unknown): Promise<ToolAnswer<Record<string, unknown>>>
}

export function defineTool<Input extends z.ZodObject, Output extends z.ZodObject>(
  definition: Definition<Input, Output>,
): Tool {
  const { handler, ...surface } = definition
  return {
    ...surface,
    async run(ctx, input) {
      const answer = await handler(ctx, checkInput(definition, input))
      const checked = definition.output.safeParse(answer.data)
      if (!checked.success) {
        throw new BursarError('internal', `The answer of ${definition.name} is not in its promised form.`, {
          remedy: 'Use the same version of Bursar on both sides; if it stays, tell the operator.',
          cause: checked.error,
        })
      }
      return { ...answer, data: checked.data }
    },
  }
}

/** A tool's input as its handler takes it. @throws {BursarError} invalid_request: what is wrong with which field. */
export function checkInput<Input extends z.ZodObject>(
  { name, input }: { readonly name: string; readonly input: Input },
  given: unknown,
): z.output<Input> {
  const checked = input.safeParse(given ?? {})
  if (!checked.success) throw invalidInput(name, checked.error)
  return checked.data
}

/** Up to five problems as `field: what was expected`. Values are not repeated: one may be a secret. */
function invalidInput(tool: string, error: z.ZodError): BursarError {
  const problems = error.issues
    .slice(0, 5)
    .map((issue) => (issue.path.length > 0 ? `${issue.path.join('.')}: ` : '') + messageOf(issue))
  const more = error.issues.length > 5 ? `; and ${error.issues.length - 5} more` : ''
  return invalid(`${tool} cannot take this input. ${problems.join('; ').slice(0, 600)}${more}.`, {
    remedy: 'Correct these fields and call it again; nothing was done.',
  })
}

function messageOf(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type' && issue.message.endsWith('received undefined')) return 'it is missing'
  if (issue.code !== 'unrecognized_keys') return issue.message
  // A name that does not look like one may be a value in the wrong place.
  const names = issue.keys.map((key) => (/^[a-z_]{1,30}$/i.test(key) ? `"${key}"` : 'one that is no name'))
  return `it takes no field ${names.slice(0, 5).join(', ')}`
}

export const readOnly: ToolHints = {
  readOnlyHint: true,
  destructiveHint: false,
  idempotentHint: true,
  openWorldHint: false,
}
