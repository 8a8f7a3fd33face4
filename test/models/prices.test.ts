import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { configSchema, type ModelConfig } from '../../src/config-schema.ts'
import {
  affordableTokens,
  costOf,
  describePrice,
  type Price,
  readPrice,
  worstCase,
} from '../../src/credits/prices.ts'
import { MAX_MICRO } from '../../src/money.ts'

const TEN_CENTS = 100_000n

function model(fields: Record<string, unknown>): ModelConfig {
  const config = configSchema.parse({ models: { m: { upstream: 'u', ...fields } } })
  return config.models.m as ModelConfig
}

function price(fields: Record<string, unknown>, usdPerCredit = TEN_CENTS): Price {
  const read = readPrice(model(fields), usdPerCredit, 'm')
  if (!read) throw new Error('expected a price')
  return read
}

const perMillion = fc.bigInt(0n, 10n ** 12n)
const perToken = fc.record(
  {
    kind: fc.constant('tokens' as const),
    microPerMillionInput: perMillion,
    microPerMillionOutput: perMillion,
    microPerMillionCachedInput: perMillion,
    microPerMillionCacheWrite: perMillion,
    microPerMillionCacheWrite1h: perMillion,
  },
  { requiredKeys: ['kind', 'microPerMillionInput', 'microPerMillionOutput'] },
)
const perCall = fc.record({ kind: fc.constant('call' as const), microPerCall: fc.bigInt(1n, MAX_MICRO) })
const anyPrice: fc.Arbitrary<Price> = fc.oneof({ weight: 4, arbitrary: perToken }, perCall)
const count = fc.nat({ max: 10_000_000 })
const counts = fc
  .tuple(count, count, fc.nat({ max: 99 }), fc.nat({ max: 99 }), fc.nat({ max: 99 }))
  .map(([inputTokens, outputTokens, read, write, write1h]) => {
    const share = (part: number) => Math.floor((inputTokens * part) / 300)
    return {
      inputTokens,
      outputTokens,
      cachedInputTokens: share(read),
      cacheWriteTokens: share(write),
      cacheWrite1hTokens: share(write1h),
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
    expect(readPrice({ upstream: 'u', margin_percent: '0', max_output_tokens: 1 }, TEN_CENTS, 'm')).toBeNull()
    expect(
      readPrice(
        { upstream: 'u', usd_per_million_input: '1', margin_percent: '0', max_output_tokens: 1 },
        TEN_CENTS,
        'm',
      ),
    ).toBeNull()
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
        // The smaller one, with what its caches read and wrote.
        const { outputTokens: _, ...input } = a.inputTokens < b.inputTokens ? a : b
        const usage = { ...input, outputTokens: Math.min(a.outputTokens, b.outputTokens) }
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

  test('rises by less than one micro-credit through rounding', () => {
    fc.assert(
      fc.property(perToken, counts, (p, usage) => {
        const { cachedInputTokens: read, cacheWriteTokens: write, cacheWrite1hTokens: hour } = usage
        const input = p.microPerMillionInput
        const perWrite = p.microPerMillionCacheWrite ?? input
        const exactTimesMillion =
          BigInt(usage.inputTokens - read - write - hour) * input +
          BigInt(read) * (p.microPerMillionCachedInput ?? input) +
          BigInt(write) * perWrite +
          BigInt(hour) * (p.microPerMillionCacheWrite1h ?? perWrite) +
          BigInt(usage.outputTokens) * p.microPerMillionOutput
        const rounded = costOf(p, usage) * 1_000_000n
        expect(rounded).toBeGreaterThanOrEqual(exactTimesMillion)
        expect(rounded - exactTimesMillion).toBeLessThan(1_000_000n)
      }),
    )
  })

  test('is never raised by splitting off less work', () => {
    fc.assert(
      fc.property(anyPrice, counts, count, (p, usage, more) => {
        const larger = { ...usage, outputTokens: usage.outputTokens + more }
        expect(costOf(p, larger)).toBeGreaterThanOrEqual(costOf(p, usage))
        const wider = { ...usage, inputTokens: usage.inputTokens + more }
        expect(costOf(p, wider)).toBeGreaterThanOrEqual(costOf(p, usage))
      }),
    )
  })
})

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
