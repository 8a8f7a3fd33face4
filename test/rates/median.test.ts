import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { agree, type Offer, spreadOf, type Terms } from '../../src/rates/median.ts'

const terms: Terms = { maxSpread: 15_000n, minSources: 2 }

function offersOf(...prices: (number | bigint)[]): Offer[] {
  return prices.map((price, index) => ({ source: `s${index}`, priceE8: BigInt(price) }))
}

function decide(offers: readonly Offer[], by = terms) {
  return agree(offers, by, offers.length)
}

describe('agreement', () => {
  it('is the median of those within the limit, named in their order', () => {
    expect(decide(offersOf(10_010, 10_000, 10_100))).toEqual({
      priceE8: 10_010n,
      sources: ['s0', 's1', 's2'],
    })
    expect(decide(offersOf(10_000, 10_011))).toEqual({ priceE8: 10_005n, sources: ['s0', 's1'] })
  })

  it('reaches exactly to the limit', () => {
    expect(decide(offersOf(10_000, 10_150))).not.toBeNull()
    expect(decide(offersOf(10_000, 10_151))).toBeNull()
  })

  it('outvotes one that lies, and refuses two camps', () => {
    expect(decide(offersOf(10_000, 20_000, 10_020))).toEqual({ priceE8: 10_010n, sources: ['s0', 's2'] })
    expect(decide(offersOf(10_000, 10_000, 20_000, 20_000))).toBeNull()
    expect(decide(offersOf(10_000, 20_000))).toBeNull()
  })

  it('needs enough of them', () => {
    expect(decide(offersOf())).toBeNull()
    expect(decide(offersOf(10_000))).toBeNull()
    expect(decide(offersOf(10_000, 10_000), { ...terms, minSources: 3 })).toBeNull()
  })

  it('counts those that may still contradict', () => {
    expect(agree(offersOf(10_000, 10_000), terms, 4)).toBeNull()
    expect(agree(offersOf(10_000, 10_000), terms, 3)).not.toBeNull()
  })

  it('takes the tightest of several camps as large', () => {
    expect(decide(offersOf(10_000, 10_140, 10_160))?.sources).toEqual(['s1', 's2'])
  })

  const price = fc.oneof(fc.bigInt({ min: 9_900n, max: 10_300n }), fc.bigInt({ min: 1n, max: 10n ** 20n }))
  const many = fc.array(price, { maxLength: 7 })
  const limits = fc.record({
    maxSpread: fc.bigInt({ min: 1n, max: 100_000n }),
    minSources: fc.integer({ min: 2, max: 5 }),
  })

  it('is what a search through all subsets finds', () => {
    fc.assert(
      fc.property(many, limits, (prices, by) => {
        const offers = offersOf(...prices)
        const found = decide(offers, by)
        const camps = subsets(offers).filter((camp) => isWithin(camp, by.maxSpread))
        const largest = Math.max(...camps.map((camp) => camp.length))
        expect(found !== null).toBe(largest >= by.minSources && largest * 2 > offers.length)
        if (!found) return
        expect(found.sources).toHaveLength(largest)
        const named = offers.filter((offer) => found.sources.includes(offer.source))
        expect(isWithin(named, by.maxSpread)).toBe(true)
        const below = named.filter((offer) => offer.priceE8 <= found.priceE8).length
        const above = named.filter((offer) => offer.priceE8 >= found.priceE8).length
        expect(below).toBeGreaterThanOrEqual(largest / 2)
        expect(above).toBeGreaterThanOrEqual(Math.floor(largest / 2))
      }),
      { numRuns: 500 },
    )
  })

  it('is near the truth as long as the honest are the majority, whatever the others say', () => {
    const truth = fc.bigInt({ min: 10n ** 6n, max: 10n ** 15n })
    const noise = fc.array(fc.bigInt({ min: -4_000n, max: 4_000n }), { minLength: 2, maxLength: 4 })
    const lies = fc.array(fc.bigInt({ min: 1n, max: 10n ** 20n }), { maxLength: 3 })
    fc.assert(
      fc.property(truth, noise, lies, (truth, noise, lies) => {
        fc.pre(lies.length < noise.length)
        const honest = noise.map((millionths) => (truth * (1_000_000n + millionths)) / 1_000_000n)
        const found = decide(offersOf(...honest, ...lies))
        if (!found) throw new Error('the honest were not believed')
        const off = found.priceE8 > truth ? found.priceE8 - truth : truth - found.priceE8
        // Within the limit of an honest one, which is within 0.4 % of the truth.
        expect(off * 1_000_000n).toBeLessThanOrEqual(truth * 20_000n)
      }),
      { numRuns: 500 },
    )
  })

  it('does not depend on the order of the answers', () => {
    fc.assert(
      fc.property(many, fc.infiniteStream(fc.nat()), (prices, order) => {
        const offers = offersOf(...prices)
        const shuffled = offers
          .map((offer) => ({ offer, key: order.next().value as number }))
          .sort((a, b) => a.key - b.key)
          .map(({ offer }) => offer)
        expect(decide(shuffled)?.priceE8).toBe(decide(offers)?.priceE8)
      }),
    )
  })
})

/** Highest and lowest no further apart than the limit; by multiplication, where the code divides. */
function isWithin(camp: readonly Offer[], maxSpread: bigint): boolean {
  return camp.every(({ priceE8: low }) =>
    camp.every(({ priceE8: high }) => high <= low || (high - low) * 1_000_000n <= maxSpread * low),
  )
}

function subsets(offers: readonly Offer[]): Offer[][] {
  return offers.reduce<Offer[][]>((sets, offer) => [...sets, ...sets.map((set) => [...set, offer])], [[]])
}

describe('spread', () => {
  it('is of the lowest, rounded up', () => {
    expect(spreadOf([])).toBe(0n)
    expect(spreadOf(offersOf(5))).toBe(0n)
    expect(spreadOf(offersOf(10_000, 10_150))).toBe(15_000n)
    expect(spreadOf(offersOf(3_000_000_000, 3_000_000_001))).toBe(1n)
  })
})
