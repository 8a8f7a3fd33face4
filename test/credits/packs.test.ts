import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { configSchema } from '../../src/config-schema.ts'
import { discountPercent, readCatalogue, saleOf } from '../../src/credits/packs.ts'
import { creditsToUsd, formatDecimal, usdToCredits } from '../../src/money.ts'

function catalogue(packs: object[], credit = '0.10') {
  return readCatalogue(configSchema.parse({ packs, credit: { usd: credit } }))
}

describe('packs', () => {
  it('cost their credits, rounded up, where no price is set', () => {
    const { packs } = catalogue([{ id: 'odd', credits: '3.333333' }], '0.07')
    expect(packs.get('odd')).toEqual({
      pack: 'odd',
      credits: 3_333_333n,
      usd: 233_334n,
      discount: 0n,
      lifetimeMs: 365 * 86_400_000,
    })
  })

  it('have as discount what their price does not buy', () => {
    const { packs, usdPerCredit } = catalogue([{ id: 'big', credits: '1000', price: '85', expires: 'never' }])
    const big = packs.get('big')
    expect(big).toMatchObject({ usd: 85_000_000n, discount: 150_000_000n, lifetimeMs: null })
    expect(big && discountPercent(big, usdPerCredit)).toBe('15')
  })

  it('are refused above the price of their credits, by name', () => {
    expect(() => catalogue([{ id: 'dear', credits: '10', price: '1.01' }])).toThrow(
      expect.objectContaining({
        code: 'invalid_config',
        message: expect.stringMatching(/pack dear costs 1\.01 USD.*\(1\.00 USD\)/),
      }),
    )
  })

  it.each([
    [{ id: 'fine', credits: '0.0000001' }, /pack fine: credits/],
    [{ id: 'cheap', credits: '1', price: '0.0000001' }, /pack cheap: price/],
    [{ id: 'huge', credits: '100000000000000' }, /pack huge is larger/],
  ])('are refused when they cannot be booked: %o', (pack, message) => {
    expect(() => catalogue([pack])).toThrow(
      expect.objectContaining({ code: 'invalid_config', message: expect.stringMatching(message) }),
    )
  })

  it('have ids of their own', () => {
    expect(() =>
      catalogue([
        { id: 'a', credits: '1' },
        { id: 'a', credits: '2' },
      ]),
    ).toThrow(/Two packs are called a/)
  })

  it('never promise more or less than price and discount give together', () => {
    fc.assert(
      fc.property(
        fc.bigInt(1n, 10n ** 12n),
        fc.bigInt(1n, 10n ** 9n),
        fc.bigInt(1n, 10_000n),
        (credits, usdPerCredit, shareOfPrice) => {
          const plain = creditsToUsd(credits, usdPerCredit)
          fc.pre(plain <= 10n ** 15n)
          const price = (plain * shareOfPrice) / 10_000n
          fc.pre(price > 0n)
          const { packs } = catalogue(
            [{ id: 'p', credits: formatDecimal(credits, 6), price: formatDecimal(price, 6) }],
            formatDecimal(usdPerCredit, 6),
          )
          const pack = packs.get('p')
          if (!pack) throw new Error('no pack')
          const bought = usdToCredits(pack.usd, usdPerCredit)
          expect(pack.discount).toBe(bought >= credits ? 0n : credits - bought)
          expect(bought + pack.discount).toBeGreaterThanOrEqual(credits)
        },
      ),
    )
  })
})

describe('a sale', () => {
  const shop = catalogue([{ id: 'small', credits: '100' }])

  it('is of a pack or of credits at the plain price, rounded up', () => {
    expect(saleOf(shop, { pack: 'small' })).toMatchObject({ pack: 'small', usd: 10_000_000n })
    expect(saleOf(shop, { credits: '0.000001' })).toMatchObject({
      pack: null,
      credits: 1n,
      usd: 1n,
      discount: 0n,
    })
  })

  it('of an unknown pack says which exist', () => {
    expect(() => saleOf(shop, { pack: 'large' })).toThrow(
      expect.objectContaining({
        code: 'not_found',
        remedy: 'Choose one of: small.',
        details: { packs: ['small'] },
      }),
    )
  })

  it.each([
    [{}, /one of: a pack/],
    [{ pack: 'small', credits: '1' }, /one of: a pack/],
    [{ credits: '0' }, /more than zero/],
    [{ credits: '0.000' }, /more than zero/],
    [{ credits: '-1' }, /plain decimal/],
    [{ credits: '1e3' }, /plain decimal/],
    [{ credits: '' }, /plain decimal/],
    [{ credits: '0.0000001' }, /7 decimals, the unit allows 6/],
    [{ credits: '100000.000001' }, /at most 100000\.000000 credits/],
    [{ credits: '9'.repeat(40) }, /at most/],
    [{ credits: '9'.repeat(400) }, /plain decimal/],
  ])('%o is refused', (asked, message) => {
    expect(() => saleOf(shop, asked)).toThrow(
      expect.objectContaining({ code: 'invalid_request', message: expect.stringMatching(message) }),
    )
  })
})
