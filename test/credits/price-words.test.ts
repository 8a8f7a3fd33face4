/** A receipt's price, as a caller reads it: that of the tier which its input reached. */
import { expect, test } from 'vitest'
import { describePrice, type Price, priceInWords } from '../../src/credits/prices.ts'

const tiered: Price = {
  kind: 'tokens',
  microPerMillionInput: 30_000_000n,
  microPerMillionOutput: 120_000_000n,
  microPerMillionCachedInput: 3_500_000n,
  tiers: [
    { aboveInputTokens: 1_000, microPerMillionInput: 60_000_000n, microPerMillionOutput: 180_000_000n },
    {
      aboveInputTokens: 2_000,
      microPerMillionInput: 1n,
      microPerMillionCacheWrite: 2_000_000n,
      microPerMillionCacheWrite1h: 4_000_000n,
      microPerMillionOutput: 250_000n,
      microPerMillionReasoning: 9_000_000n,
    },
  ],
}

test.each<[number | null, string]>([
  [0, '30 in, 3.5 cached, 120 out per million tokens'],
  [1_000, '30 in, 3.5 cached, 120 out per million tokens'],
  [1_001, '60 in, 180 out per million tokens'],
  [2_001, '0.000001 in, 2 cache write, 4 cache write 1h, 0.25 out, 9 reasoning per million tokens'],
  [
    null,
    '30 in, 3.5 cached, 120 out per million tokens; above 1000 in: 60 in, 180 out; ' +
      'above 2000 in: 0.000001 in, 2 cache write, 4 cache write 1h, 0.25 out, 9 reasoning',
  ],
])('with %s tokens in', (inputTokens, words) => {
  expect(priceInWords(describePrice(tiered, 'a list of prices'), inputTokens)).toBe(words)
})

test('of a call at a fixed price, and of a hold that a service charges as it likes', () => {
  expect(priceInWords(describePrice({ kind: 'call', microPerCall: 250_000n }), 5)).toBe('0.25 a call')
  expect(priceInWords(describePrice({ kind: 'call', microPerCall: 0n }), null)).toBe('0 a call')
  expect(priceInWords('{"kind":"hold","expires_at":1,"lock":null}', null)).toBeNull()
})
