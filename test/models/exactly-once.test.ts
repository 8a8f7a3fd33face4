import { fileURLToPath } from 'node:url'
import * as fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { CallModel } from '../../src/bursar.ts'
import { BursarError } from '../../src/errors.ts'
import { getBalance } from '../../src/ledger/balance.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import { callModel } from '../../src/models/call.ts'
import { listUsage } from '../../src/models/usage.ts'
import { parseCredits } from '../../src/money.ts'
import { type TestLedger, testLedger } from '../support/database.ts'
import { modelsOver } from '../support/models.ts'
import { NOWHERE } from '../support/nowhere.ts'
import { start } from '../support/process.ts'
import {
  type Behaviour,
  completes,
  cutsAfterHeaders,
  hangs,
  refuses,
  type ScriptedUpstream,
  startScriptedUpstream,
} from '../support/upstream.ts'

const ASK: CallModel = { model: 'per-token', messages: [{ role: 'user', content: 'Good day?' }] }

let upstream: ScriptedUpstream
let till: TestLedger
let before: number

beforeAll(async () => {
  upstream = await startScriptedUpstream()
})
afterAll(() => upstream.stop())
beforeEach(async () => {
  till = await testLedger()
  before = upstream.received.length
  upstream.behave(completes())
})
afterEach(() => till.close())

function call(account: string, input: Partial<CallModel> = {}, baseUrl = upstream.baseUrl) {
  return callModel({ ledger: till.ledger, models: modelsOver(baseUrl) }, { account }, { ...ASK, ...input })
}

function codeOf(result: PromiseSettledResult<unknown>): string {
  if (result.status === 'fulfilled') return 'answered'
  return result.reason instanceof BursarError ? result.reason.code : String(result.reason)
}

const hits = () => upstream.received.length - before
const tally = (codes: string[]) =>
  Object.fromEntries(
    Map.groupBy(codes, (code) => code)
      .entries()
      .map(([code, all]) => [code, all.length]),
  )

