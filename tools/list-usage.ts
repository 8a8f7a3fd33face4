import { z } from 'zod'
import type { UsageEntry } from '../src/bursar.ts'
import { defineTool, readOnly } from './tool.ts'

const text = z.string()

export const usage = z.object({
  input_tokens: z.int(),
  output_tokens: z.int(),
  cached_input_tokens: z.int().exactOptional(),
  cache_write_tokens: z.int().exactOptional(),
  cache_write_1h_tokens: z.int().exactOptional(),
  reasoning_tokens: z.int().exactOptional(),
  source: z.enum(['upstream', 'estimate', 'fixed']),
})

export const listUsageInput = z.strictObject({
  limit: z
    .int()
    .min(1)
    .max(100, { error: 'expected at most 100; take the next page with cursor' })
    .default(20),
  cursor: z.string().min(1).max(200).exactOptional().describe('next_cursor of the page before'),
  model: z.string().min(1).max(200).exactOptional(),
  since: z.string().max(40).exactOptional().describe('ISO 8601'),
  until: z.string().max(40).exactOptional(),
})

export const listUsage = defineTool({
  name: 'list_usage',
  title: 'List usage',
  description: 'Receipts of model calls, newest first: tokens, credits held and charged.',
  input: listUsageInput,
  output: z.object({
    calls: z.array(
      z.object({
        receipt: text,
        model: text,
        state: z.enum(['pending', 'charged', 'released']),
        usage: usage.nullable(),
        price: text.exactOptional(),
        price_version: text.nullable(),
        held: text,
        charged: text,
        started_at: text,
        finished_at: text.nullable(),
        upstream: text,
        upstream_request_id: text.nullable(),
        note: text.nullable(),
      }),
    ),
    next_cursor: text.nullable(),
  }),
  hints: readOnly,
  needs: 'till',
  async handler({ bursar }, input) {
    const page = await bursar.listUsage(input)
    const lines = page.calls.map(describeCall)
    if (lines.length === 0) lines.push(isNarrowed(input) ? 'No such calls.' : 'No calls yet.')
    if (page.next_cursor !== null) lines.push(`More: list_usage with cursor "${page.next_cursor}".`)
    return { data: page, text: [lines.join('\n')] }
  },
})

function describeCall(call: UsageEntry): string {
  const { usage: used, price, note } = call
  return [
    `${call.started_at} ${call.model}: ${call.state}`,
    `${call.charged} of ${call.held} credits held`,
    ...(used === null || used.source === 'fixed'
      ? []
      : [
          `${used.input_tokens} tokens in, ${used.output_tokens} out${used.source === 'estimate' ? ' (estimated)' : ''}`,
        ]),
    ...(price === undefined ? [] : [`at ${price}`]),
    `receipt ${call.receipt}${note === null ? '' : ` (${note})`}`,
  ].join(', ')
}

function isNarrowed({ cursor, model, since, until }: z.output<typeof listUsageInput>): boolean {
  return [cursor, model, since, until].some((given) => given !== undefined)
}
