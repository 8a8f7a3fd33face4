import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { configSchema, type ModelConfig } from '../../src/config-schema.ts'
import {
  affordableTokens,
  costOf,
  describePrice,
  type Price,
  type TokenCounts,
  type TokenPrice,
  worstCase,
} from '../../src/credits/prices.ts'
import { readSchedule } from '../../src/credits/schedule.ts'
import { MAX_MICRO } from '../../src/money.ts'

const TEN_CENTS = 100_000n

function model(fields: Record<string, unknown>): ModelConfig {
  const config = configSchema.parse({ models: { m: { upstream: 'u', ...fields } } })
  return config.models.m as ModelConfig
}

function readPrice(config: ModelConfig, usdPerCredit = TEN_CENTS): Price | null {
  const terms = { usdPerCredit, margin: '0', name: 'models.m' }
  return readSchedule(config, terms, () => null)?.periods[0]?.price ?? null
}

function price(fields: Record<string, unknown>, usdPerCredit = TEN_CENTS): Price {
  const read = readPrice(model(fields), usdPerCredit)
  if (!read) throw new Error('expected a price')
  return read
}

const perMillion = fc.bigInt(0n, 10n ** 12n)
const rates = {
  microPerMillionInput: perMillion,
  microPerMillionOutput: perMillion,
  microPerMillionCachedInput: perMillion,
  microPerMillionCacheWrite: perMillion,
  microPerMillionCacheWrite1h: perMillion,
  microPerMillionReasoning: perMillion,
}
const requiredKeys = ['microPerMillionInput', 'microPerMillionOutput'] as const
/** Boundaries among the counts that are tried, also next to each other; tiers may as well be cheaper. */
const tiers = fc
  .uniqueArray(fc.oneof(fc.nat({ max: 10_000_000 }), fc.integer({ min: 99, max: 101 })), { maxLength: 3 })
  .chain((bounds) =>
    fc.tuple(
      ...bounds
        .sort((a, b) => a - b)
        .map((aboveInputTokens) =>
          fc.record(
            { aboveInputTokens: fc.constant(aboveInputTokens), ...rates },
            { requiredKeys: ['aboveInputTokens', ...requiredKeys] },
          ),
        ),
    ),
  )
const flat = fc.record(
  { kind: fc.constant('tokens' as const), ...rates },
  { requiredKeys: ['kind', ...requiredKeys] },
)
const perToken: fc.Arbitrary<TokenPrice> = fc.oneof(
  flat,
  fc.tuple(flat, tiers).map(([base, dearer]) => ({ ...base, tiers: dearer })),
)
const perCall = fc.record({ kind: fc.constant('call' as const), microPerCall: fc.bigInt(1n, MAX_MICRO) })
const anyPrice: fc.Arbitrary<Price> = fc.oneof({ weight: 4, arbitrary: perToken }, perCall)
const count = fc.oneof(fc.nat({ max: 10_000_000 }), fc.integer({ min: 98, max: 102 }))
const counts = fc
  .tuple(count, count, fc.nat({ max: 99 }), fc.nat({ max: 99 }), fc.nat({ max: 99 }), fc.nat({ max: 100 }))
  .map(([inputTokens, outputTokens, read, write, write1h, thought]) => {
    const share = (part: number) => Math.floor((inputTokens * part) / 300)
    return {
      inputTokens,
      outputTokens,
      cachedInputTokens: share(read),
      cacheWriteTokens: share(write),
      cacheWrite1hTokens: share(write1h),
      reasoningTokens: Math.floor((outputTokens * thought) / 100),
    }
  })

