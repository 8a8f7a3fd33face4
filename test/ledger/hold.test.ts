import { afterEach, beforeEach, expect, test } from 'vitest'
import { statement } from '../../src/db/db.ts'
import { BursarError } from '../../src/errors.ts'
import { getBalance } from '../../src/ledger/balance.ts'
import { hold } from '../../src/ledger/hold.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import type { Hold, HoldRequest } from '../../src/ledger/ledger.ts'
import { checkBooks } from '../support/books.ts'
import { type TestLedger, testLedger } from '../support/database.ts'

let t: TestLedger
beforeEach(async () => {
  t = await testLedger()
})
afterEach(async () => {
  await checkBooks(t.db)
  await t.close()
})

const receipt = { route: 'call_model', model: 'small', upstream: 'local', price: '{"credits_per_call":"1"}' }
const claim = (key: string, bodyHash = 'aa') => ({ route: 'call_model', key, bodyHash })

async function held(request: Partial<HoldRequest> & { account: string }): Promise<Hold> {
  const result = await hold(t.ledger, { amount: 1_000_000n, lifetimeMs: 60_000, ...request })
  if (result.kind !== 'held') throw new Error(result.kind)
  return result.hold
}

async function refusal(request: Partial<HoldRequest> & { account: string }): Promise<BursarError> {
  const thrown = await held(request).catch((error: unknown) => error)
  if (!(thrown instanceof BursarError)) throw new Error('The hold was not refused.')
  return thrown
}

const rows = (table: string) => t.db.query(`SELECT * FROM ${table}`)

test('a hold moves credits from available to held, a capture charges part of it', async () => {
  const account = await t.account(10_000_000n)
  const call = await held({ account, amount: 4_000_000n })
  expect(call.expiresAt).toBe(t.clock.now() + 60_000)
  expect(await getBalance(t.ledger, account)).toMatchObject({ available: 6_000_000n, held: 4_000_000n })
  expect(await call.capture(1_500_000n)).toEqual({ charged: 1_500_000n, available: 8_500_000n })
  expect(await getBalance(t.ledger, account)).toMatchObject({ available: 8_500_000n, held: 0n })
  expect(await t.db.query('SELECT kind, available, held, book, counter FROM posting ORDER BY id')).toEqual([
    { kind: 'grant', available: 10_000_000n, held: 0n, book: 'payments', counter: -10_000_000n },
    { kind: 'hold', available: -4_000_000n, held: 4_000_000n, book: null, counter: 0n },
    { kind: 'capture', available: 2_500_000n, held: -4_000_000n, book: 'revenue', counter: 1_500_000n },
  ])
})

test('a second outcome changes nothing and returns the first, also when both are asked for at once', async () => {
  const account = await t.account(10_000_000n)
  const one = await held({ account, receipt })
  expect(await one.capture(400_000n, { note: 'first' })).toMatchObject({ charged: 400_000n })
  expect(await one.release({ note: 'second' })).toMatchObject({ charged: 400_000n })
  expect(await rows('receipt')).toMatchObject([{ state: 'charged', note: 'first' }])
  const two = await held({ account })
  const both = await Promise.all([two.release(), two.capture(1_000_000n)])
  expect(both.map(({ charged }) => charged)).toEqual([0n, 0n])
})

test('a call is charged at most its hold, at least nothing, and says so when it cost more', async () => {
  const account = await t.account(10_000_000n)
  expect(await (await held({ account })).capture(1_000_001n)).toMatchObject({ charged: 1_000_000n })
  expect(t.runtime.lines).toMatchObject([{ level: 'warn' }])
  expect(await (await held({ account })).capture(0n)).toMatchObject({ charged: 0n })
  const call = await held({ account })
  await expect(call.capture(-1n)).rejects.toMatchObject({ code: 'invalid_request' })
  expect(await call.release()).toEqual({ charged: 0n, available: 9_000_000n })
})

test('what is not covered is refused with what is missing, and leaves nothing behind', async () => {
  const account = await t.account(1_500_000n)
  const before = await rows('posting')
  const empty = await refusal({ account, amount: 1_500_001n, receipt, idempotency: claim('k') })
  expect(empty).toMatchObject({
    code: 'insufficient_credits',
    details: { available: '1.500000', held: '0.000000', required: '1.500001', reason: 'empty' },
    remedy: expect.stringContaining('create_invoice') as string,
  })
  for (const table of ['hold', 'receipt', 'idempotency']) expect(await rows(table)).toEqual([])
  expect(await rows('posting')).toEqual(before)
  // The same key is free for the same request once it can be paid for.
  const call = await held({ account, receipt, idempotency: claim('k') })
  expect(await refusal({ account })).toMatchObject({
    details: { available: '0.500000', held: '1.000000', required: '1.000000', reason: 'held' },
  })
  await call.release()
})

