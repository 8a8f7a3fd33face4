import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { CallModel, CallResult, UsageEntry } from '../../src/bursar.ts'
import { statement } from '../../src/db/db.ts'
import { BursarError } from '../../src/errors.ts'
import { getBalance } from '../../src/ledger/balance.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import { callModel } from '../../src/models/call.ts'
import { listUsage } from '../../src/models/usage.ts'
import { type TestLedger, testLedger } from '../support/database.ts'
import { DEADLINE_MS, modelsOver, UPSTREAM_KEY } from '../support/models.ts'
import { NOWHERE } from '../support/nowhere.ts'
import { turns } from '../support/runtime.ts'
import { message } from '../support/streams.ts'
import {
  answers,
  answersHtml,
  answersText,
  type Behaviour,
  completes,
  completion,
  cutsAfterHeaders,
  cutsBeforeHeaders,
  hangs,
  neverEnds,
  refuses,
  type ScriptedUpstream,
  stallsAfterHeaders,
  startScriptedUpstream,
} from '../support/upstream.ts'

/** 9 bytes: at most 153 tokens (9 + 16 + 128), about 7 (9 / 4 rounded up, + 4). */
const MESSAGES: CallModel['messages'] = [{ role: 'user', content: 'Good day?' }]
const ASK: CallModel = { model: 'per-token', messages: MESSAGES }
/** 153 tokens in at 10 micro-credits, 100 out at 20. */
const WORST = '0.003530'
const START_CREDITS = 1_000_000n

let upstream: ScriptedUpstream
let till: TestLedger
let account: string

beforeAll(async () => {
  upstream = await startScriptedUpstream()
})
afterAll(() => upstream.stop())
beforeEach(async () => {
  till = await testLedger()
  account = await till.account(START_CREDITS)
  upstream.behave(completes())
})
afterEach(() => till.close())

function call(input: Partial<CallModel> = {}, options: Record<string, unknown> = {}): Promise<CallResult> {
  const models = modelsOver(upstream.baseUrl, options)
  return callModel({ ledger: till.ledger, models }, { account }, { ...ASK, ...input })
}

async function refusal(promise: Promise<unknown>): Promise<BursarError> {
  const thrown = await promise.then(
    (value) => value,
    (error: unknown) => error,
  )
  if (thrown instanceof BursarError) return thrown
  throw new Error(`expected a refusal, got ${JSON.stringify(thrown)}`)
}

async function lastReceipt(): Promise<UsageEntry & { note: string | null }> {
  const [entry] = (await listUsage(till.db, account, {})).calls
  if (!entry) throw new Error('expected a receipt')
  const [row] = await till.db.query<{ note: string | null }>('SELECT note FROM receipt WHERE id = ?', [
    entry.receipt,
  ])
  return { ...entry, note: row?.note ?? null }
}

/** Every credit is where it should be: so much charged, nothing held, and the journal agrees. */
async function expectCharged(charged: bigint): Promise<void> {
  const balance = await getBalance(till.ledger, account)
  expect(balance).toMatchObject({ available: START_CREDITS - charged, held: 0n })
  const [sums] = await till.db.query<{ available: bigint; held: bigint }>(
    'SELECT sum(available) AS available, sum(held) AS held FROM posting WHERE account = ?',
    [account],
  )
  expect(sums).toEqual({ available: START_CREDITS - charged, held: 0n })
}

