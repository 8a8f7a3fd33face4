import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  atomicToUsd,
  atomicToUsdCeil,
  creditsToUsd,
  formatCredits,
  formatDecimal,
  formatUsd,
  parseDecimal,
  usdToAtomic,
  usdToCredits,
} from '../../src/money.ts'

const amount = fc.bigInt({ min: 0n, max: 10n ** 30n })
const decimals = fc.integer({ min: 0, max: 18 })
const price = fc.bigInt({ min: 1n, max: 10n ** 16n })

describe('decimals', () => {
  it('survive writing and reading', () => {
    fc.assert(
      fc.property(amount, decimals, (value, places) => {
        expect(parseDecimal(formatDecimal(value, places), places)).toBe(value)
      }),
    )
  })

  it.each(['', '-1', '+1', '1e3', '.5', '5.', '1,5', '0x10', ' 1', '1 ', 'NaN', '1.2.3', '９'])(
    '%j is refused',
    (text) => {
      expect(() => parseDecimal(text, 6)).toThrow(expect.objectContaining({ code: 'invalid_request' }))
    },
  )

  it('finer than the unit are refused, trailing zeros are not finer', () => {
    expect(() => parseDecimal('0.0000001', 6)).toThrow(/7 decimals, the unit allows 6/)
    expect(parseDecimal('0.1000000000', 6)).toBe(100_000n)
  })

  it('are written with their fixed places', () => {
    expect(formatCredits(-4_750n)).toBe('-0.004750')
    expect(formatUsd(10_000_000n)).toBe('10.00')
    expect(formatUsd(1n)).toBe('0.000001')
  })
})

describe('conversions', () => {
  it('never ask the payer for less than the price, nor for a whole unit more', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 1n, max: 10n ** 14n }), price, decimals, (usd, priceE8, places) => {
        const atomic = usdToAtomic(usd, priceE8, places)
        expect(atomic * priceE8).toBeGreaterThanOrEqual(usd * 100n * 10n ** BigInt(places))
        expect((atomic - 1n) * priceE8).toBeLessThan(usd * 100n * 10n ** BigInt(places))
      }),
    )
  })

  it('value an amount no higher when credited than when it counts against a budget', () => {
    fc.assert(
      fc.property(amount, price, decimals, (atomic, priceE8, places) => {
        const down = atomicToUsd(atomic, priceE8, places)
        const up = atomicToUsdCeil(atomic, priceE8, places)
        expect(up - down).toBeGreaterThanOrEqual(0n)
        expect(up - down).toBeLessThanOrEqual(1n)
      }),
    )
  })

  it('never grant credits that were not paid for', () => {
    fc.assert(
      fc.property(amount, fc.bigInt({ min: 1n, max: 10n ** 9n }), (usd, usdPerCredit) => {
        expect(creditsToUsd(usdToCredits(usd, usdPerCredit), usdPerCredit)).toBeLessThanOrEqual(usd)
      }),
    )
  })

  it('price 10 USD exactly', () => {
    expect(usdToAtomic(10_000_000n, 100_000_000n, 6)).toBe(10_000_000n)
    expect(usdToAtomic(10_000_000n, 300_000_000_000n, 18)).toBe(3_333_333_333_333_334n)
    expect(usdToCredits(10_000_000n, 100_000n)).toBe(100_000_000n)
  })
})