test('amounts beyond 2^53 are exact', async () => {
  const amount = 999_999_999_999_999n
  const account = await t.account(amount)
  for (let n = 0; n < 10; n++) await t.grant(account, amount)
  const calls = await Promise.all(Array.from({ length: 11 }, () => held({ account, amount })))
  expect(await getBalance(t.ledger, account)).toMatchObject({ available: 0n, held: 11n * amount })
  await Promise.all(calls.map((call) => call.capture(amount - 1n)))
  expect(await getBalance(t.ledger, account)).toMatchObject({ available: 11n, held: 0n })
})

test.each([
  [{ amount: 0n }],
  [{ amount: -1n }],
  [{ amount: 1_000_000_000_000_001n }],
  [{ lapseCharge: 1_000_001n }],
  [{ lapseCharge: -1n }],
  [{ lifetimeMs: 0 }],
  [{ lifetimeMs: 1.5 }],
  [{ idempotency: claim('') }],
  [{ idempotency: claim('k'.repeat(256)) }],
])('refuses %o', async (wrong) => {
  const account = await t.account(10_000_000n)
  expect(await refusal({ account, ...wrong })).toMatchObject({ code: 'invalid_request' })
  expect(await rows('hold')).toEqual([])
})

test('half of a character is refused wherever a caller may bring one', async () => {
  const account = await t.account(10_000_000n)
  const half = 'a\ud800'
  const requests = [
    { account: half },
    { account, agent: half },
    { account, idempotency: claim(half) },
    { account, receipt: { ...receipt, model: half } },
  ]
  for (const request of requests) expect(await refusal(request)).toMatchObject({ code: 'invalid_request' })
  expect(await rows('hold')).toEqual([])
  expect(await rows('idempotency')).toEqual([])
})

test('unknown and frozen accounts and agents are told apart', async () => {
  const account = await t.account(10_000_000n)
  const agent = await t.agent(account)
  const stranger = await t.agent(await t.account(1n))
  expect(await refusal({ account: 'acc_none' })).toMatchObject({ code: 'not_found' })
  expect(await refusal({ account, agent: 'agt_none' })).toMatchObject({ code: 'not_found' })
  expect(await refusal({ account, agent: stranger })).toMatchObject({ code: 'not_found' })
  const running = await held({ account, agent })
  await t.db.commit([statement('UPDATE agent SET frozen_at = 1 WHERE id = ?', [agent])])
  expect(await refusal({ account, agent })).toMatchObject({ code: 'frozen' })
  await (await held({ account })).release()
  await t.db.commit([statement('UPDATE account SET frozen_at = 1 WHERE id = ?', [account])])
  expect(await refusal({ account })).toMatchObject({ code: 'frozen' })
  expect(await getBalance(t.ledger, account)).toMatchObject({ frozen: true })
  // What runs still settles.
  expect(await running.capture(1n)).toMatchObject({ charged: 1n })
})

test('a group takes what is affordable, in order, each item on its own', async () => {
  const rich = await t.account(10_000_000n)
  const poor = await t.account(2_500_000n)
  const wishes = [poor, rich, poor, 'acc_none', poor, rich]
  const results = await Promise.allSettled(wishes.map((account) => held({ account })))
  expect(results.map(({ status }) => status)).toEqual([
    'fulfilled',
    'fulfilled',
    'fulfilled',
    'rejected',
    'rejected',
    'fulfilled',
  ])
  // One commit: the six are one row of changes in the journal, and nothing came between.
  expect(await getBalance(t.ledger, poor)).toMatchObject({ available: 500_000n, held: 2_000_000n })
})

test('a thousand callers at once cannot spend more than there is', async () => {
  const account = await t.account(300_000_000n)
  const results = await Promise.allSettled(Array.from({ length: 1_000 }, () => held({ account })))
  const taken = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  expect(taken).toHaveLength(300)
  await Promise.all(taken.map((call, n) => (n % 2 ? call.capture(600_000n) : call.release())))
  expect(await getBalance(t.ledger, account)).toMatchObject({ available: 210_000_000n, held: 0n })
})