describe('a call', () => {
  test('holds the worst case, charges the reported usage, gives back the rest', async () => {
    const before = upstream.received.length
    const result = await call({ temperature: 0.5 })
    expect(result).toEqual({
      text: 'Good day.',
      model: 'per-token',
      finish_reason: 'stop',
      max_tokens: 100,
      usage: { input_tokens: 12, output_tokens: 5, source: 'upstream' },
      held: WORST,
      charged: '0.000220',
      available: '0.999780',
      receipt: expect.stringMatching(/^hold_/),
      replayed: false,
    })
    await expectCharged(220n)
    expect(upstream.received.slice(before).map(({ body }) => body)).toEqual([
      { model: 'upstream-model', messages: MESSAGES, max_tokens: 100, temperature: 0.5 },
    ])
    expect(await lastReceipt()).toMatchObject({
      receipt: result.receipt,
      model: 'per-token',
      upstream: 'main',
      state: 'charged',
      usage: result.usage,
      held: WORST,
      charged: '0.000220',
      upstream_request_id: 'req-test',
      note: null,
    })
  })

  test('is sent only when its hold is stored', async () => {
    let held: Promise<{ held: bigint }[]> | undefined
    upstream.behave((response, received) => {
      held = till.db.query('SELECT held FROM account WHERE id = ?', [account])
      void held.then(() => completes()(response, received))
    })
    await call()
    expect(await held).toEqual([{ held: 3530n }])
  })

  test('caps max_tokens at what the model gives, and lowers the hold with it', async () => {
    const before = upstream.received.length
    expect((await call({ max_tokens: 10 })).held).toBe('0.001730')
    expect((await call({ max_tokens: 5000 })).held).toBe(WORST)
    await call({ model: 'newer' })
    const limits = upstream.received
      .slice(before)
      .map(({ body }) => [body.max_tokens, body.max_completion_tokens])
    expect(limits).toEqual([
      [10, undefined],
      [100, undefined],
      [undefined, 4096],
    ])
  })

  test('of a Claude model is sent as a message, and charged what its caches read and wrote', async () => {
    const usage = {
      input_tokens: 2,
      output_tokens: 5,
      cache_read_input_tokens: 4,
      cache_creation_input_tokens: 6,
    }
    upstream.behave(answers(200, message(usage), { 'request-id': 'req_9' }))
    const system: CallModel['messages'] = [{ role: 'system', content: 'Be brief.' }]
    const result = await call({ model: 'claude', messages: [...system, ...MESSAGES] })
    expect(result).toMatchObject({
      text: 'Good day.',
      finish_reason: 'end_turn',
      usage: { input_tokens: 12, output_tokens: 5, cached_input_tokens: 4, cache_write_tokens: 6 },
      charged: '0.000220',
    })
    expect(upstream.received.at(-1)).toMatchObject({
      path: '/v1/messages',
      headers: { 'x-api-key': UPSTREAM_KEY, 'anthropic-version': '2023-06-01' },
      body: { model: 'upstream-claude', system: 'Be brief.', messages: MESSAGES, max_tokens: 100 },
    })
    expect((await lastReceipt()).upstream_request_id).toBe('req_9')
  })

  test('may have a fixed price, whatever it used', async () => {
    upstream.behave(completes({ usage: null }))
    expect(await call({ model: 'fixed' })).toMatchObject({
      usage: { source: 'fixed' },
      held: '0.250000',
      charged: '0.250000',
    })
    upstream.behave(completes())
    expect(await call({ model: 'fixed' })).toMatchObject({
      usage: { input_tokens: 12, output_tokens: 5, source: 'fixed' },
    })
    await expectCharged(500_000n)
  })

  test('of a free model costs nothing, and needs an account that could pay', async () => {
    expect(await call({ model: 'free' })).toMatchObject({ held: '0.000001', charged: '0.000000' })
    await expectCharged(0n)
  })
})

interface Row {
  readonly what: string
  readonly behaviour: Behaviour
  readonly charged: bigint
  readonly usage: UsageEntry['usage']
  readonly note: RegExp | null
  readonly alert?: true
}
const reported = (prompt: number, output: number) =>
  completes({ usage: { prompt_tokens: prompt, completion_tokens: output } })
const from = (source: 'upstream' | 'estimate', input: number, output: number) => ({
  input_tokens: input,
  output_tokens: output,
  source,
})

