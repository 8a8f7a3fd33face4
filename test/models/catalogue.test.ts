import { describe, expect, test } from 'vitest'
import { configSchema } from '../../src/config-schema.ts'
import { type Models, modelOf, modelOffers, readModels } from '../../src/models/catalogue.ts'
import { modelsOver } from '../support/models.ts'

const BASE = 'http://127.0.0.1:9/v1'

function read(models: Record<string, unknown>, rest: Record<string, unknown> = {}): Models {
  return readModels(configSchema.parse({ upstreams: { main: { base_url: BASE } }, models, ...rest }))
}

describe('models on sale', () => {
  test('are offered with their prices in credits', () => {
    expect(modelOffers(modelsOver(BASE), 0).slice(1, 3)).toEqual([
      {
        id: 'newer',
        credits_per_million_input: '10.000000',
        credits_per_million_output: '20.000000',
        max_output_tokens: 4096,
      },
      { id: 'fixed', credits_per_call: '0.250000', max_output_tokens: 50 },
    ])
  })

  test('need a configured upstream', () => {
    for (const upstream of ['other', 'constructor']) {
      expect(() => read({ m: { upstream, credits_per_call: '1' } })).toThrow(
        expect.objectContaining({
          code: 'invalid_config',
          message: expect.stringContaining(`upstream ${upstream}`),
        }),
      )
    }
  })

  test('need a credit whose price is whole micro-dollars', () => {
    const model = { m: { upstream: 'main', credits_per_call: '1' } }
    expect(() => read(model, { credit: { usd: '0.00000001' } })).toThrow(
      expect.objectContaining({ code: 'invalid_config' }),
    )
  })

  test('are named to whoever asks for another one, but not all of a thousand', () => {
    const many = Array.from({ length: 1000 }, (_, i) => [
      `m${i}`,
      { upstream: 'main', credits_per_call: '1' },
    ])
    const models = read(Object.fromEntries(many))
    const ask = () => modelOf(models, 'x'.repeat(5000))
    expect(ask).toThrow(expect.objectContaining({ code: 'unknown_model', status: 404 }))
    try {
      ask()
    } catch (error) {
      expect(JSON.stringify((error as { toProblem(): object }).toProblem()).length).toBeLessThan(1000)
    }
    expect(modelOf(models, 'm999').id).toBe('m999')
  })

  test('without a price are not sold', () => {
    const models: Models = new Map([['dear', null], ...modelsOver(BASE)])
    expect(() => modelOf(models, 'dear')).toThrow(
      expect.objectContaining({ code: 'unpriced_model', status: 400 }),
    )
    expect(modelOffers(models, 0).map(({ id }) => id)).not.toContain('dear')
  })

  test('that nobody configured are said to be none', () => {
    expect(() => modelOf(read({}), 'gpt')).toThrow(
      expect.objectContaining({ code: 'unknown_model', remedy: expect.stringContaining('no models') }),
    )
  })
})
