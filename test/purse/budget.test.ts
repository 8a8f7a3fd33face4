import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { BursarError } from '../../src/errors.ts'
import { type Budget, budgetLeft, budgetOf, checkBudget, periodOf, readUse } from '../../src/purse/budget.ts'
import { type Payment, step } from '../../src/purse/payment.ts'
import type { Order, Purse } from '../../src/purse/purse.ts'
import { reserve } from '../../src/purse/reserve.ts'
import {
  configOf,
  type Folder,
  freshAddress,
  makeFolder,
  makeRuntime,
  openTestPurse,
  settingsOf,
} from './support/fixture.ts'

const budget: Budget = { perPayment: 10_000_000n, perDay: 25_000_000n, perMonth: 60_000_000n }
const NOW = Date.UTC(2026, 10, 23, 17, 30)
const none = { spent: 0n, reserved: 0n }

function refusal(run: () => void): BursarError {
  try {
    run()
  } catch (error) {
    return error as BursarError
  }
  throw new Error('nothing was refused')
}

describe('periods', () => {
  it('are calendar days and months in UTC', () => {
    expect(periodOf(NOW)).toEqual({
      day: '2026-11-23',
      month: '2026-11',
      dayEnds: Date.UTC(2026, 10, 24),
      monthEnds: Date.UTC(2026, 11, 1),
    })
  })
  it('roll over at midnight UTC, months and years included', () => {
    const last = Date.UTC(2026, 11, 31, 23, 59, 59, 999)
    expect(periodOf(last)).toMatchObject({
      day: '2026-12-31',
      month: '2026-12',
      dayEnds: last + 1,
      monthEnds: last + 1,
    })
    expect(periodOf(last + 1)).toMatchObject({ day: '2027-01-01', month: '2027-01' })
  })
})

describe('the three limits', () => {
  it('let through what just fits', () => {
    const use = {
      day: { spent: 10_000_000n, reserved: 5_000_000n },
      month: { spent: 45_000_000n, reserved: 5_000_000n },
    }
    expect(() => checkBudget(budget, periodOf(NOW), use, 10_000_000n)).not.toThrow()
  })
  it('refuse one micro-dollar more for one payment', () => {
    const error = refusal(() => checkBudget(budget, periodOf(NOW), { day: none, month: none }, 10_000_001n))
    expect(error.code).toBe('budget_exceeded')
    expect(error.details).toEqual({
      limit: 'per_payment',
      limit_usd: '10.00',
      spent_usd: '0.00',
      reserved_usd: '0.00',
      required_usd: '10.000001',
      left_usd: '10.00',
      resets_at: null,
    })
  })
  it('refuse by the day, and say when it ends', () => {
    const use = { day: { spent: 18_000_000n, reserved: 2_000_001n }, month: none }
    const error = refusal(() => checkBudget(budget, periodOf(NOW), use, 5_000_000n))
    expect(error.details).toEqual({
      limit: 'per_day',
      limit_usd: '25.00',
      spent_usd: '18.00',
      reserved_usd: '2.000001',
      required_usd: '5.00',
      left_usd: '4.999999',
      resets_at: '2026-11-24T00:00:00.000Z',
    })
  })
  it('refuse by the month before the day: tomorrow would not help', () => {
    const use = {
      day: { spent: 25_000_000n, reserved: 0n },
      month: { spent: 59_000_000n, reserved: 500_000n },
    }
    const error = refusal(() => checkBudget(budget, periodOf(NOW), use, 600_000n))
    expect(error.details).toMatchObject({
      limit: 'per_month',
      left_usd: '0.50',
      resets_at: '2026-12-01T00:00:00.000Z',
    })
  })
  it('leave nothing when they are lowered below what is spent', () => {
    expect(
      budgetLeft(budget, {
        day: { spent: 90_000_000n, reserved: 0n },
        month: { spent: 55_000_000n, reserved: 0n },
      }),
    ).toEqual({ day: 0n, month: 5_000_000n })
  })
  it('are read exactly, or refused with their field', () => {
    expect(budgetOf({ per_payment: '0.000001', per_day: '1.50', per_month: '1000000000' })).toEqual({
      perPayment: 1n,
      perDay: 1_500_000n,
      perMonth: 1_000_000_000_000_000n,
    })
    for (const wrong of ['0.0000001', '1000000000.000001', '0.00']) {
      const error = refusal(() => budgetOf({ per_payment: '1', per_day: wrong, per_month: '1' }))
      expect(error).toMatchObject({ code: 'invalid_config', message: expect.stringContaining('per_day') })
    }
  })
})