describe('settling an answer', () => {
  test.each<Row>([
    {
      what: 'with final usage: its cost',
      behaviour: reported(12, 5),
      charged: 220n,
      usage: from('upstream', 12, 5),
      note: null,
    },
    {
      what: 'with usage at its bounds: the whole hold',
      behaviour: reported(153, 100),
      charged: 3530n,
      usage: from('upstream', 153, 100),
      note: null,
    },
    {
      what: 'with an explicit zero: nothing',
      behaviour: reported(0, 0),
      charged: 0n,
      usage: from('upstream', 0, 0),
      note: null,
    },
    {
      what: 'without usage: an estimate from its bytes',
      // 26 bytes are about 7 tokens, as the input is.
      behaviour: completes({ usage: null, text: 'abcdefghijklmnopqrstuvwxyz' }),
      charged: 210n,
      usage: from('estimate', 7, 7),
      note: /reported no usage/,
    },
    {
      what: 'without usage, longer than allowed: an estimate within the bounds',
      behaviour: completes({ usage: null, text: 'x'.repeat(10_000) }),
      charged: 2070n,
      usage: from('estimate', 7, 100),
      note: /reported no usage/,
    },
    {
      what: 'with negative usage: an estimate',
      behaviour: reported(-1_000_000, 5),
      charged: 130n,
      usage: from('estimate', 7, 3),
      note: /reported no usage/,
    },
    {
      what: 'with usage above the hold: the hold, and an alert',
      behaviour: reported(1_000_000, 5),
      charged: 3530n,
      usage: from('upstream', 1_000_000, 5),
      note: /more than the bound/,
      alert: true,
    },
    {
      what: 'with one count above its bound, within the hold: its cost, and an alert',
      behaviour: reported(12, 150),
      charged: 3120n,
      usage: from('upstream', 12, 150),
      note: /more than the bound/,
      alert: true,
    },
  ])('$what', async ({ behaviour, charged, usage, note, alert }) => {
    upstream.behave(behaviour)
    const result = await call()
    expect(result.usage).toEqual(usage)
    await expectCharged(charged)
    const receipt = await lastReceipt()
    expect(receipt).toMatchObject({ state: 'charged', usage, charged: result.charged })
    if (note) expect(receipt.note).toMatch(note)
    else expect(receipt.note).toBeNull()
    const alerts = till.runtime.lines.filter(({ facts }) => 'alert' in facts)
    expect(alerts).toHaveLength(alert ? 1 : 0)
  })
})

describe('settling a failure', () => {
  const input = from('estimate', 7, 0)
  test.each<[string, Behaviour, bigint, UsageEntry['usage'], RegExp, boolean?]>([
    ['status 400: nothing', refuses(400, 'bad'), 0n, null, /status 400/],
    ['status 401: nothing', refuses(401, 'invalid_api_key'), 0n, null, /status 401/],
    ['status 429: nothing', refuses(429, 'rate_limit_exceeded'), 0n, null, /status 429/],
    ['status 500: nothing', refuses(500, 'server_error'), 0n, null, /status 500/],
    ['a web page with 200: nothing', answersHtml, 0n, null, /status 200/],
    ['no answer in time: the input', hangs, 70n, input, /no answer in time/, true],
    ['an answer that stalls: the input', stallsAfterHeaders, 70n, input, /no answer in time/, true],
    ['a connection cut before the status: the input', cutsBeforeHeaders, 70n, input, /broke the connection/],
    ['a connection cut after the status: the input', cutsAfterHeaders, 70n, input, /broke the connection/],
    ['broken JSON: the input', answersText('{"choi'), 70n, input, /not a completion/],
    ['an answer without end: the input', neverEnds, 70n, input, /too large/],
    [
      'an unusable answer that reports usage: its cost',
      answers(200, { ...completion(), choices: [] }),
      220n,
      from('upstream', 12, 5),
      /not a completion/,
    ],
  ])('%s', async (_, behaviour, charged, usage, note, isLate = false) => {
    const before = upstream.received.length
    upstream.behave(behaviour)
    const refused = refusal(call())
    if (isLate)
      await upstream
        .arrived(before + 1)
        .then(() => turns())
        .then(() => till.runtime.elapse(DEADLINE_MS))
    const error = await refused
    expect(error).toMatchObject({ code: 'upstream_error', status: 502 })
    expect(error.remedy).toBeTruthy()
    await expectCharged(charged)
    const receipt = await lastReceipt()
    expect(receipt).toMatchObject({ usage, state: usage ? 'charged' : 'released' })
    expect(receipt.note).toMatch(note)
    expect(error.details).toMatchObject({ receipt: receipt.receipt, charged: receipt.charged })
    expect(upstream.received).toHaveLength(before + 1)
    const leaked = JSON.stringify([error.toProblem(), receipt, till.runtime.lines])
    expect(leaked).not.toContain(UPSTREAM_KEY)
    expect(leaked).not.toContain('IGNORE')
  })

  test('never sent: nothing', async () => {
    const error = await refusal(call({}, { base_url: `${NOWHERE}/v1` }))
    expect(error).toMatchObject({ code: 'upstream_error', details: { reason: 'unreachable' } })
    await expectCharged(0n)
    expect(await lastReceipt()).toMatchObject({ state: 'released', usage: null, charged: '0.000000' })
  })

  test('of a fixed price: nothing, because nothing was delivered', async () => {
    upstream.behave(cutsAfterHeaders)
    await refusal(call({ model: 'fixed' }))
    await expectCharged(0n)
  })

  test('after the hold has lapsed charges what the lapse charged', async () => {
    upstream.behave((response, received) => {
      till.clock.advance(3_600_000)
      void lapseHolds(till.ledger).then(() => completes()(response, received))
    })
    expect(await call()).toMatchObject({ charged: '0.000070', available: '0.999930' })
    await expectCharged(70n)
  })
})

