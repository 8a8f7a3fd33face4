/** How long the answer of a call is kept for whoever repeats its idempotency key, and what a repeat gets afterwards. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { statement } from '../../src/db/db.ts'
import { keepAnswers } from '../../src/ledger/answers.ts'
import { hold } from '../../src/ledger/hold.ts'
import type { Hold } from '../../src/ledger/ledger.ts'
import { keepUp } from '../../src/ledger/upkeep.ts'
import { checkBooks } from '../support/books.ts'
import { type TestLedger, testLedger } from '../support/database.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

let t: TestLedger
let account: string
beforeEach(async () => {
  t = await testLedger()
  account = await t.account(1_000_000_000n)
})
afterEach(async () => {
  await checkBooks(t.db)
  await t.close()
})

const ask = (key: string) =>
  hold(t.ledger, {
    account,
    amount: 10n,
    lifetimeMs: 48 * HOUR,
    idempotency: { route: 'call_model', key, bodyHash: 'aa' },
  })

async function begin(key: string): Promise<Hold> {
  const result = await ask(key)
  if (result.kind !== 'held') throw new Error(`not held: ${result.kind}`)
  return result.hold
}

async function call(key: string): Promise<string> {
  const open = await begin(key)
  await open.capture(5n, { response: `"${key}"` })
  return open.ref
}

const replayed = (ref: string, key: string) => ({ kind: 'replayed', ref, response: `"${key}"` })
const gone = (receipt: string) => ({
  code: 'idempotency_conflict',
  status: 409,
  message: expect.stringContaining('its answer is not kept'),
  details: { receipt },
})

test('an answer is given again for a day, then its receipt is named; the call never runs again', async () => {
  const answers = keepAnswers(t.ledger, DAY)
  const first = await call('first')
  t.clock.advance(HOUR)
  const second = await call('second')
  t.clock.advance(23 * HOUR)
  expect(await answers.forget()).toBe(0)
  expect(await ask('first')).toEqual(replayed(first, 'first'))
  t.clock.advance(1)
  expect(await answers.forget()).toBe(1)
  await expect(ask('first')).rejects.toMatchObject(gone(first))
  expect(await ask('second')).toEqual(replayed(second, 'second'))
  t.clock.advance(HOUR)
  expect(await answers.forget()).toBe(1)
  await expect(ask('second')).rejects.toMatchObject(gone(second))
  expect(await t.db.query("SELECT count(*) AS n FROM posting WHERE kind = 'hold'")).toEqual([{ n: 2n }])
})

test('what still runs is not passed over: its answer is forgotten once it has been there', async () => {
  const answers = keepAnswers(t.ledger, DAY)
  const before = await call('before')
  const slow = await begin('slow')
  const after = await call('after')
  t.clock.advance(2 * DAY - 1)
  expect(await answers.forget()).toBe(1)
  await expect(ask('before')).rejects.toMatchObject(gone(before))
  await slow.capture(5n, { response: '"slow"' })
  expect(await ask('slow')).toEqual(replayed(slow.ref, 'slow'))
  expect(await answers.forget()).toBe(2)
  for (const [key, ref] of [
    ['slow', slow.ref],
    ['after', after],
  ] as const) {
    await expect(ask(key)).rejects.toMatchObject(gone(ref))
  }
})

test('many are forgotten a page at a time, by whichever of two processes comes first', async () => {
  const keys = Array.from({ length: 1_203 }, (_, n) => `key-${n}`)
  await Promise.all(keys.map(call))
  t.clock.advance(DAY + 1)
  const kept = await call('kept')
  const [one, two] = [keepAnswers(t.ledger, DAY), keepAnswers(t.ledger, DAY)]
  await Promise.all([one.forget(), two.forget()])
  expect(await t.db.query('SELECT count(*) AS n FROM idempotency WHERE response IS NOT NULL')).toEqual([
    { n: 1n },
  ])
  expect(await t.db.query('SELECT count(*) AS n FROM idempotency')).toEqual([{ n: 1_204n }])
  expect(await ask('kept')).toEqual(replayed(kept, 'kept'))
  expect([await one.forget(), await two.forget()]).toEqual([0, 0])
})

test('keys of invoices, which point at what they made, are left alone', async () => {
  const row = [account, 'invoice', 'k', 'aa', 'inv_0', '{"invoice":"inv_0"}', 0n]
  await t.db.commit([statement('INSERT INTO idempotency VALUES (?, ?, ?, ?, ?, ?, ?)', row)])
  t.clock.advance(9 * DAY)
  expect(await keepAnswers(t.ledger, 0).forget()).toBe(0)
})

test("is part of a till's upkeep", async () => {
  const ref = await call('old')
  t.clock.advance(DAY + 1)
  const stop = new AbortController()
  const upkeep = keepUp(t.ledger, { answersKeptMs: DAY }, stop.signal)
  const forgotten = async () =>
    (await t.db.query('SELECT 1 FROM idempotency WHERE response IS NULL')).length === 1
  while (!(await forgotten())) await t.runtime.sleep(10)
  stop.abort()
  await upkeep
  await expect(ask('old')).rejects.toMatchObject(gone(ref))
})
