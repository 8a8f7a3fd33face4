import { describe, expect, test } from 'vitest'
import { BursarError } from '../../src/errors.ts'
import { inputSchema, outputSchema, refused } from '../../src/mcp/surface.ts'
import { awaitPayment } from '../../tools/await-payment.ts'
import { tools } from '../../tools/index.ts'

/**
 * Bytes per token, on the careful side: on this very list the tokenizers o200k_base and cl100k_base take 4.0 and 4.2
 * bytes for a token.
 */
const BYTES_PER_TOKEN = 3.5
const MOST_TOKENS = 4_000

const listed = tools.map((tool) => ({
  name: tool.name,
  title: tool.title,
  description: tool.description,
  inputSchema: inputSchema(tool),
  outputSchema: outputSchema(tool),
  annotations: tool.hints,
}))

const tokens = (value: unknown): number =>
  Math.ceil(Buffer.byteLength(JSON.stringify(value)) / BYTES_PER_TOKEN)

describe('the tool list', () => {
  test(`takes at most ${MOST_TOKENS} tokens of an agent's attention`, () => {
    for (const tool of listed) console.log(`${tool.name}: at most ${tokens(tool)} tokens`)
    console.log(`all ${listed.length} tools: at most ${tokens(listed)} tokens`)
    expect(tokens(listed)).toBeLessThanOrEqual(MOST_TOKENS)
  })

  test('has at most twelve tools, each named and described', () => {
    expect(tools.length).toBeLessThanOrEqual(12)
    expect(new Set(tools.map((tool) => tool.name)).size).toBe(tools.length)
    for (const tool of tools) {
      expect(tool.name).toMatch(/^[a-z]+(_[a-z]+)+$/)
      expect(tool.title).not.toBe('')
      expect(Buffer.byteLength(tool.description)).toBeGreaterThan(40)
      expect(Buffer.byteLength(tool.description)).toBeLessThan(500)
    }
  })

  test('marks what spends, and nothing else', () => {
    const writing = tools.filter((tool) => !tool.hints.readOnlyHint).map((tool) => tool.name)
    expect(writing).toEqual(['create_invoice', 'pay_invoice', 'call_model'])
    const keyed = listed.filter((tool) => 'idempotency_key' in Object(tool.inputSchema['properties']))
    expect(keyed.map((tool) => tool.name)).toEqual(writing)
    expect(tools.filter((tool) => tool.needs === 'purse').map((tool) => tool.name)).toEqual(['pay_invoice'])
  })

  test('forbids unknown input and allows answers to grow', () => {
    for (const tool of listed) {
      expect(tool.inputSchema).toMatchObject({ type: 'object', additionalProperties: false })
      expect(JSON.stringify(tool.outputSchema)).not.toContain('"additionalProperties":false')
    }
  })
})

describe('a refusal', () => {
  test("leaves out a fact whose name means something else in the tool's answers", () => {
    const facts = { invoice: 'inv_1', state: 'paid', timed_out: 'no' }
    const error = new BursarError('invoice_not_payable', 'Paid already.', { details: facts })
    expect(refused(awaitPayment, error).structuredContent).toEqual({
      state: 'paid',
      code: 'invoice_not_payable',
      title: 'invoice not payable',
      status: 409,
      detail: 'Paid already.',
    })
  })
})