describe('a refusal before anything is sent', () => {
  const refused = async (input: Partial<CallModel>) => {
    const before = upstream.received.length
    const error = await refusal(call(input))
    expect(upstream.received).toHaveLength(before)
    expect((await listUsage(till.db, account, {})).calls).toEqual([])
    return error
  }

  test('for a model that nobody sells lists those that are sold', async () => {
    const error = await refused({ model: 'nobody/sells-this' })
    expect(error).toMatchObject({ code: 'unknown_model', status: 404 })
    expect(error.details.models).toEqual(['per-token', 'newer', 'fixed', 'claude', 'free'])
  })

  test.each<[string, Partial<CallModel>]>([
    ['max_tokens of zero', { max_tokens: 0 }],
    ['max_tokens below zero', { max_tokens: -5 }],
    ['a fraction of a token', { max_tokens: 1.5 }],
    ['a temperature that is no number', { temperature: Number.NaN }],
    ['no messages', { messages: [] }],
    ['an empty idempotency key', { idempotency_key: '' }],
    ['a key with a line break', { idempotency_key: 'a\nb' }],
  ])('for %s', async (_, input) => {
    expect(await refused(input)).toMatchObject({ code: 'invalid_request' })
  })

  test('for more text than any model takes', async () => {
    const messages: CallModel['messages'] = [{ role: 'user', content: 'x'.repeat(9 * 1024 * 1024) }]
    expect(await refused({ messages })).toMatchObject({ code: 'payload_too_large' })
  })

  test('for too few credits says how many tokens would fit, and those do fit', async () => {
    account = await till.account(2000n)
    const error = await refused({})
    expect(error.toProblem()).toMatchObject({
      code: 'insufficient_credits',
      status: 402,
      available: '0.002000',
      held: '0.000000',
      required: WORST,
      missing: '0.001530',
      max_affordable_tokens: 23,
      reason: 'empty',
      remedy: expect.stringMatching(/at most 23 max_tokens.*buy at least 0\.001530 credits.*create_invoice/s),
    })
    expect(await refused({ max_tokens: 24 })).toMatchObject({ code: 'insufficient_credits' })
    expect(await call({ max_tokens: 23 })).toMatchObject({ held: '0.001990' })
  })

  test('for credits that running calls hold says so', async () => {
    account = await till.account(4000n)
    const before = upstream.received.length
    let answer: () => void = () => undefined
    upstream.behave((response, received) => {
      answer = () => completes()(response, received)
    })
    const running = call()
    await upstream.arrived(before + 1)
    expect((await refusal(call())).details).toMatchObject({
      available: '0.000470',
      held: WORST,
      max_affordable_tokens: 0,
      reason: 'held',
    })
    answer()
    await running
  })

  test('for a frozen account', async () => {
    await till.db.commit([statement('UPDATE account SET frozen_at = 1 WHERE id = ?', [account])])
    expect(await refused({})).toMatchObject({ code: 'frozen', status: 403 })
  })
})