test('an item that breaks its group is refused alone', async () => {
  const account = await t.account(10_000_000n)
  const broken = { ...receipt, model: null as unknown as string }
  const results = await Promise.allSettled([
    held({ account }),
    held({ account, receipt: broken }),
    held({ account, receipt }),
  ])
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(await getBalance(t.ledger, account)).toMatchObject({ held: 2_000_000n })
})

test('a hold that has ended never comes back to life', async () => {
  const account = await t.account(10_000_000n)
  const call = await held({ account })
  await call.capture(1n)
  const again = statement(
    `INSERT INTO hold (ref, account, amount, at, expires_at) VALUES (?, ?, 1000000, 1, 2)`,
    [call.ref, account],
  )
  await t.db.commit([again])
  expect(await rows('hold')).toEqual([])
  expect(await getBalance(t.ledger, account)).toMatchObject({ available: 9_999_999n, held: 0n })
})

test('the journal cannot be changed', async () => {
  await t.account(1_000_000n)
  await expect(t.db.commit([statement('UPDATE posting SET at = 1')])).rejects.toThrow(/append-only/)
  await expect(t.db.commit([statement('DELETE FROM posting')])).rejects.toThrow(/append-only/)
  const unbalanced = `INSERT INTO posting (ref, phase, kind, account, available, held, book, counter, at)
    SELECT 'x', 0, 'grant', id, 5, 0, 'payments', -4, 1 FROM account`
  await expect(t.db.commit([statement(unbalanced)])).rejects.toThrow(/CHECK/)
})

test('a receipt follows its hold', async () => {
  const account = await t.account(10_000_000n)
  const agent = await t.agent(account)
  const started = t.clock.now()
  const one = await held({ account, agent, receipt })
  const two = await held({ account, receipt })
  const pending = { account, ...receipt, state: 'pending', held: 1_000_000n, charged: 0n, finished_at: null }
  expect(await rows('receipt')).toMatchObject([
    { ...pending, id: one.ref, agent },
    { ...pending, id: two.ref, agent: null },
  ])
  t.clock.advance(1_234)
  await one.capture(250_000n, { usage: '{"input_tokens":7}', upstreamRequestId: 'req_1' })
  await two.release({ note: 'upstream down' })
  const finished = { started_at: BigInt(started), finished_at: BigInt(started + 1_234) }
  expect(await rows('receipt')).toMatchObject([
    {
      ...finished,
      state: 'charged',
      charged: 250_000n,
      usage: '{"input_tokens":7}',
      upstream_request_id: 'req_1',
    },
    { ...finished, state: 'released', charged: 0n, note: 'upstream down', usage: null },
  ])
})

test('lapsed holds get the outcome that they were opened with; the first outcome counts', async () => {
  const account = await t.account(10_000_000n)
  const charged = await held({ account, lapseCharge: 300_000n, receipt, idempotency: claim('charged') })
  const free = await held({ account, receipt, idempotency: claim('free') })
  const longer = await held({ account, lifetimeMs: 60_001 })
  expect(await lapseHolds(t.ledger)).toBe(0)
  t.clock.advance(60_000)
  const late = free.capture(900_000n)
  expect(await lapseHolds(t.ledger)).toBe(2)
  expect(await late).toMatchObject({ charged: 900_000n })
  expect(await charged.capture(900_000n)).toMatchObject({ charged: 300_000n })
  expect(await longer.capture(1n)).toMatchObject({ charged: 1n })
  expect(await lapseHolds(t.ledger)).toBe(0)
  expect(await rows('receipt')).toMatchObject([
    { state: 'charged', charged: 300_000n, note: expect.stringContaining('lifetime') as string },
    { state: 'charged', charged: 900_000n, note: null },
  ])
})

test('many holds lapse, more than fit one page', async () => {
  const account = await t.account(10_000_000n)
  await Promise.all(Array.from({ length: 1_200 }, () => held({ account, amount: 100n, lapseCharge: 1n })))
  t.clock.advance(60_000)
  expect(await lapseHolds(t.ledger)).toBe(1_200)
  expect(await getBalance(t.ledger, account)).toMatchObject({ available: 9_998_800n, held: 0n })
})
