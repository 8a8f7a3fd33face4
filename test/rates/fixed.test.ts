import { describe, expect, it } from 'vitest'
import { configSchema } from '../../src/config-schema.ts'
import { fixedRates } from '../../src/rates/fixed.ts'
import { openRates } from '../../src/rates/open.ts'
import { saleablePrice } from '../../src/rates/rates.ts'
import { testRuntime } from '../support/runtime.ts'

const networks = [{ id: 'anvil', main: false }]
const now = () => 1_700_000_000_000

describe('fixed rates', () => {
  it('quote what the configuration says, with source and time', async () => {
    const rates = fixedRates({ ETH: '2500.12345678' }, now)
    await expect(rates.quote('ETH')).resolves.toEqual({
      symbol: 'ETH',
      priceE8: 250_012_345_678n,
      source: 'fixed',
      at: 1_700_000_000_000,
    })
  })

  it('take a stablecoin for $1 on test networks, unless told otherwise', async () => {
    const rates = fixedRates({ USDT: '0.99' }, now)
    expect((await rates.quote('USDC')).priceE8).toBe(100_000_000n)
    expect((await rates.quote('USDT')).priceE8).toBe(99_000_000n)
    const bare = fixedRates({}, now)
    expect((await bare.quote('USDT')).priceE8).toBe(100_000_000n)
  })

  it('never guess: an unknown asset is a refusal', async () => {
    const rates = fixedRates({ ETH: '2500' }, now)
    await expect(rates.quote('BTC')).rejects.toMatchObject({
      code: 'rate_unavailable',
      details: { symbol: 'BTC' },
    })
  })

  it('are refused beside a main network, by its name', () => {
    const open = (fixed: Record<string, string>) =>
      openRates({
        config: { ...configSchema.parse({}).rates, fixed },
        networks: [...networks, { id: 'ethereum', main: true }],
        feeds: [],
        runtime: testRuntime(),
      })
    expect(() => open({ ETH: '2500' })).toThrow(/ethereum is a main network/)
    expect(() => open({})).toThrow(expect.objectContaining({ code: 'invalid_config' }))
  })

  it.each(['0.0000000001', '1.123456789', '0.00', 'NaN'])('refuse the price %s by its field', (price) => {
    expect(() => fixedRates({ ETH: price }, now)).toThrow(/rates\.fixed\.ETH/)
  })

  it('count a stablecoin at no more than $1, and other coins as they are', () => {
    expect(saleablePrice('USDC', 100_200_000n)).toBe(100_000_000n)
    expect(saleablePrice('USDC', 99_800_000n)).toBe(99_800_000n)
    expect(saleablePrice('ETH', 250_000_000_000n)).toBe(250_000_000_000n)
  })
})
