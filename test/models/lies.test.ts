/** Whatever an upstream says, and in whatever bytes: a charge from nothing to the hold, and nothing thrown. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseObject } from '../../src/models/answer.ts'
import { ENDPOINTS } from '../../src/models/endpoints/index.ts'
import { settlementOf } from '../../src/models/settle.ts'
import { createStream } from '../../src/models/streaming.ts'

const HELD = 100_000n
const TERMS = {
  price: {
    kind: 'tokens',
    microPerMillionInput: 10_000_000n,
    microPerMillionOutput: 20_000_000n,
    microPerMillionCachedInput: 1_000_000n,
    microPerMillionCacheWrite: 12_000_000n,
    microPerMillionCacheWrite1h: 20_000_000n,
    microPerMillionReasoning: 30_000_000n,
    tiers: [{ aboveInputTokens: 500, microPerMillionInput: 20_000_000n, microPerMillionOutput: 40_000_000n }],
  },
  held: HELD,
  bounds: { inputTokens: 1000, outputTokens: 1000 },
  knownInput: { inputTokens: 21, outputTokens: 0 },
} as const

const NAMES = [
  'prompt_tokens',
  'completion_tokens',
  'total_tokens',
  'input_tokens',
  'output_tokens',
  'cached_tokens',
  'prompt_cache_hit_tokens',
  'cache_read_input_tokens',
  'cache_creation_input_tokens',
]
const DETAILS = {
  prompt_tokens_details: ['cached_tokens', 'cache_write_tokens'],
  completion_tokens_details: ['reasoning_tokens'],
  input_tokens_details: ['cached_tokens', 'cache_write_tokens'],
  output_tokens_details: ['reasoning_tokens', 'thinking_tokens'],
  cache_creation: ['ephemeral_5m_input_tokens', 'ephemeral_1h_input_tokens'],
}
/** Mostly counts, so that most of what is said can be believed. */
const count = fc.oneof(
  { weight: 12, arbitrary: fc.nat(1200) },
  { weight: 1, arbitrary: fc.constantFrom(-1, 0.5, '12', null, true, 2 ** 53, 1e308, [], {}) },
)
const members = (names: readonly string[]) =>
  fc.record(Object.fromEntries(names.map((name) => [name, count])), { requiredKeys: [] })
const usages = fc
  .tuple(
    members(NAMES),
    fc.record(
      Object.fromEntries(Object.entries(DETAILS).map(([name, own]) => [name, fc.oneof(members(own), count)])),
      { requiredKeys: [] },
    ),
  )
  .map(([counts, details]) => ({ ...counts, ...details }))

const metered = ENDPOINTS.flatMap((endpoint) => {
  const meterOf = endpoint.meter
  return meterOf ? [{ endpoint, meterOf, route: endpoint.route }] : []
})

describe.each(metered)('at $route', ({ endpoint, meterOf }) => {
  const bound = { bound: 1000, estimate: 21, besidesText: 0 }
  const plan = { stream: true, inputTokens: bound, wantsUsage: false, body: () => '' }
  const answers = [{ choices: [{ message: {} }] }, { content: [] }, { output: [] }]

  test('a usage is believed whole or not at all, and costs what is held at most', () => {
    let believed = 0
    fc.assert(
      fc.property(usages, (usage) => {
        const answer = { ...Object.assign({}, ...answers), usage }
        const read = endpoint.usageOf(answer)
        const outputBytes = endpoint.outputBytesOf(answer) ?? 0
        const { charge } = settlementOf(TERMS, {
          kind: 'forwarded',
          usage: read,
          outputBytes,
          requestId: null,
        })
        expect(charge).toBeGreaterThanOrEqual(0n)
        expect(charge).toBeLessThanOrEqual(HELD)
        if (!read) return
        believed++
        const parts = [read.cachedInputTokens, read.cacheWriteTokens, read.cacheWrite1hTokens]
        for (const part of Object.values(read)) expect(Number.isSafeInteger(part) && part >= 0).toBe(true)
        expect(parts.reduce((sum: number, part = 0) => sum + part, 0)).toBeLessThanOrEqual(read.inputTokens)
        expect(read.reasoningTokens ?? 0).toBeLessThanOrEqual(read.outputTokens)
      }),
      { numRuns: 1000 },
    )
    expect(believed).toBeGreaterThan(50)
  })

  test('a stream of anything is passed on in whole events, and settled', () => {
    const types = ['message_start', 'message_delta', 'message_stop', 'response.completed', 'response.failed']
    const event = fc.record(
      {
        type: fc.oneof(fc.constantFrom(...types, 'error'), fc.string()),
        choices: fc.constantFrom([], [{ index: 0, finish_reason: 'stop' }], 'none', [null]),
        delta: fc.oneof(fc.string(), fc.constant({ text: 'x"\\' })),
        message: fc.record({ usage: usages }),
        response: fc.oneof(fc.record({ usage: usages, id: fc.string() }), fc.constant(null)),
        error: fc.constantFrom(null, 'x', { code: 'y' }, []),
        usage: fc.oneof(usages, fc.constant(null)),
      },
      { requiredKeys: [] },
    )
    const lines = fc.oneof(
      event.map((one) => `data: ${JSON.stringify(one)}\n\n`),
      event.map((one) => `event: x\r\ndata:${JSON.stringify(one)}\r\n\r\n`),
      fc.constantFrom(
        'data: [DONE]\n\n',
        ': wait\n\n',
        '\n',
        '\r\n',
        'data: {"usage":{',
        '\ufeff',
        'id: 1\n',
      ),
      fc.string({ unit: 'binary' }),
    )
    fc.assert(
      fc.property(
        fc.array(lines, { maxLength: 8 }),
        fc.integer({ min: 1, max: 64 }),
        fc.constantFrom({ kind: 'complete' } as const, { kind: 'lost', why: 'disconnect' } as const),
        fc.boolean(),
        (said, size, ended, gone) => {
          const given: Buffer[] = []
          const client = {
            start: () => undefined,
            write: (chunk: Buffer) => given.push(chunk) > 0,
            onDrain: () => undefined,
            gone: () => gone,
            onGone: () => undefined,
          }
          const stream = createStream(
            client,
            meterOf({ ...plan, output: { limit: 1000, choices: 1, least: 1 } }),
            null,
          )
          const all = Buffer.from(said.join(''))
          for (let at = 0; at < all.length; at += size) stream.data(all.subarray(at, at + size))
          const { charge } = settlementOf(TERMS, stream.end(ended))
          expect(charge).toBeGreaterThanOrEqual(0n)
          expect(charge).toBeLessThanOrEqual(HELD)
          const text = Buffer.concat(given).toString('latin1')
          expect(text).toMatch(/^$|\n\r?\n$/)
          for (const frame of text.split(/\r?\n\r?\n/)) {
            expect(all.toString('latin1').includes(frame)).toBe(true)
            const event = parseObject(frame.replace(/^data: ?/, ''))
            // What an upstream says of its failure never gets through.
            expect(typeof event?.['error'] === 'string' && event['error'] !== '').toBe(false)
          }
        },
      ),
      { numRuns: 1500 },
    )
  })
})
