import { readFileSync } from 'node:fs'
import { calcPrice, findProvider } from '@pydantic/genai-prices'
import { describe, expect, test } from 'vitest'
import { formatPrices, seedPrices } from '../../scripts/seed-prices.ts'
import { configSchema } from '../../src/config-schema.ts'
import { costOf, describePrice, type TokenCounts } from '../../src/credits/prices.ts'
import { priceAt, readSchedule } from '../../src/credits/schedule.ts'
import { type Model, modelOf, modelOffers, readModels } from '../../src/models/catalogue.ts'
import { type PriceListFile, priceList } from '../../src/models/prices/list.ts'

const FILE = new URL('../../src/models/prices/list.json', import.meta.url)
const stored = JSON.parse(readFileSync(FILE, 'utf8')) as PriceListFile

const NOW = Date.parse('2026-11-26T12:00:00Z')
const BASES: Record<string, string> = {
  openai: 'https://api.openai.com/v1',
  anthropic: 'https://api.anthropic.com/v1',
  openrouter: 'https://openrouter.ai/api/v1',
  google: 'https://generativelanguage.googleapis.com/v1beta/openai',
  deepseek: 'https://api.deepseek.com/v1',
  local: 'http://127.0.0.1:11434/v1',
}

function models(config: Record<string, unknown>, rest: Record<string, unknown> = {}) {
  const upstreams = Object.fromEntries(
    Object.entries(BASES).map(([name, base_url]) => [
      name,
      { base_url, format: name === 'anthropic' ? 'anthropic' : 'openai' },
    ]),
  )
  return readModels(configSchema.parse({ upstreams, models: config, ...rest }))
}

function one(fields: Record<string, unknown>, id = 'm'): Model {
  return modelOf(models({ [id]: fields }), id)
}

/** USD at list price of a credit of $0.10, times 10^7: micro-credits are a ten-millionth of a dollar then. */
function charge(model: Model, usage: TokenCounts, now = NOW): bigint {
  return costOf(priceAt(model.prices, now).price, usage)
}

describe('the price list', () => {
  test('is what the script makes of the package that is installed', () => {
    expect(readFileSync(FILE, 'utf8')).toBe(formatPrices(seedPrices(stored.seeded)))
    expect(stored.licence).toContain('MIT License')
  })

  test('prices the models as its source does, at any input and time, to the micro-credit', () => {
    const usages: TokenCounts[] = [
      { inputTokens: 1000, outputTokens: 1000 },
      { inputTokens: 300_000, outputTokens: 1000, cachedInputTokens: 100_000 },
    ]
    const times = [
      '2025-01-01T02:00:00Z',
      '2026-11-26T12:00:00Z',
      '2026-11-26T02:30:00Z',
      '2027-02-01T00:00:00Z',
    ]
    let compared = 0
    for (const provider of ['anthropic', 'openai', 'deepseek', 'x-ai', 'mistral', 'groq', 'google']) {
      for (const { names } of stored.providers.find(({ id }) => id === provider)?.models ?? []) {
        const plain = names.find((each) => !each.endsWith('-*')) ?? names[0] ?? ''
        const name = plain.replace('-*', '-20250514').replace('*', '')
        const usd = priceList().find(provider, '', name)
        const terms = { usdPerCredit: 100_000n, margin: '0', name }
        const schedule = readSchedule({}, terms, () => usd)
        if (!schedule) throw new Error(`expected a price of ${provider} ${name}`)
        for (const time of times) {
          for (const usage of usages) {
            const { price } = priceAt(schedule, Date.parse(time))
            expect(Number(costOf(price, usage)) / 1e7, `${provider} ${name} ${time}`).toBeCloseTo(
              sourcePrice(provider, name, usage, new Date(time)),
              6,
            )
            compared += 1
          }
        }
      }
    }
    expect(compared).toBeGreaterThan(1500)
  })

  test('has no price for a name that merely resembles one, nor for what is billed by more than tokens', () => {
    const found = (provider: string, name: string) => priceList().find(provider, '', name) !== null
    expect(found('anthropic', 'claude-sonnet-5')).toBe(true)
    expect(found('anthropic', 'claude-sonnet-5-20260801')).toBe(true)
    expect(found('anthropic', 'Claude-Sonnet-5-latest')).toBe(true)
    expect(found('anthropic', 'claude-sonnet-5-9')).toBe(false)
    expect(found('openai', 'gpt-4o')).toBe(true)
    expect(found('openai', 'gpt-4o-2029-01-01')).toBe(false)
    for (const name of [
      'gpt-4o-search-preview',
      'gpt-4o-mini-search-preview',
      'gpt-realtime',
      'gpt-4o-audio-preview',
    ]) {
      expect(found('openai', name), name).toBe(false)
    }
    expect(found('openrouter', 'perplexity/sonar-deep-research')).toBe(false)
    expect(found('nobody', 'gpt-4o')).toBe(false)
  })
})

