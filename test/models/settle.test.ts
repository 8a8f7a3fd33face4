import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ChatMessage } from '../../src/bursar.ts'
import { costOf, type Price, worstCase } from '../../src/credits/prices.ts'
import type { Ending } from '../../src/models/ending.ts'
import { boundInput, estimateInput } from '../../src/models/meter.ts'
import { chargeIfLost, settlementOf, type Terms } from '../../src/models/settle.ts'

const count = fc.nat({ max: 1_000_000 })
const usage = fc.record({ inputTokens: count, outputTokens: count })
const messages: fc.Arbitrary<ChatMessage[]> = fc.array(
  fc.record({
    role: fc.constantFrom('system' as const, 'user' as const, 'assistant' as const),
    content: fc.string({ unit: 'grapheme', maxLength: 2000 }),
  }),
  { minLength: 1, maxLength: 5 },
)
const price: fc.Arbitrary<Price> = fc.oneof(
  fc.record({
    kind: fc.constant('tokens' as const),
    microPerMillionInput: fc.bigInt(0n, 10n ** 9n),
    microPerMillionOutput: fc.bigInt(0n, 10n ** 9n),
  }),
  fc.record({ kind: fc.constant('call' as const), microPerCall: fc.bigInt(1n, 10n ** 9n) }),
)
const terms: fc.Arbitrary<Terms> = fc
  .record({ price, messages, outputTokens: fc.integer({ min: 1, max: 100_000 }) })
  .map(({ price: p, messages: m, outputTokens }) => {
    const bounds = { inputTokens: boundInput(m), outputTokens }
    const knownInput = { inputTokens: estimateInput(m), outputTokens: 0 }
    return { price: p, bounds, knownInput, held: worstCase(p, bounds) }
  })
const requestId = null
const ending: fc.Arbitrary<Ending> = fc.oneof(
  fc.record({
    kind: fc.constant('answered' as const),
    completion: fc.record({
      text: fc.string({ maxLength: 5000 }),
      finishReason: fc.constant('stop'),
      usage: fc.option(usage),
    }),
    requestId: fc.constant(requestId),
  }),
  fc.record({
    kind: fc.constant('lost' as const),
    why: fc.constantFrom('timeout' as const, 'disconnect' as const, 'invalid_answer' as const),
    usage: fc.option(usage),
    requestId: fc.constant(requestId),
  }),
)

describe('a settlement', () => {
  test('is never below zero nor above the hold, and flags what is not the reported usage', () => {
    fc.assert(
      fc.property(terms, ending, (agreed, ended) => {
        const { charge, usage: used, note } = settlementOf(agreed, ended)
        expect(charge).toBeGreaterThanOrEqual(0n)
        expect(charge).toBeLessThanOrEqual(agreed.held)
        if (used?.source === 'upstream' && note === undefined) expect(charge).toBe(costOf(agreed.price, used))
        if (used?.source === 'estimate') expect(note).toMatch(/estimate/)
      }),
      { numRuns: 1000 },
    )
  })

  test('of a lost call is what its lapsed hold would have cost', () => {
    fc.assert(
      fc.property(terms, (agreed) => {
        const lost: Ending = { kind: 'lost', why: 'timeout', usage: null, requestId }
        expect(settlementOf(agreed, lost).charge).toBe(chargeIfLost(agreed))
      }),
    )
  })

  test('of a refused call, or one never sent, is nothing', () => {
    fc.assert(
      fc.property(terms, (agreed) => {
        const refused: Ending = { kind: 'refused', status: 500, code: null, requestId }
        expect(settlementOf(agreed, refused)).toMatchObject({ charge: 0n, usage: null })
        expect(settlementOf(agreed, { kind: 'unreached', why: 'ECONNREFUSED' })).toMatchObject({
          charge: 0n,
          usage: null,
        })
      }),
    )
  })
})

describe('bounding input', () => {
  test('counts bytes of UTF-8, because a token covers at least one', () => {
    const message = (content: string): ChatMessage => ({ role: 'user', content })
    expect(boundInput([message('abc')])).toBe(3 + 16 + 128)
    expect(boundInput([message('é👋')])).toBe(2 + 4 + 16 + 128)
    expect(boundInput([message('abc'), message('d')])).toBe(4 + 2 * 16 + 128)
  })

  test('is never below the estimate', () => {
    fc.assert(
      fc.property(messages, (some) => {
        expect(estimateInput(some)).toBeLessThanOrEqual(boundInput(some))
      }),
    )
  })
})
