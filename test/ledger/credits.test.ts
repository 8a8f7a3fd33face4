/** Lots: granted, spent, lapsed, reversed. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { listAccounts } from '../../src/ledger/accounts.ts'
import { balanceView, getBalance } from '../../src/ledger/balance.ts'
import { expireCredits } from '../../src/ledger/expire.ts'
import { grantStatements, reverseStatements } from '../../src/ledger/grant.ts'
import { hold } from '../../src/ledger/hold.ts'
import { checkBooks } from '../support/books.ts'
import { insertAccount, type TestLedger, testLedger } from '../support/database.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

let t: TestLedger
let account: string
beforeEach(async () => {
  t = await testLedger()
  account = await t.account()
})
afterEach(async () => {
  await checkBooks(t.db)
  await t.close()
})

async function spend(credits: bigint): Promise<void> {
  await (await take(credits)).capture(credits)
}

async function take(amount: bigint) {
  const result = await hold(t.ledger, { account, amount, lifetimeMs: DAY })
  if (result.kind !== 'held') throw new Error(result.kind)
  return result.hold
}

const reverse = (ref: string) => t.db.commit(reverseStatements({ ref, at: t.clock.now() }))
const balanceOf = async (id: string) => {
  const { available, held } = await getBalance(t.ledger, id)
  return { available, held }
}
const available = async () => (await getBalance(t.ledger, account)).available
const left = async () =>
  (await t.db.query<{ remaining: bigint }>('SELECT remaining FROM lot ORDER BY ref')).map(
    (lot) => lot.remaining,
  )
const booked = async () =>
  Object.fromEntries(
    (
      await t.db.query<{ book: string; sum: bigint }>(
        'SELECT book, sum(counter) AS sum FROM posting WHERE book IS NOT NULL GROUP BY book',
      )
    ).map(({ book, sum }) => [book, sum]),
  )

test('the same grant twice is granted once; another one under its ref is a conflict', async () => {
  const grant = { ref: 'pay:1:1', account, credits: 50n, kind: 'grant', expiresAt: null, at: 1 } as const
  await t.db.commit(grantStatements(grant))
  await spend(20n)
  await t.db.commit(grantStatements(grant))
  await t.db.commit(grantStatements({ ...grant, at: 2 }))
  expect(await available()).toBe(30n)
  await expect(t.db.commit(grantStatements({ ...grant, credits: 51n }))).rejects.toMatchObject({
    code: 'conflict',
  })
  const other = t.db.commit(grantStatements({ ...grant, ref: 'pay:2:1', account: 'acc_none' }))
  await expect(other).rejects.toMatchObject({ code: 'not_found' })
  expect(() => grantStatements({ ...grant, credits: -1n })).toThrow(/between zero/)
  await t.db.commit(grantStatements({ ...grant, ref: 'pay:3:1', credits: 0n }))
  expect(await available()).toBe(30n)
  await reverse('pay:3:1')
  expect(await booked()).toEqual({ payments: -50n, revenue: 20n })
})

test('lots are spent oldest expiry first, those that never expire last', async () => {
  await t.grant(account, 10n)
  await t.grant(account, 10n, t.clock.now() + 2 * DAY)
  await t.grant(account, 10n, t.clock.now() + DAY)
  await spend(15n)
  expect(await left()).toEqual([10n, 5n, 0n])
  await spend(10n)
  expect(await left()).toEqual([5n, 0n, 0n])
})

test('a discount is granted and taken back in a book of its own', async () => {
  const ref = 'discount:inv:1'
  await t.db.commit(grantStatements({ ref, account, credits: 7n, kind: 'discount', expiresAt: null, at: 1 }))
  expect(await booked()).toEqual({ discounts: -7n })
  await reverse(ref)
  expect(await booked()).toEqual({ discounts: 0n })
})

test('a reversal takes what is left, then what others have, then leaves a debt that the next grant covers', async () => {
  const lost = await t.grant(account, 100n, t.clock.now() + DAY)
  await spend(60n)
  await t.grant(account, 25n)
  await reverse(lost)
  expect(await left()).toEqual([0n, 0n])
  expect(await available()).toBe(-35n)
  await expect(take(1n)).rejects.toMatchObject({ details: { available: '-0.000035', reason: 'empty' } })
  await reverse(lost)
  expect(await available()).toBe(-35n)
  await t.grant(account, 50n)
  expect(await available()).toBe(15n)
  expect(await left()).toEqual([0n, 0n, 15n])
  await spend(15n)
})

test('a payment that returns is granted again, once an epoch', async () => {
  const grant = (epoch: number) =>
    t.db.commit(
      grantStatements({
        ref: `pay:9:${epoch}`,
        account,
        credits: 40n,
        kind: 'grant',
        expiresAt: null,
        at: epoch,
      }),
    )
  await grant(1)
  await spend(10n)
  await reverse('pay:9:1')
  await grant(2)
  await grant(1)
  await grant(2)
  expect(await available()).toBe(30n)
  await reverse('pay:9:2')
  expect(await available()).toBe(-10n)
  await expect(reverse('pay:9:3')).rejects.toMatchObject({ code: 'not_found' })
})

test('a hold outlives the reversal of what covered it', async () => {
  const lost = await t.grant(account, 100n)
  const call = await take(80n)
  await reverse(lost)
  expect(await getBalance(t.ledger, account)).toMatchObject({ available: -80n, held: 80n })
  expect(await call.capture(50n)).toEqual({ charged: 50n, available: -50n })
})

test('credits lapse at their expiry: not available at once, booked by the sweep', async () => {
  await t.grant(account, 30n, t.clock.now() + MINUTE)
  await t.grant(account, 5n)
  t.clock.advance(MINUTE - 1)
  expect(await available()).toBe(35n)
  t.clock.advance(1)
  expect(await available()).toBe(5n)
  expect(await expireCredits(t.ledger)).toBe(1)
  expect(await booked()).toEqual({ payments: -35n, breakage: 30n })
  expect(await expireCredits(t.ledger)).toBe(0)
  await expect(take(6n)).rejects.toMatchObject({ code: 'insufficient_credits' })
})

test('a list of accounts says what each balance says, also of what has lapsed and is held', async () => {
  const other = await t.account(7n)
  await t.grant(account, 30n, t.clock.now() + MINUTE)
  await t.grant(account, 5n)
  await take(20n)
  for (const expected of [15n, 5n]) {
    const listed = await listAccounts(t.ledger, { limit: 9 })
    expect(listed.map(({ id }) => id).toSorted()).toEqual([account, other].toSorted())
    for (const { id, available, held } of listed) expect({ available, held }).toEqual(await balanceOf(id))
    expect(listed.find(({ id }) => id === account)).toMatchObject({ available: expected, held: 20n })
    t.clock.advance(MINUTE)
  }
})

test('lapsed credits cannot be held again before the sweep has come', async () => {
  await t.grant(account, 30n, t.clock.now() + MINUTE)
  await t.grant(account, 5n)
  t.clock.advance(MINUTE)
  await take(5n)
  await expect(take(1n)).rejects.toMatchObject({ details: { available: '0.000000' } })
  expect(await booked()).toEqual({ payments: -35n, breakage: 30n })
})

test('a hold keeps credits alive past their expiry; the rest lapses when it ends', async () => {
  await t.grant(account, 30n, t.clock.now() + MINUTE)
  const call = await take(20n)
  t.clock.advance(MINUTE)
  await expireCredits(t.ledger)
  expect(await booked()).toEqual({ payments: -30n, breakage: 10n })
  expect(await call.capture(12n)).toEqual({ charged: 12n, available: 0n })
  expect(await booked()).toEqual({ payments: -30n, breakage: 18n, revenue: 12n })
})

test('what has lapsed of a reversed lot is not taken a second time', async () => {
  const lost = await t.grant(account, 100n, t.clock.now() + MINUTE)
  await spend(30n)
  const call = await take(20n)
  t.clock.advance(MINUTE)
  await expireCredits(t.ledger)
  await call.release()
  await t.grant(account, 50n)
  await reverse(lost)
  expect(await available()).toBe(20n)
  expect(await booked()).toEqual({ payments: -50n, breakage: 0n, revenue: 30n })
})

test('a reversal does not take from credits that had lapsed before it', async () => {
  const lost = await t.grant(account, 100n)
  await spend(60n)
  await t.grant(account, 50n, t.clock.now() + MINUTE)
  await t.grant(account, 70n)
  t.clock.advance(MINUTE)
  await reverse(lost)
  expect(await booked()).toEqual({ payments: -120n, breakage: 50n, revenue: 60n })
  expect(await available()).toBe(10n)
})

test('the sweep looks at every account that is due, and two at once book once', async () => {
  const ids = Array.from({ length: 530 }, () => t.runtime.id('acc'))
  const granted = {
    credits: 3n,
    kind: 'grant',
    expiresAt: t.clock.now() + MINUTE,
    at: t.clock.now(),
  } as const
  await t.db.commit(
    ids.flatMap((id) => [
      insertAccount(id, t.clock.now()),
      ...grantStatements({ ref: `pay:${id}`, account: id, ...granted }),
    ]),
  )
  t.clock.advance(MINUTE)
  await Promise.all([expireCredits(t.ledger), expireCredits(t.ledger)])
  expect(await booked()).toEqual({ payments: -1590n, breakage: 1590n })
})

test('the next expiry is the soonest that is still to come', async () => {
  expect(await getBalance(t.ledger, account)).toMatchObject({ nextExpiry: null })
  await t.grant(account, 10n)
  expect(await getBalance(t.ledger, account)).toMatchObject({ nextExpiry: null })
  const soon = t.clock.now() + DAY
  await t.grant(account, 10n, soon + 1)
  await t.grant(account, 3n, soon)
  await t.grant(account, 4n, soon)
  await spend(2n)
  expect(await getBalance(t.ledger, account)).toMatchObject({ nextExpiry: { credits: 5n, at: soon } })
  t.clock.set(soon)
  expect(await getBalance(t.ledger, account)).toMatchObject({ nextExpiry: { credits: 10n, at: soon + 1 } })
})

test('the burn rate is a daily mean over seven days, or since the first charge', async () => {
  await t.grant(account, 1_000_000_000n)
  const rate = async () => (await getBalance(t.ledger, account)).burnPerDay
  expect(await rate()).toBe(0n)
  await spend(8_000_000n)
  expect(await rate()).toBe(8_000_000n)
  t.clock.advance(2 * DAY)
  expect(await rate()).toBe(4_000_000n)
  await spend(60_000_000n)
  t.clock.advance(4 * DAY)
  expect(await rate()).toBe(68_000_000n / 6n)
  t.clock.advance(2 * DAY)
  expect(await rate()).toBe(60_000_000n / 7n)
  t.clock.advance(7 * DAY)
  expect(await rate()).toBe(0n)
})

test('the balance for agents: text, six decimals, days that it lasts', async () => {
  await t.grant(account, 25_000_000n, t.clock.now() + 30 * DAY)
  expect(await balanceView(t.ledger, account)).toEqual({
    account,
    available: '25.000000',
    held: '0.000000',
    next_expiry: { credits: '25.000000', at: '2026-12-01T00:00:00.000Z' },
    burn_rate_per_day: '0.000000',
    runway_days: null,
    frozen: false,
    allowance: null,
  })
  await spend(3_000_000n)
  await take(2_000_000n)
  expect(await balanceView(t.ledger, account)).toMatchObject({
    available: '20.000000',
    held: '2.000000',
    burn_rate_per_day: '3.000000',
    runway_days: '6.6',
  })
  await expect(balanceView(t.ledger, 'acc_none')).rejects.toMatchObject({ code: 'not_found' })
})
