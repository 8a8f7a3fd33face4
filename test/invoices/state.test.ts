import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PaymentState } from '../../src/bursar.ts'
import { type Counted, countedAmount, deriveState } from '../../src/invoices/state.ts'

const invoice = { amount: 100n, expiresAt: 1_000 }

function payment(state: PaymentState, counts: bigint, over: Partial<Counted> = {}): Counted {
  return { state, counts, epoch: state === 'credited' || state === 'reversed' ? 1 : 0, late: false, ...over }
}

describe('the state of an invoice', () => {
  it.each([
    ['open', [], [], 100n],
    ['partial', [payment('seen', 40n)], ['under'], 60n],
    ['partial', [payment('credited', 40n)], ['under'], 60n],
    ['processing', [payment('seen', 100n)], [], 0n],
    ['processing', [payment('credited', 40n), payment('confirming', 60n)], [], 0n],
    ['paid', [payment('credited', 100n)], [], 0n],
    ['paid', [payment('credited', 40n), payment('credited', 60n, { late: true })], ['late'], 0n],
    ['paid', [payment('credited', 100n), payment('seen', 1n)], ['over'], 0n],
    ['reversed', [payment('reversed', 100n)], [], 100n],
    ['processing', [payment('reversed', 100n), payment('confirming', 100n)], [], 0n],
    ['processing', [payment('confirming', 100n, { epoch: 1 })], [], 0n],
    ['paid', [payment('reversed', 100n), payment('credited', 100n)], [], 0n],
    ['reversed', [payment('reversed', 100n), payment('credited', 40n)], ['under'], 60n],
    ['open', [payment('replaced', 100n), payment('orphaned', 100n), payment('failed', 1n)], [], 100n],
  ] as const)('is %s with %o before the lock ends', (state, payments, flags, missing) => {
    expect(deriveState(invoice, payments, 999)).toMatchObject({ state, flags, missing })
  })

  it.each([
    ['expired', [], []],
    ['expired', [payment('credited', 40n)], ['under']],
    ['processing', [payment('confirming', 100n, { late: true })], ['late']],
    ['paid', [payment('credited', 100n)], []],
    ['reversed', [payment('reversed', 100n)], []],
  ] as const)('is %s with %o once it has ended', (state, payments, flags) => {
    expect(deriveState(invoice, payments, 1_000)).toMatchObject({ state, flags })
  })

  const anyPayment = fc.record({
    state: fc.constantFrom<PaymentState>(
      'seen',
      'confirming',
      'credited',
      'replaced',
      'orphaned',
      'failed',
      'reversed',
    ),
    counts: fc.bigInt(0n, 150n),
    epoch: fc.nat(3),
    late: fc.boolean(),
  })

  it('does not depend on the order of payments, and adds up', () => {
    fc.assert(
      fc.property(fc.array(anyPayment, { maxLength: 6 }), fc.nat(2_000), (payments, now) => {
        const derived = deriveState(invoice, payments, now)
        expect(deriveState(invoice, payments.toReversed(), now)).toEqual(derived)
        expect(derived.settled).toBeLessThanOrEqual(derived.arrived)
        expect(derived.missing).toBe(derived.arrived >= 100n ? 0n : 100n - derived.arrived)
        expect(derived.state === 'paid').toBe(derived.settled >= 100n)
        expect(derived.flags.includes('over') && derived.flags.includes('under')).toBe(false)
        if (derived.state === 'open' || derived.state === 'partial') expect(now).toBeLessThan(1_000)
        if (derived.state === 'expired') expect(now).toBeGreaterThanOrEqual(1_000)
      }),
    )
  })

  it('never gets worse by another payment', () => {
    const rank = { open: 0, expired: 0, reversed: 0, partial: 1, processing: 2, paid: 3 }
    fc.assert(
      fc.property(fc.array(anyPayment, { maxLength: 6 }), fc.bigInt(1n, 200n), (payments, counts) => {
        const before = deriveState(invoice, payments, 0)
        const after = deriveState(invoice, [...payments, payment('credited', counts)], 0)
        expect(rank[after.state]).toBeGreaterThanOrEqual(before.state === 'reversed' ? 0 : rank[before.state])
        expect(after.missing).toBeLessThanOrEqual(before.missing)
      }),
    )
  })
})

describe('what a payment counts', () => {
  const sold = { chain: 'ethereum', symbol: 'ETH', amount: 4_000n, credits: 110n, discount: 10n }
  it('is its amount on the rail, and elsewhere its share of the undiscounted credits, rounded down', () => {
    const paid = { chain: 'ethereum', symbol: 'ETH', amount: 7n, credits: 50n }
    expect(countedAmount(sold, paid)).toBe(7n)
    expect(countedAmount(sold, { ...paid, chain: 'base' })).toBe(2_000n)
    expect(countedAmount(sold, { ...paid, symbol: 'USDC', credits: 0n })).toBe(0n)
    expect(countedAmount(sold, { ...paid, symbol: 'USDC', credits: 33n })).toBe(1_320n)
  })
})
