import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { statement } from '../../src/db/db.ts'
import { hold } from '../../src/ledger/hold.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import type { HoldResult } from '../../src/ledger/ledger.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { checkBooks } from '../support/books.ts'
import { type TestLedger, testLedger } from '../support/database.ts'

let t: TestLedger
let account: string
beforeEach(async () => {
  t = await testLedger()
  account = await t.account(10_000_000n)
})
afterEach(async () => {
  await checkBooks(t.db)
  await t.close()
})

interface Ask {
  readonly key?: string
  readonly body?: string
  readonly route?: string
  readonly of?: string
  readonly lapseCharge?: bigint
}

const ask = (
  { key = 'k', body = 'aa', route = 'call_model', of = account, lapseCharge = 10n }: Ask = {},
  ledger = t.ledger,
) =>
  hold(ledger, {
    account: of,
    amount: 1_000_000n,
    lapseCharge,
    lifetimeMs: 60_000,
    idempotency: { route, key, bodyHash: body },
  })

function heldBy(result: HoldResult) {
  if (result.kind !== 'held') throw new Error(`not held: ${result.kind}`)
  return result.hold
}

test('the same request is running, then replayed; it is never held again', async () => {
  const call = heldBy(await ask())
  expect(await ask()).toEqual({ kind: 'running', ref: call.ref })
  await call.capture(5n, { response: '{"text":"hi"}' })
  expect(await ask()).toEqual({ kind: 'replayed', ref: call.ref, response: '{"text":"hi"}' })
  expect(await t.db.query("SELECT count(*) AS n FROM posting WHERE kind = 'hold'")).toEqual([{ n: 1n }])
})

test('another request under the same key is a conflict', async () => {
  const call = heldBy(await ask())
  const conflict = { code: 'idempotency_conflict', details: { receipt: call.ref } }
  await expect(ask({ body: 'bb' })).rejects.toMatchObject(conflict)
  await call.capture(5n, { response: '{}' })
  await expect(ask({ body: 'bb' })).rejects.toMatchObject(conflict)
})

test('a key belongs to one account and one route', async () => {
  const other = await t.account(10_000_000n)
  const results = [
    await ask(),
    await ask({ of: other }),
    await ask({ route: 'responses' }),
    await ask({ key: 'l' }),
  ]
  expect(results.map(({ kind }) => kind)).toEqual(['held', 'held', 'held', 'held'])
})

test('of many at once one is held, whatever the others wait for', async () => {
  const results = await Promise.allSettled([ask(), ask(), ask({ body: 'bb' }), ask()])
  expect(results).toMatchObject([
    { value: { kind: 'held' } },
    { value: { kind: 'running' } },
    { reason: { code: 'idempotency_conflict' } },
    { value: { kind: 'running' } },
  ])
})

test('also of several processes', async () => {
  const db = await openDb({ url: t.url, runtime: t.runtime })
  const other = openLedger({ db, runtime: t.runtime })
  const results = await Promise.all([ask(), ask({}, other), ask(), ask({}, other)])
  expect(results.map(({ kind }) => kind).sort()).toEqual(['held', 'running', 'running', 'running'])
  await other.close()
})

test('when the first is refused, the next one with the same key is judged anew', async () => {
  const poor = await t.account(999_999n)
  const first = [ask({ of: poor }), ask({ of: poor })]
  expect(await Promise.allSettled(first)).toMatchObject([
    { reason: { code: 'insufficient_credits' } },
    { reason: { code: 'insufficient_credits' } },
  ])
  await t.grant(poor, 1n)
  expect(await ask({ of: poor })).toMatchObject({ kind: 'held' })
})

test('a release without an answer frees the key, one with an answer keeps it', async () => {
  await heldBy(await ask()).release()
  const again = heldBy(await ask())
  await again.release({ response: '{"error":"no"}' })
  expect(await ask()).toEqual({ kind: 'replayed', ref: again.ref, response: '{"error":"no"}' })
})

test('a repeated key whose answer is not there any more never runs again', async () => {
  const call = heldBy(await ask())
  await call.capture(5n, { response: '{}' })
  await t.db.commit([statement('UPDATE idempotency SET response = NULL')])
  await expect(ask()).rejects.toMatchObject({ code: 'idempotency_conflict', details: { receipt: call.ref } })
})

test('after a crash: charged ones stay taken, and a late answer does not change the first outcome', async () => {
  const call = heldBy(await ask())
  t.clock.advance(60_000)
  await lapseHolds(t.ledger)
  await expect(ask()).rejects.toMatchObject({ code: 'idempotency_conflict', details: { receipt: call.ref } })
  expect(await call.capture(500n, { response: '{"text":"late"}' })).toMatchObject({ charged: 10n })
  await expect(ask()).rejects.toMatchObject({ code: 'idempotency_conflict' })
})

test('a frozen account still gets the answers that it paid for', async () => {
  await heldBy(await ask()).capture(5n, { response: '{}' })
  await t.db.commit([statement('UPDATE account SET frozen_at = 1')])
  expect(await ask()).toMatchObject({ kind: 'replayed' })
  await expect(ask({ key: 'new' })).rejects.toMatchObject({ code: 'frozen' })
})

test('after a crash: also one that is not charged stays taken, because it may have been sent', async () => {
  const call = heldBy(await ask({ lapseCharge: 0n }))
  t.clock.advance(60_000)
  await lapseHolds(t.ledger)
  expect(await t.db.query('SELECT kind FROM posting WHERE phase = 1')).toEqual([{ kind: 'release' }])
  await expect(ask()).rejects.toMatchObject({ code: 'idempotency_conflict', details: { receipt: call.ref } })
})