describe('an idempotency key', () => {
  test('never runs a call again where no answers are stored, and names the receipt', async () => {
    const account = await till.account(1_000_000n)
    const ctx = { ledger: till.ledger, models: modelsOver(upstream.baseUrl), storeAnswers: false }
    const ask = () => callModel(ctx, { account }, { ...ASK, idempotency_key: 'once' })
    const { receipt, text } = await ask()
    const left = await getBalance(till.ledger, account)
    const refusal = { code: 'idempotency_conflict', details: { receipt, replayed: true } }
    await expect(ask()).rejects.toMatchObject(refusal)
    expect(hits()).toBe(1)
    expect(await getBalance(till.ledger, account)).toEqual(left)
    const [row] = await till.db.query<{ response: string }>('SELECT response FROM idempotency')
    expect(row?.response).not.toContain(text)
  })

  test('gives the first answer again, uncharged', async () => {
    const account = await till.account(1_000_000n)
    const key = { idempotency_key: 'once' }
    const first = await call(account, key)
    await call(account)
    const again = await call(account, key)
    expect(again).toEqual({ ...first, available: '0.999560', replayed: true })
    expect(hits()).toBe(2)
  })

  test('belongs to one request and one account', async () => {
    const [account, other] = [await till.account(1_000_000n), await till.account(1_000_000n)]
    const key = { idempotency_key: 'mine' }
    await call(account, key)
    for (const change of [{ max_tokens: 7 }, { temperature: 1 }, { model: 'fixed' }]) {
      await expect(call(account, { ...key, ...change })).rejects.toMatchObject({
        code: 'idempotency_conflict',
      })
    }
    expect(await call(other, key)).toMatchObject({ replayed: false })
    expect(hits()).toBe(2)
  })

  test('used by many at once reaches the upstream once', async () => {
    const account = await till.account(1_000_000n)
    let answer: () => void = () => undefined
    upstream.behave((response, received) => {
      answer = () => completes()(response, received)
    })
    const key = { idempotency_key: 'together' }
    const asked = Array.from({ length: 20 }, () => call(account, key))
    // All but one are told to wait while the first still runs; only then does it end.
    const refused = asked.map((one) =>
      one.then(
        () => null,
        (error: BursarError) => error,
      ),
    )
    await upstream.arrived(before + 1)
    let told = 0
    await new Promise<void>((resolve) => {
      for (const one of refused) void one.then((error) => error && ++told === 19 && resolve())
    })
    answer()
    const results = await Promise.allSettled(asked)
    expect(tally(results.map(codeOf))).toEqual({ answered: 1, conflict: 19 })
    const conflict = (await Promise.all(refused)).find((error) => error !== null)
    expect(conflict).toMatchObject({ status: 409, details: { retry_after_ms: 2000 } })
    expect(await call(account, key)).toMatchObject({ replayed: true })
    expect(hits()).toBe(1)
    expect(await getBalance(till.ledger, account)).toMatchObject({ available: 999_780n, held: 0n })
  })

  test.each<[string, Behaviour, string]>([
    ['was refused', refuses(400, 'invalid_value'), '0.000000'],
    ['failed', refuses(500, 'server_error'), '0.000000'],
    ['broke off', cutsAfterHeaders, '0.000070'],
  ])('of a call that %s gives the same failure again', async (_, behaviour, charged) => {
    const account = await till.account(1_000_000n)
    const key = { idempotency_key: 'failed' }
    upstream.behave(behaviour)
    const first = await call(account, key).catch((error: unknown) => error as BursarError)
    upstream.behave(completes())
    const again = await call(account, key).catch((error: unknown) => error as BursarError)
    expect(first).toMatchObject({ code: 'upstream_error', details: { charged } })
    expect(again).toMatchObject({ code: 'upstream_error', details: { charged, replayed: true } })
    expect(hits()).toBe(1)
    expect((await getBalance(till.ledger, account)).available).toBe(1_000_000n - parseCredits(charged))
  })

  test('may be used again when the call was never held, never sent, or never taken', async () => {
    const account = await till.account(1000n)
    const key = { idempotency_key: 'again' }
    await expect(call(account, key)).rejects.toMatchObject({ code: 'insufficient_credits' })
    await till.grant(account, 999_000n)
    await expect(call(account, key, `${NOWHERE}/v1`)).rejects.toMatchObject({ code: 'upstream_error' })
    upstream.behave(refuses(429, 'rate_limit_exceeded'))
    await expect(call(account, key)).rejects.toMatchObject({
      details: { upstream_status: 429, charged: '0.000000' },
      remedy: expect.stringContaining('same idempotency_key') as string,
    })
    upstream.behave(completes())
    expect(await call(account, key)).toMatchObject({ replayed: false, charged: '0.000220' })
    expect(await call(account, key)).toMatchObject({ replayed: true, charged: '0.000220' })
  })
})

describe('many calls at once', () => {
  test('reach the upstream exactly as often as the credits allow', async () => {
    const account = await till.account(12_500_000n)
    const results = await Promise.allSettled(
      Array.from({ length: 200 }, () => call(account, { model: 'fixed' })),
    )
    expect(tally(results.map(codeOf))).toEqual({ answered: 50, insufficient_credits: 150 })
    expect(hits()).toBe(50)
    expect(await getBalance(till.ledger, account)).toMatchObject({ available: 0n, held: 0n })
  })

  test('that end in every way leave the balance exact', async () => {
    const endings = fc.constantFrom<Behaviour>(
      completes(),
      completes({ usage: null }),
      completes({ usage: { prompt_tokens: 0, completion_tokens: 0 } }),
      completes({ usage: { prompt_tokens: 9_999, completion_tokens: 9_999 } }),
      refuses(500, 'server_error'),
      cutsAfterHeaders,
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(endings, { minLength: 1, maxLength: 12 }),
        fc.nat(40_000),
        async (script, credits) => {
          const account = await till.account(BigInt(credits))
          let next = 0
          upstream.behave((response, received) => script[next++ % script.length]?.(response, received))
          await Promise.allSettled(script.map(() => call(account)))
          const { calls } = await listUsage(till.db, account, {})
          const charged = calls.reduce((sum, entry) => sum + parseCredits(entry.charged), 0n)
          expect(calls.every((entry) => entry.state !== 'pending')).toBe(true)
          expect(calls.every((entry) => parseCredits(entry.charged) <= parseCredits(entry.held))).toBe(true)
          const balance = await getBalance(till.ledger, account)
          expect(balance).toMatchObject({ available: BigInt(credits) - charged, held: 0n })
          expect(balance.available).toBeGreaterThanOrEqual(0n)
        },
      ),
      { numRuns: 30 },
    )
  })
})