describe('reservations', () => {
  let folder: Folder
  beforeEach(() => {
    folder = makeFolder()
  })
  afterEach(() => folder.remove())

  const fee = { gas: 21_000n, maxFeePerGas: 1n, maxPriorityFeePerGas: 0n, maxFee: 21_000n }
  let invoices = 0
  function orderOf(purse: Purse, cents: number): Order {
    invoices += 1
    const [network] = purse.networks
    const [asset] = network?.assets ?? []
    const [payee] = purse.payees
    if (!network || !asset || !payee) throw new Error('the test configures a network and a payee')
    return {
      payee,
      invoice: `inv_${invoices}`,
      rail: 'local:ETH',
      network,
      asset,
      recipient: freshAddress(),
      // 1 ETH is $2,000: one cent is 5 * 10^12 wei.
      amount: BigInt(cents) * 5_000_000_000_000n,
      expiresAt: NOW + 1e9,
      payload: '{}',
      signature: '',
    }
  }
  async function sums(purse: Purse, column: 'day' | 'month'): Promise<bigint[]> {
    const rows = await purse.db.query<{ sum: bigint }>(
      `SELECT sum(usd) AS sum FROM payment GROUP BY ${column}`,
    )
    return rows.map((row) => row.sum)
  }

  /** What became of a reserved payment, and how much of it was the true cost. */
  type End = 'open' | 'unsent' | 'paid'
  let nonces = 0n
  async function finish(purse: Purse, payment: Payment, end: End): Promise<void> {
    if (end === 'open') return
    if (end === 'unsent') {
      await step(purse.db, NOW, payment, { state: 'failed', reason: 'expired', usd: 0n })
      return
    }
    nonces += 1n
    const signed = await step(purse.db, NOW, payment, {
      state: 'signed',
      nonce: nonces,
      raw: '0x02',
      txid: '0x1',
    })
    const sent = await step(purse.db, NOW, signed, { state: 'unknown' })
    await step(purse.db, NOW, sent, { state: 'confirmed', usd: payment.amount_usd, fee: '0' })
  }

  it('never exceed the day and the month, whatever the concurrency and the outcomes', async () => {
    const limits = { per_payment: '0.30', per_day: '1', per_month: '2.50' }
    const till = { payee: `ed25519:${'A'.repeat(43)}` } as never
    let clock = NOW
    const runtime = makeRuntime({ now: () => clock })
    const wave = fc.record({
      hours: fc.integer({ min: 0, max: 30 }),
      spends: fc.array(
        fc.record({
          cents: fc.integer({ min: 1, max: 35 }),
          end: fc.constantFrom<End>('open', 'unsent', 'paid'),
          second: fc.boolean(),
        }),
        { minLength: 1, maxLength: 8 },
      ),
    })
    let run = 0
    await fc.assert(
      fc.asyncProperty(fc.array(wave, { minLength: 1, maxLength: 4 }), async (waves) => {
        run += 1
        clock = NOW
        const config = configOf({
          rpc: 'http://127.0.0.1:9',
          payees: [till],
          budget: limits,
          purse: { database: `${folder.path}/${run}.db` },
        })
        // Two connections, as two processes would have them.
        const one = await openTestPurse(settingsOf(config, folder.path), { runtime })
        const two = await openTestPurse(settingsOf(config, folder.path), { runtime })
        try {
          for (const { hours, spends } of waves) {
            clock += hours * 3_600_000
            await Promise.all(
              spends.map(async ({ cents, end, second }) => {
                const purse = second ? two : one
                const order = orderOf(purse, cents)
                const payment = await reserve(purse, order, fee, undefined).catch((error: BursarError) => {
                  expect(error.code).toBe('budget_exceeded')
                  return null
                })
                if (payment) await finish(purse, payment, end)
              }),
            )
            for (const sum of await sums(one, 'day')) expect(sum).toBeLessThanOrEqual(1_000_000n)
            for (const sum of await sums(one, 'month')) expect(sum).toBeLessThanOrEqual(2_500_000n)
          }
          // What is left can be spent to the last micro-dollar, so nothing was lost to failed payments either.
          const period = periodOf(clock)
          const left = budgetLeft(one.budget, await readUse(one.db, period)).day
          const cents = Number(left / 10_000n)
          if (cents > 1 && cents <= 29) await reserve(one, orderOf(one, cents - 1), fee, undefined)
        } finally {
          await one.close()
          await two.close()
        }
      }),
      { numRuns: 25 },
    )
  })

  it('give a refused payment no row, so that it can be tried again tomorrow', async () => {
    let clock = NOW
    const limits = { per_payment: '1', per_day: '1', per_month: '10' }
    const till = { payee: `ed25519:${'A'.repeat(43)}` } as never
    const config = configOf({ rpc: 'http://127.0.0.1:9', payees: [till], budget: limits })
    const purse = await openTestPurse(settingsOf(config, folder.path), {
      runtime: makeRuntime({ now: () => clock }),
    })
    const later = orderOf(purse, 80)
    await reserve(purse, orderOf(purse, 80), fee, undefined)
    await expect(reserve(purse, later, fee, undefined)).rejects.toMatchObject({
      code: 'budget_exceeded',
      details: { limit: 'per_day', reserved_usd: '0.800001' },
    })
    clock += 24 * 3_600_000
    await expect(reserve(purse, later, fee, undefined)).resolves.toMatchObject({
      state: 'reserved',
      usd: 800_001n,
    })
    await purse.close()
  })

  it('are one for an invoice, whoever asks at the same time', async () => {
    const till = { payee: `ed25519:${'A'.repeat(43)}` } as never
    const config = configOf({ rpc: 'http://127.0.0.1:9', payees: [till] })
    const one = await openTestPurse(settingsOf(config, folder.path))
    const two = await openTestPurse(settingsOf(config, folder.path))
    const order = orderOf(one, 50)
    const all = await Promise.all([one, two, one, two].map((purse) => reserve(purse, order, fee, undefined)))
    expect(new Set(all.map(({ id }) => id)).size).toBe(1)
    expect(await sums(one, 'day')).toEqual([500_001n])
    await one.close()
    await two.close()
  })

  it('cannot be changed into another promise, nor deleted', async () => {
    const till = { payee: `ed25519:${'A'.repeat(43)}` } as never
    const purse = await openTestPurse(
      settingsOf(configOf({ rpc: 'http://127.0.0.1:9', payees: [till] }), folder.path),
    )
    await reserve(purse, orderOf(purse, 50), fee, undefined)
    for (const sql of [
      "UPDATE payment SET amount = '1'",
      "UPDATE payment SET recipient = 'x'",
      "UPDATE payment SET state = 'confirmed'",
      'UPDATE payment SET usd = usd + 1',
      'DELETE FROM payment',
    ]) {
      await expect(purse.db.commit([{ sql, args: [] }]), sql).rejects.toThrow()
    }
    await purse.close()
  })
})