describe('a price from the configuration', () => {
  test('is USD per million tokens plus margin, over the price of a credit', () => {
    // $0.15 and $0.60 plus 20% are $0.18 and $0.72: 1.8 and 7.2 credits of $0.10.
    expect(
      price({ usd_per_million_input: '0.15', usd_per_million_output: '0.60', margin_percent: '20' }),
    ).toEqual({ kind: 'tokens', microPerMillionInput: 1_800_000n, microPerMillionOutput: 7_200_000n })
  })

  test('rounds up to a whole micro-credit per million tokens', () => {
    // $0.000000000000000001 is 10^-11 micro-credits.
    expect(price({ usd_per_million_input: '0.000000000000000001', usd_per_million_output: '0' })).toEqual({
      kind: 'tokens',
      microPerMillionInput: 1n,
      microPerMillionOutput: 0n,
    })
    // $1 over $0.30 is 3.33... credits.
    expect(price({ usd_per_million_input: '1', usd_per_million_output: '1' }, 300_000n)).toMatchObject({
      microPerMillionInput: 3_333_334n,
    })
  })

  test('may be a fixed number of credits per call', () => {
    expect(price({ credits_per_call: '2.5' })).toEqual({ kind: 'call', microPerCall: 2_500_000n })
  })

  test('is never guessed', () => {
    expect(readPrice({ upstream: 'u', max_output_tokens: 1 })).toBeNull()
    expect(readPrice({ upstream: 'u', usd_per_million_input: '1', max_output_tokens: 1 })).toBeNull()
  })

  test.each([
    { usd_per_million_input: '1' },
    { usd_per_million_cached_input: '1' },
    { credits_per_call: '1', usd_per_million_input: '1', usd_per_million_output: '1' },
    { price: 'list', credits_per_call: '1' },
    { tiers: [{ above_input_tokens: 1, usd_per_million_input: '1', usd_per_million_output: '1' }] },
  ])('%o is no price', (fields) => {
    expect(() => model(fields)).toThrow(/neither: the list price/)
  })

  test.each([
    [{ credits_per_call: '0.0000001' }, /finer than a micro-credit/],
    [{ credits_per_call: '1000000000.000001' }, /absurdly high/],
    [{ usd_per_million_input: '999999999999999', usd_per_million_output: '1' }, /absurdly high/],
  ])('%o is refused when it is read', (fields, message) => {
    expect(() => price(fields)).toThrow(expect.objectContaining({ code: 'invalid_config' }))
    expect(() => price(fields)).toThrow(message)
  })

  test('is written into a receipt with its unit', () => {
    expect(JSON.parse(describePrice(price({ credits_per_call: '1' })))).toEqual({
      micro_credits_per_call: '1000000',
    })
    expect(
      JSON.parse(describePrice(price({ usd_per_million_input: '1', usd_per_million_output: '2' }))),
    ).toEqual({
      micro_credits_per_million_input: '10000000',
      micro_credits_per_million_output: '20000000',
    })
  })
})

describe('a cost', () => {
  const mini = price({ usd_per_million_input: '0.15', usd_per_million_output: '0.60', margin_percent: '20' })

  test('is exact, rounded up once over input and output together', () => {
    expect(costOf(mini, { inputTokens: 1_000_000, outputTokens: 1_000_000 })).toBe(9_000_000n)
    // 1.8 + 7.2 micro-credits
    expect(costOf(mini, { inputTokens: 1, outputTokens: 1 })).toBe(9n)
    expect(costOf(mini, { inputTokens: 1, outputTokens: 0 })).toBe(2n)
    expect(costOf(mini, { inputTokens: 0, outputTokens: 0 })).toBe(0n)
  })

  test('prices what a cache read and wrote by its own columns', () => {
    const cached = {
      usd_per_million_input: '1',
      usd_per_million_output: '0',
      usd_per_million_cached_input: '0.1',
    }
    const usage = {
      inputTokens: 1000,
      outputTokens: 0,
      cachedInputTokens: 100,
      cacheWriteTokens: 10,
      cacheWrite1hTokens: 1,
    }
    // 10 micro-credits a token, 1 for what was read; what was written costs what input costs.
    expect(costOf(price(cached), usage)).toBe(9_100n)
    const written = { ...cached, usd_per_million_cache_write: '1.25' }
    expect(costOf(price(written), usage)).toBe(8_890n + 100n + 125n + 13n)
    const hourly = { ...written, usd_per_million_cache_write_1h: '2', margin_percent: '100' }
    expect(costOf(price(hourly), usage)).toBe(2n * (8_890n + 100n + 125n + 20n))
    expect(worstCase(price(hourly), { inputTokens: 1000, outputTokens: 0 })).toBe(40_000n)
    expect(JSON.parse(describePrice(price(written)))).toMatchObject({
      micro_credits_per_million_cached_input: '1000000',
      micro_credits_per_million_cache_write: '12500000',
    })
  })

  test('never exceeds the worst case while the usage is within the bounds', () => {
    fc.assert(
      fc.property(anyPrice, counts, counts, (p, a, b) => {
        // The smaller ones, with what caches read and wrote, and with what was reasoning.
        const { outputTokens: _, reasoningTokens: __, ...input } = a.inputTokens < b.inputTokens ? a : b
        const { outputTokens, reasoningTokens } = a.outputTokens < b.outputTokens ? a : b
        const usage = { ...input, outputTokens, reasoningTokens }
        const bounds = {
          inputTokens: Math.max(a.inputTokens, b.inputTokens),
          outputTokens: Math.max(a.outputTokens, b.outputTokens),
        }
        const cost = costOf(p, usage)
        expect(cost).toBeGreaterThanOrEqual(0n)
        expect(cost).toBeLessThanOrEqual(worstCase(p, bounds))
      }),
    )
  })

  test('is that of the tier of its input, and rises by less than one micro-credit through rounding', () => {
    fc.assert(
      fc.property(perToken, counts, (p, usage) => {
        const exact = exactCost(p, usage)
        const rounded = costOf(p, usage) * 1_000_000n
        expect(rounded).toBeGreaterThanOrEqual(exact)
        expect(rounded - exact).toBeLessThan(1_000_000n)
      }),
    )
  })

  test('is never raised by splitting off less work, where tiers are not cheaper', () => {
    fc.assert(
      fc.property(anyPrice, counts, count, (given, usage, more) => {
        const p = given.kind === 'tokens' ? dearerAbove(given) : given
        const larger = { ...usage, outputTokens: usage.outputTokens + more }
        expect(costOf(p, larger)).toBeGreaterThanOrEqual(costOf(p, usage))
        const wider = { ...usage, inputTokens: usage.inputTokens + more }
        expect(costOf(p, wider)).toBeGreaterThanOrEqual(costOf(p, usage))
      }),
    )
  })

  test('changes its tier exactly above the boundary, for the whole call', () => {
    const tiered = price({
      usd_per_million_input: '2.5',
      usd_per_million_output: '15',
      tiers: [
        { above_input_tokens: 272_000, usd_per_million_input: '5', usd_per_million_output: '22.5' },
        { above_input_tokens: 500_000, usd_per_million_input: '6', usd_per_million_output: '30' },
      ],
    })
    const cost = (inputTokens: number) => costOf(tiered, { inputTokens, outputTokens: 1000 })
    expect(cost(272_000)).toBe(272_000n * 25n + 150_000n)
    expect(cost(272_001)).toBe(272_001n * 50n + 225_000n)
    expect(cost(500_000)).toBe(500_000n * 50n + 225_000n)
    expect(cost(500_001)).toBe(500_001n * 60n + 300_000n)
    const hold = (inputTokens: number) => worstCase(tiered, { inputTokens, outputTokens: 1000 })
    for (const at of [1, 272_000, 272_001, 500_001]) expect(hold(at)).toBe(cost(at))
    expect(JSON.parse(describePrice(tiered, 'a list'))).toMatchObject({
      micro_credits_per_million_input: '25000000',
      tiers: [{ above_input_tokens: 272_000, micro_credits_per_million_input: '50000000' }, {}],
      source: 'a list',
    })
  })

  test('holds the price of reasoning, where that is dearer, and charges what was reasoning', () => {
    const thinking = price({
      usd_per_million_input: '0',
      usd_per_million_output: '1',
      usd_per_million_reasoning: '3',
    })
    expect(costOf(thinking, { inputTokens: 0, outputTokens: 10, reasoningTokens: 4 })).toBe(
      6n * 10n + 4n * 30n,
    )
    expect(worstCase(thinking, { inputTokens: 0, outputTokens: 10 })).toBe(300n)
  })
})