describe('a model without a price of its own', () => {
  test('has its list price at the provider that base_url names, with the margin on top', () => {
    const usage = { inputTokens: 1_000_000, outputTokens: 1_000_000 }
    // $0.25 and $2.00.
    expect(charge(one({ upstream: 'openai' }, 'gpt-5-mini'), usage)).toBe(22_500_000n)
    expect(
      charge(one({ upstream: 'openai', margin_percent: '20', price: 'list' }, 'gpt-5-mini'), usage),
    ).toBe(27_000_000n)
    const all = models(
      {
        'gpt-5-mini': { upstream: 'openai' },
        own: {
          upstream: 'local',
          usd_per_million_input: '1',
          usd_per_million_output: '1',
          margin_percent: '5',
        },
      },
      { calls: { margin_percent: '10' } },
    )
    expect(charge(modelOf(all, 'gpt-5-mini'), usage)).toBe(24_750_000n)
    expect(charge(modelOf(all, 'own'), usage)).toBe(21_000_000n)
  })

  test('is named upstream as the list has it, or says whose list it is', () => {
    const small = one({ upstream: 'openrouter', upstream_model: 'openai/gpt-5-mini' })
    expect(small.prices.source).toMatch(/^openrouter, @pydantic\/genai-prices \d/)
    const config = (price_list: string) =>
      configSchema.parse({
        upstreams: { gate: { base_url: 'http://127.0.0.1:1/v1', price_list } },
        models: { 'gpt-5-mini': { upstream: 'gate' } },
      })
    expect(modelOf(readModels(config('openai')), 'gpt-5-mini').prices.source).toMatch(/^openai/)
    expect(() => readModels(config('nobody'))).toThrow(/price_list names no list: nobody/)
  })

  test('is not sold where there is no list price', () => {
    expect(() => one({ upstream: 'local' }, 'gpt-5-mini')).toThrow(
      expect.objectContaining({ code: 'unpriced_model' }),
    )
    expect(() => one({ upstream: 'openai' }, 'gpt-999')).toThrow(
      expect.objectContaining({ code: 'unpriced_model' }),
    )
    const upstreams = ['openai', 'local']
    expect(() => one({ upstreams }, 'gpt-5-mini')).toThrow(
      expect.objectContaining({ code: 'unpriced_model' }),
    )
  })

  test('changes its price on the day, and at the hour, that the list says', () => {
    const gemini = one({ upstream: 'google' }, 'gemini-3.6-flash')
    const usage = { inputTokens: 1_000_000, outputTokens: 0 }
    expect(charge(gemini, usage, Date.parse('2026-12-31T23:59:59.999Z'))).toBe(7_500_000n)
    expect(charge(gemini, usage, Date.parse('2027-01-01T00:00:00Z'))).toBe(15_000_000n)
    const deepseek = one({ upstream: 'deepseek' }, 'deepseek-v4-pro')
    const at = (time: string) => charge(deepseek, usage, Date.parse(`2026-11-26T${time}Z`))
    expect([at('00:59:59.999'), at('01:00:00'), at('03:59:59.999'), at('04:00:00')]).toEqual([
      6_600_000n,
      13_200_000n,
      13_200_000n,
      6_600_000n,
    ])
  })

  test('offers the same numbers, of the dearest of its upstreams', () => {
    const all = models({
      'gpt-5.4': { upstream: 'openai' },
      both: {
        upstreams: [
          { upstream: 'openai', upstream_model: 'gpt-5-mini' },
          { upstream: 'local', usd_per_million_input: '9', usd_per_million_output: '9' },
        ],
      },
    })
    expect(modelOffers(all, NOW)).toEqual([
      {
        id: 'gpt-5.4',
        credits_per_million_input: '25.000000',
        credits_per_million_output: '150.000000',
        credits_per_million_cached_input: '2.500000',
        tiers: [
          {
            above_input_tokens: 271_999,
            credits_per_million_input: '50.000000',
            credits_per_million_output: '225.000000',
            credits_per_million_cached_input: '5.000000',
          },
        ],
        max_output_tokens: 4096,
      },
      {
        id: 'both',
        credits_per_million_input: '90.000000',
        credits_per_million_output: '90.000000',
        max_output_tokens: 4096,
      },
    ])
  })

  test('keeps the version of its price in the receipt', () => {
    const { text, price } = priceAt(one({ upstream: 'anthropic' }, 'claude-haiku-4-5').prices, NOW)
    expect(JSON.parse(text)).toEqual({
      micro_credits_per_million_input: '10000000',
      micro_credits_per_million_output: '50000000',
      micro_credits_per_million_cached_input: '1000000',
      micro_credits_per_million_cache_write: '12500000',
      micro_credits_per_million_cache_write_1h: '20000000',
      source: `anthropic, ${stored.source} of ${stored.seeded}`,
    })
    expect(text.startsWith(describePrice(price).slice(0, -1))).toBe(true)
  })
})

test('each upstream is told the output limit in the name that it knows', () => {
  const { fallbacks, ...first } = one({ upstreams: ['openai', 'openrouter'], credits_per_call: '1' })
  expect([first, ...fallbacks].map(({ tokenLimitField }) => tokenLimitField)).toEqual([
    'max_completion_tokens',
    'max_tokens',
  ])
  const named = one({ upstream: 'openai', credits_per_call: '1', token_limit_field: 'max_tokens' })
  expect(named.tokenLimitField).toBe('max_tokens')
  expect(one({ upstream: 'local', credits_per_call: '1' }).tokenLimitField).toBe('max_tokens')
})

test('upstreams of one model speak one format', () => {
  expect(() => one({ upstreams: ['openai', 'anthropic'], credits_per_call: '1' })).toThrow(
    /different formats/,
  )
})

/** What the package itself computes, from its own data. */
function sourcePrice(provider: string, name: string, usage: TokenCounts, timestamp: Date): number {
  const found = findProvider({ providerId: provider })
  if (!found) throw new Error(`There is no provider ${provider}.`)
  const result = calcPrice(
    {
      input_tokens: usage.inputTokens,
      output_tokens: usage.outputTokens,
      cache_read_tokens: usage.cachedInputTokens ?? 0,
    },
    name,
    { provider: found, timestamp },
  )
  if (!result) throw new Error(`The source has no price of ${provider} ${name}.`)
  return result.total_price
}