describe('a process that dies while the upstream works', () => {
  test('leaves its hold, which lapses into the charge for the input', async () => {
    const account = await till.account(1_000_000n)
    upstream.behave(hangs)
    const script = fileURLToPath(new URL('./calls-until-killed.ts', import.meta.url))
    const caller = start(process.execPath, [script, till.url, upstream.baseUrl, account])
    await Promise.race([
      upstream.arrived(before + 1),
      new Promise((_, reject) => caller.child.once('close', () => reject(new Error(caller.output())))),
    ])
    await caller.stop('SIGKILL')
    upstream.behave(completes())
    // The dead process used the real clock.
    till.clock.set(Date.now())

    expect(await getBalance(till.ledger, account)).toMatchObject({ available: 996_470n, held: 3530n })
    const key = { idempotency_key: 'interrupted' }
    await expect(call(account, key)).rejects.toMatchObject({ code: 'conflict' })
    await lapseHolds(till.ledger)
    expect((await getBalance(till.ledger, account)).held).toBe(3530n)

    till.clock.advance(10 * 60_000)
    await lapseHolds(till.ledger)
    expect(await getBalance(till.ledger, account)).toMatchObject({ available: 999_930n, held: 0n })
    const [entry] = (await listUsage(till.db, account, {})).calls
    expect(entry).toMatchObject({ state: 'charged', charged: '0.000070', usage: null })
    await expect(call(account, key)).rejects.toMatchObject({
      code: 'idempotency_conflict',
      details: { receipt: entry?.receipt },
    })
    expect(hits()).toBe(1)
  })
})

describe('receipts', () => {
  test('are paged newest first, and later calls shift no page', async () => {
    const [account, other] = [await till.account(1_000_000n), await till.account(1_000_000n)]
    const made: string[] = []
    for (let i = 0; i < 5; i++) made.unshift((await call(account)).receipt)
    await call(other)
    const first = await listUsage(till.db, account, { limit: 2 })
    await call(account)
    const second = await listUsage(till.db, account, { limit: 2, cursor: first.next_cursor ?? '' })
    const third = await listUsage(till.db, account, { limit: 2, cursor: second.next_cursor ?? '' })
    expect([first, second, third].map((page) => page.calls.map((entry) => entry.receipt))).toEqual([
      made.slice(0, 2),
      made.slice(2, 4),
      made.slice(4),
    ])
    expect(third.next_cursor).toBeNull()
    expect(first.calls[0]).toMatchObject({
      started_at: '2026-11-01T00:00:00.000Z',
      finished_at: '2026-11-01T00:00:00.000Z',
      usage: { input_tokens: 12, output_tokens: 5, source: 'upstream' },
    })
  })

  test.each([{ limit: 0 }, { limit: 101 }, { limit: 1.5 }, { cursor: '' }, { cursor: "' OR 1=1" }])(
    'refuse %o',
    async (input) => {
      await expect(listUsage(till.db, 'acc_1', input)).rejects.toMatchObject({ code: 'invalid_request' })
    },
  )
})