/** Written out again, in another way; times a million. */
function exactCost(p: TokenPrice, usage: Required<TokenCounts>): bigint {
  let rates: Omit<TokenPrice, 'kind' | 'tiers'> = p
  for (const tier of p.tiers ?? []) if (usage.inputTokens > tier.aboveInputTokens) rates = tier
  const { microPerMillionInput: input, microPerMillionOutput: output } = rates
  const write = rates.microPerMillionCacheWrite ?? input
  const plain =
    usage.inputTokens - usage.cachedInputTokens - usage.cacheWriteTokens - usage.cacheWrite1hTokens
  const parts: [number, bigint][] = [
    [plain, input],
    [usage.cachedInputTokens, rates.microPerMillionCachedInput ?? input],
    [usage.cacheWriteTokens, write],
    [usage.cacheWrite1hTokens, rates.microPerMillionCacheWrite1h ?? write],
    [usage.outputTokens - usage.reasoningTokens, output],
    [usage.reasoningTokens, rates.microPerMillionReasoning ?? output],
  ]
  return parts.reduce((sum, [tokens, rate]) => sum + BigInt(tokens) * rate, 0n)
}

/** The same with each tier at least as dear as the one below. */
function dearerAbove({ tiers: given = [], ...base }: TokenPrice): TokenPrice {
  const top = Object.values(base).reduce<bigint>(
    (most, rate) => (typeof rate === 'bigint' && rate > most ? rate : most),
    0n,
  )
  return {
    ...base,
    tiers: given.map(({ aboveInputTokens }, index) => {
      const rate = top * BigInt(index + 1)
      return { aboveInputTokens, microPerMillionInput: rate, microPerMillionOutput: rate }
    }),
  }
}

describe('the worst case', () => {
  test('is always something to hold, even for a free model', () => {
    const free = price({ usd_per_million_input: '0', usd_per_million_output: '0' })
    expect(worstCase(free, { inputTokens: 5, outputTokens: 5 })).toBe(1n)
  })

  test('says exactly how many tokens are affordable', () => {
    fc.assert(
      fc.property(
        anyPrice,
        count,
        fc.integer({ min: 1, max: 10_000_000 }),
        fc.bigInt(-(10n ** 6n), 10n ** 14n),
        (p, inputTokens, limit, available) => {
          const tokens = affordableTokens(p, available, { inputTokens, limit })
          expect(tokens).toBeGreaterThanOrEqual(0)
          expect(tokens).toBeLessThanOrEqual(limit)
          if (tokens > 0) {
            expect(worstCase(p, { inputTokens, outputTokens: tokens })).toBeLessThanOrEqual(available)
          }
          if (tokens < limit) {
            expect(worstCase(p, { inputTokens, outputTokens: tokens + 1 })).toBeGreaterThan(available)
          }
        },
      ),
      { numRuns: 1000 },
    )
  })
})
