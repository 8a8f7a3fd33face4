import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Arrival,
  arrivedInTime,
  lockIsFilled,
  MINED_WITHIN_MS,
  type Terms,
  valuePayments,
} from '../../src/invoices/pricing.ts'
import { creditsToUsd, MICRO, usdToAtomic } from '../../src/money.ts'

const END = 1_000_000
const WEI = 10n ** 18n

/** 100 credits at $0.10 on ethereum:ETH, locked at $2,500: 0.004 ETH. */
const terms: Terms = {
  chain: 'ethereum',
  symbol: 'ETH',
  amount: WEI / 250n,
  expiresAt: END,
  priceE8: 2500n * 10n ** 8n,
  usdPerCredit: 100_000n,
}

function arrival(over: Partial<Arrival> = {}): Arrival {
  return {
    chain: 'ethereum',
    family: 'evm',
    symbol: 'ETH',
    decimals: 18,
    amount: terms.amount,
    blockTime: END - 1,
    seenAt: END - 1,
    locked: 0n,
    quote: { priceE8: terms.priceE8, source: 'test', at: 1 },
    ...over,
  }
}

const quoteOf = (usd: number) => ({ priceE8: BigInt(usd) * 10n ** 8n, source: 'test', at: 1 })

function credits(...arrivals: Arrival[]): (bigint | string)[] {
  return valuePayments(terms, arrivals).map((value) => (value.kind === 'credit' ? value.credits : value.kind))
}

describe('the value of a payment', () => {
  it('is the locked rate for the invoiced amount in time, wherever the market went', () => {
    for (const usd of [100, 2500, 9000])
      expect(credits(arrival({ quote: quoteOf(usd) }))).toEqual([100n * MICRO])
  })

  it('needs no current rate while the lock covers it, and waits for one otherwise', () => {
    expect(credits(arrival({ quote: null }))).toEqual([100n * MICRO])
    expect(credits(arrival({ quote: null, amount: terms.amount + 1n }))).toEqual(['unpriced'])
    expect(credits(arrival({ quote: null, blockTime: END }))).toEqual(['unpriced'])
  })

  it.each([
    [2000, 180n],
    [2500, 200n],
    [3000, 200n],
  ])('counts the part above the amount at the lower rate: market at $%i', (usd, expected) => {
    expect(credits(arrival({ amount: 2n * terms.amount, quote: quoteOf(usd) }))).toEqual([expected * MICRO])
  })

  it.each([
    [2000, 80n],
    [3000, 100n],
  ])('counts a late payment at the lower rate: market at $%i', (usd, expected) => {
    expect(credits(arrival({ blockTime: END, quote: quoteOf(usd) }))).toEqual([expected * MICRO])
  })

  it('lets two payments share one lock, in order', () => {
    const part = (3n * terms.amount) / 4n
    const quote = quoteOf(1250)
    expect(credits(arrival({ amount: part, quote }), arrival({ amount: part, quote }))).toEqual([
      75n * MICRO,
      25n * MICRO + 25n * MICRO,
    ])
  })

  it('counts another coin at its current rate', () => {
    const quote = quoteOf(0)
    expect(
      credits(
        arrival({ symbol: 'POL', quote: { ...quote, priceE8: 50_000_000n }, amount: 20n * WEI }),
        arrival({ symbol: 'USDC', decimals: 6, amount: 10_000_000n, quote: quoteOf(1) }),
      ),
    ).toEqual([100n * MICRO, 100n * MICRO])
  })

  it('counts the same coin on another chain at the lower rate, never by the lock', () => {
    const elsewhere = { chain: 'base', quote: quoteOf(2000) }
    expect(credits(arrival(elsewhere), arrival())).toEqual([80n * MICRO, 100n * MICRO])
    expect(credits(arrival({ ...elsewhere, quote: quoteOf(9000) }))).toEqual([100n * MICRO])
  })

  it('never counts a stablecoin above $1', () => {
    const usdc: Terms = { ...terms, symbol: 'USDC', amount: 10_000_000n, priceE8: 10n ** 8n }
    const paid = arrival({ symbol: 'USDC', decimals: 6, amount: 20_000_000n })
    const at = (priceE8: bigint) => ({ priceE8, source: 'test', at: 1 })
    expect(valuePayments(usdc, [{ ...paid, quote: at(150_000_000n) }])[0]).toMatchObject({
      credits: 200n * MICRO,
    })
    expect(valuePayments(usdc, [{ ...paid, quote: at(90_000_000n) }])[0]).toMatchObject({
      credits: 190n * MICRO,
    })
    // On an invoice in another coin too.
    expect(
      credits(arrival({ symbol: 'USDT', decimals: 6, amount: 1_000_000n, quote: at(110_000_000n) })),
    ).toEqual([10n * MICRO])
  })

  it('is nothing below the dust floor, and dust leaves the lock alone', () => {
    const cent = WEI / 250_000n
    expect(
      credits(arrival({ amount: cent - 1n }), arrival({ amount: cent }), arrival({ amount: terms.amount })),
    ).toEqual(['dust', 100_000n, 100n * MICRO])
    const satoshi = { ...terms, chain: 'bitcoin', symbol: 'BTC', amount: 100_000n }
    const btc = arrival({ chain: 'bitcoin', family: 'bitcoin', symbol: 'BTC', decimals: 8 })
    expect(
      valuePayments(satoshi, [
        { ...btc, amount: 545n },
        { ...btc, amount: 546n },
      ]).map((v) => v.kind),
    ).toEqual(['dust', 'credit'])
  })

  it('gives a freed lock to a payment that was credited below it', () => {
    const low = quoteOf(1250)
    const [, second] = valuePayments(terms, [arrival({ quote: low }), arrival({ quote: low })])
    if (second?.kind !== 'credit') throw new Error('not credited')
    expect(second.credits).toBe(50n * MICRO)
    // The first has left the chain.
    expect(credits(arrival({ quote: low, locked: second.pricing.locked }))).toEqual([100n * MICRO])
    // It has come back: the lock is taken now.
    expect(credits(arrival({ quote: low, locked: terms.amount }), arrival({ quote: low }))).toEqual([
      100n * MICRO,
      50n * MICRO,
    ])
  })
})

