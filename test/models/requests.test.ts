/** Whatever a request asks for, in whatever form: a plan that bounds it, or a refusal that says why. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BursarError } from '../../src/errors.ts'
import { readBody } from '../../src/models/body.ts'
import { modelOf } from '../../src/models/catalogue.ts'
import { ENDPOINTS } from '../../src/models/endpoints/index.ts'
import { modelsOver } from '../support/models.ts'

const models = modelsOver('http://127.0.0.1:9/v1')
const TYPES = [
  'text',
  'image',
  'image_url',
  'file',
  'input_image',
  'input_file',
  'document',
  'tool_result',
  'function',
  'custom',
  'namespace',
  'web_search',
  'computer_screenshot',
  'item_reference',
  'bash_20250124',
]
const NAMES = [
  'model',
  'messages',
  'input',
  'content',
  'tools',
  'type',
  'source',
  'image_url',
  'url',
  'file',
  'file_id',
  'file_data',
  'output',
  'cache_control',
  'ttl',
  'stream',
  'stream_options',
  'n',
  'max_tokens',
  'max_output_tokens',
  'thinking',
  'budget_tokens',
  'context_management',
  'edits',
  'audio',
  'data',
]
const { value } = fc.letrec<{ value: unknown; list: unknown; object: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 6, depthSize: 'small' },
    fc.constantFrom<unknown>(...TYPES, null, true, false, 1, -1, 0.5, 2000, '1h', ''),
    tie('list'),
    tie('object'),
  ),
  list: fc.array(tie('value'), { maxLength: 4 }),
  object: fc.dictionary(fc.constantFrom(...NAMES), tie('value'), { maxKeys: 6 }),
}))

describe.each(ENDPOINTS.map((endpoint) => ({ endpoint, route: endpoint.route })))(
  '$route',
  ({ endpoint }) => {
    const model = modelOf(models, endpoint.format === 'anthropic' ? 'claude' : 'per-token')

    /** A plan whose request can be sent; null: refused. */
    function planned(body: string): string | null {
      try {
        const read = readBody(Buffer.from(body))
        const { output, inputTokens, body: request } = endpoint.plan(model, read)
        expect(inputTokens.bound).toBeGreaterThan(0)
        expect(inputTokens.estimate).toBeLessThanOrEqual(inputTokens.bound)
        if (output) expect(output.limit * output.choices).toBeGreaterThan(0)
        return request(output?.limit ?? 0)
      } catch (thrown) {
        if (thrown instanceof BursarError && thrown.code === 'invalid_request') return null
        throw thrown
      }
    }

    test('a body of anything is bounded or refused', () => {
      let sent = 0
      const bodies = fc.tuple(
        fc.record(
          { messages: fc.array(fc.oneof(value, fc.record({ content: value }))), input: value, tools: value },
          { requiredKeys: [] },
        ),
        fc.dictionary(fc.constantFrom(...NAMES), value, { maxKeys: 3 }),
      )
      fc.assert(
        fc.property(bodies, ([usual, more]) => {
          const request = planned(JSON.stringify({ ...more, ...usual }))
          if (request === null) return
          sent++
          expect(JSON.parse(request)).toMatchObject({ model: model.upstreamModel })
        }),
        { numRuns: 1500 },
      )
      expect(sent).toBeGreaterThan(20)
    })

    test.each<[string, object]>([
      ['the type of a tool', { tools: [{ type: 'DEEP' }] }],
      ['an edit', { context_management: { edits: [{ type: 'DEEP' }] } }],
      [
        'a part',
        { messages: [{ content: [{ type: 'DEEP', source: 'DEEP', cache_control: { ttl: 'DEEP' } }] }] },
      ],
      ['what nobody knows', { new_member: 'DEEP' }],
    ])('what is nested without end is no fault of ours: %s', (_, more) => {
      const body = JSON.stringify({ messages: [], input: 'x', ...more })
      planned(body.replaceAll('"DEEP"', '['.repeat(20_000) + ']'.repeat(20_000)))
    })
  },
)