describe('in time', () => {
  const when = (family: 'evm' | 'bitcoin', blockTime: number | null, seenAt: number) =>
    arrivedInTime(terms, { family, blockTime, seenAt })

  it('means mined in a block timestamped before the lock ends', () => {
    expect(when('evm', END - 1, END + 999)).toBe(true)
    expect(when('evm', END, END - 999)).toBe(false)
    expect(when('evm', null, END - 999)).toBe(false)
  })

  it('means on Bitcoin also: seen before it ends and mined within an hour of that', () => {
    const seen = END - 1
    expect(when('bitcoin', END - 1, END + 999)).toBe(true)
    expect(when('bitcoin', seen + MINED_WITHIN_MS, seen)).toBe(true)
    expect(when('bitcoin', seen + MINED_WITHIN_MS + 1, seen)).toBe(false)
    // A replacement is a transaction of its own, seen when it appeared.
    expect(when('bitcoin', END + 10, END)).toBe(false)
    expect(when('bitcoin', null, seen)).toBe(false)
  })
})

describe('for all payments', () => {
  const anyTerms = fc
    .record({
      credits: fc.bigInt(1_000_000n, 10n ** 12n),
      usdPerCredit: fc.bigInt(1n, 10n ** 8n),
      priceE8: fc.bigInt(1n, 10n ** 14n),
      decimals: fc.constantFrom(0, 6, 8, 18),
    })
    .map(({ credits, usdPerCredit, priceE8, decimals }) => ({
      credits,
      decimals,
      terms: {
        ...terms,
        usdPerCredit,
        priceE8,
        amount: usdToAtomic(creditsToUsd(credits, usdPerCredit), priceE8, decimals),
      } satisfies Terms,
    }))
  const anyArrivals = fc.array(
    fc.record({
      share: fc.bigInt(0n, 2_000n),
      late: fc.boolean(),
      chain: fc.constantFrom('ethereum', 'base'),
      symbol: fc.constantFrom('ETH', 'USDC', 'POL'),
      priceE8: fc.bigInt(1n, 10n ** 14n),
    }),
    { minLength: 1, maxLength: 8 },
  )

  function build(
    invoice: { terms: Terms; decimals: number },
    shares: readonly {
      share: bigint
      late: boolean
      chain: string
      symbol: string
      priceE8: bigint
    }[],
  ): Arrival[] {
    return shares.map(({ share, late, chain, symbol, priceE8 }) =>
      arrival({
        chain,
        symbol,
        decimals: invoice.decimals,
        amount: (invoice.terms.amount * share) / 1_000n,
        blockTime: late ? END : END - 1,
        quote: { priceE8, source: 'test', at: 1 },
      }),
    )
  }

  it('an exact payment in time grants at least what was promised', () => {
    fc.assert(
      fc.property(anyTerms, (invoice) => {
        const [value] = valuePayments(invoice.terms, [
          arrival({ decimals: invoice.decimals, amount: invoice.terms.amount }),
        ])
        if (value?.kind === 'dust') return
        expect(value?.kind === 'credit' && value.credits >= invoice.credits).toBe(true)
      }),
    )
  })

  it('the lock is never used beyond the amount, and no rate above the locked or current one is paid', () => {
    fc.assert(
      fc.property(anyTerms, anyArrivals, (invoice, shares) => {
        const arrivals = build(invoice, shares)
        const values = valuePayments(invoice.terms, arrivals)
        let locked = 0n
        for (const [i, value] of values.entries()) {
          const paid = arrivals[i]
          if (!paid || value.kind !== 'credit') continue
          const { pricing } = value
          locked += pricing.locked
          expect(pricing.locked + pricing.rest).toBe(paid.amount)
          if (paid.chain !== 'ethereum' || paid.symbol !== 'ETH' || paid.blockTime === END) {
            expect(pricing.locked).toBe(0n)
          }
          const current = paid.quote?.priceE8 ?? 0n
          if (pricing.rest > 0n) {
            expect(pricing.restPriceE8).toBeLessThanOrEqual(current)
            if (paid.symbol === 'ETH') expect(pricing.restPriceE8).toBeLessThanOrEqual(invoice.terms.priceE8)
            if (paid.symbol === 'USDC') expect(pricing.restPriceE8).toBeLessThanOrEqual(10n ** 8n)
          }
          // Rounded down, once: never more than the exact worth, less than a micro-credit below it.
          const worth =
            (pricing.locked * invoice.terms.priceE8 + pricing.rest * (pricing.restPriceE8 ?? 0n)) * MICRO
          const unit = 100n * 10n ** BigInt(invoice.decimals) * invoice.terms.usdPerCredit
          expect(value.credits * unit <= worth && worth < (value.credits + 1n) * unit).toBe(true)
        }
        expect(locked).toBeLessThanOrEqual(invoice.terms.amount)
      }),
    )
  })

  it('valuing again what is credited changes nothing', () => {
    fc.assert(
      fc.property(anyTerms, anyArrivals, (invoice, shares) => {
        const arrivals = build(invoice, shares)
        const values = valuePayments(invoice.terms, arrivals)
        const again = arrivals.flatMap((paid, i) => {
          const value = values[i]
          if (value?.kind !== 'credit') return []
          const { locked, restPriceE8 } = value.pricing
          const quote = restPriceE8 === null ? null : { priceE8: restPriceE8, source: 'test', at: 1 }
          return [{ value, paid: { ...paid, locked, quote } }]
        })
        expect(
          valuePayments(
            invoice.terms,
            again.map(({ paid }) => paid),
          ),
        ).toEqual(again.map(({ value }) => value))
      }),
    )
  })

  it('when one leaves, no other is worth less', () => {
    fc.assert(
      fc.property(anyTerms, anyArrivals, fc.nat(), (invoice, shares, gone) => {
        const arrivals = build(invoice, shares)
        const values = valuePayments(invoice.terms, arrivals)
        const staying = arrivals.flatMap((paid, i) => {
          const value = values[i]
          if (i === gone % arrivals.length || value?.kind !== 'credit') return []
          const { locked, restPriceE8 } = value.pricing
          const quote = restPriceE8 === null ? null : { priceE8: restPriceE8, source: 'test', at: 1 }
          return [{ was: value.credits, paid: { ...paid, locked, quote } }]
        })
        const after = valuePayments(
          invoice.terms,
          staying.map(({ paid }) => paid),
        )
        for (const [i, value] of after.entries()) {
          expect(value.kind === 'credit' && value.credits >= (staying[i]?.was ?? 0n)).toBe(true)
        }
      }),
    )
  })

  it('the discount is due exactly when the lock is filled', () => {
    expect(lockIsFilled(terms, [{ locked: terms.amount - 1n }])).toBe(false)
    expect(lockIsFilled(terms, [{ locked: terms.amount - 1n }, { locked: 1n }])).toBe(true)
  })
})
