import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { configSchema } from '../../src/config-schema.ts'
import { callModel } from '../../src/models/call.ts'
import { readModels } from '../../src/models/catalogue.ts'
import { CHAT, MESSAGES, messages, refusal } from '../support/calls.ts'
import { DEADLINE_MS, DRAIN_MS } from '../support/models.ts'
import { NOWHERE } from '../support/nowhere.ts'
import { chatFrames, message, streams } from '../support/streams.ts'
import { type HttpTill, httpTill } from '../support/till-http.ts'
import {
  answers,
  answersHtml,
  type Behaviour,
  completes,
  completion,
  cutsAfterHeaders,
  cutsBeforeHeaders,
  hangs,
  refuses,
  type ScriptedUpstream,
  startScriptedUpstream,
} from '../support/upstream.ts'

/** 10 and 20 micro-credits a token at the first, 30 and 60 at the spare one, which has another name for the model. */
const AT = { usd_per_million_input: '1', usd_per_million_output: '2', max_output_tokens: 100 }
const SPARE = {
  upstream: 'spare',
  upstream_model: 'spare-model',
  usd_per_million_input: '3',
  usd_per_million_output: '6',
}
const SPARE_CHARGE = 12n * 30n + 5n * 60n
const FIRST_CHARGE = 12n * 10n + 5n * 20n

let first: ScriptedUpstream
let spare: ScriptedUpstream
let before = { first: 0, spare: 0 }
let till: HttpTill

beforeAll(async () => {
  first = await startScriptedUpstream()
  spare = await startScriptedUpstream()
})
afterAll(async () => {
  await first.stop()
  await spare.stop()
})
beforeEach(async () => {
  first.behave(completes())
  spare.behave(completes({ text: 'From the spare one.' }))
  before = { first: first.received.length, spare: spare.received.length }
  till = await httpTill({ openai: first.baseUrl }, { more: config() })
})
afterEach(() => till.close())

function config() {
  const shared = { timeout_ms: DEADLINE_MS, drain_ms: DRAIN_MS }
  const claude = { format: 'anthropic', ...shared }
  return {
    upstreams: {
      gone: { base_url: `${NOWHERE}/v1`, ...shared },
      spare: { base_url: spare.baseUrl, ...shared },
      'claude-gone': { base_url: `${NOWHERE}/v1`, ...claude },
      'claude-spare': { base_url: spare.baseUrl, ...claude },
    },
    models: {
      both: { ...AT, upstream_model: 'first-model', upstreams: ['main', SPARE] },
      away: { ...AT, upstreams: ['gone', SPARE] },
      lost: { ...AT, upstreams: ['gone', 'gone'] },
      sonnet: { ...AT, upstreams: ['claude-gone', 'claude-spare'] },
    },
  }
}

const ask = (model: string, more: object = {}) =>
  till.post(CHAT, { model, messages, max_tokens: 100, ...more })
const sent = () => [first.received.length - before.first, spare.received.length - before.spare]
const receipts = async () => (await till.db.query<{ n: bigint }>('SELECT count(*) AS n FROM receipt'))[0]?.n
const overloaded = (status: number, headers: Record<string, string> = {}): Behaviour =>
  answers(status, { error: { message: 'Slow down.', type: 'rate_limit', code: 'overloaded' } }, headers)

describe('a call goes on to the next upstream', () => {
  const ways: [string, string, Behaviour | null][] = [
    ['cannot be reached', 'away', null],
    ['answers 429 with an error', 'both', overloaded(429)],
    ['answers 503 with an error', 'both', overloaded(503)],
    [
      'answers 529 with an error',
      'both',
      answers(529, { type: 'error', error: { type: 'overloaded_error' } }),
    ],
    ['answers 503 as Ollama does', 'both', answers(503, { error: 'server busy' })],
  ]
  test.each(ways)('when the first %s, and is charged once, there', async (_, model, behaviour) => {
    if (behaviour) first.behave(behaviour)
    const body = JSON.stringify({ model, messages, max_tokens: 100 })
    const response = await till.post(CHAT, body)
    expect(response.status).toBe(200)
    expect(JSON.stringify(await response.json())).toContain('From the spare one.')
    expect(sent()).toEqual([behaviour ? 1 : 0, 1])
    expect(spare.received.at(-1)?.body).toMatchObject({ model: 'spare-model', max_tokens: 100 })
    expect(await till.charged()).toBe(SPARE_CHARGE)
    expect(await receipts()).toBe(1n)
    const receipt = await till.receipt()
    expect(receipt).toMatchObject({
      state: 'charged',
      upstream: 'spare',
      // The hold covers the dearest of them, before anybody is asked.
      held: BigInt(body.length + 16 + 128) * 30n + 6000n,
    })
    expect(JSON.parse(receipt.price)).toMatchObject({ micro_credits_per_million_input: '30000000' })
  })

  test.each(ways)('when the first %s, as a stream too', async (_, model, behaviour) => {
    if (behaviour) first.behave(behaviour)
    spare.behave(streams(chatFrames()))
    const response = await ask(model, { stream: true })
    expect(await response.text()).toContain('Grüße')
    expect(sent()).toEqual([behaviour ? 1 : 0, 1])
    expect(await till.charged()).toBe(SPARE_CHARGE)
    expect(await receipts()).toBe(1n)
  })

  test('over /v1/messages, counting tokens included', async () => {
    spare.behave(answers(200, message({ input_tokens: 12, output_tokens: 5 })))
    expect((await till.post(MESSAGES, { model: 'sonnet', max_tokens: 10, messages })).status).toBe(200)
    expect(await till.charged()).toBe(FIRST_CHARGE)
    expect(await till.receipt()).toMatchObject({ upstream: 'claude-spare' })
    spare.behave(answers(200, { input_tokens: 14 }))
    const counted = await till.post(`${MESSAGES}/count_tokens`, { model: 'sonnet', messages })
    expect(await counted.json()).toEqual({ input_tokens: 14 })
  })

  test('over call_model', async () => {
    const models = readModels(
      configSchema.parse({
        upstreams: { gone: { base_url: `${NOWHERE}/v1` }, spare: { base_url: spare.baseUrl } },
        models: { m: { ...AT, upstreams: ['gone', SPARE] } },
      }),
    )
    const result = await callModel(
      { ledger: till.ledger, models },
      { account: till.buyer },
      { model: 'm', messages: [{ role: 'user', content: 'Good day?' }] },
    )
    expect(result).toMatchObject({ text: 'From the spare one.', charged: '0.000660' })
    expect(spare.received.at(-1)?.body).toMatchObject({ model: 'spare-model' })
    expect(await till.receipt()).toMatchObject({ upstream: 'spare', charged: SPARE_CHARGE })
  })

  test('and a repeated idempotency key gets its answer again, from nobody', async () => {
    first.behave(overloaded(503))
    const headers = { 'idempotency-key': 'k-1' }
    const body = { model: 'both', messages }
    const answered = await (await till.post(CHAT, body, headers)).text()
    const again = await till.post(CHAT, body, headers)
    expect([again.headers.get('x-bursar-replayed'), await again.text()]).toEqual(['true', answered])
    expect(sent()).toEqual([1, 1])
    expect(await till.charged()).toBe(SPARE_CHARGE)
  })

  test('a balance must cover the dearest of them', async () => {
    const body = JSON.stringify({ model: 'both', messages, max_tokens: 100 })
    const required = BigInt(body.length + 16 + 128) * 30n + 6000n
    await till.close()
    till = await httpTill({ openai: first.baseUrl }, { more: config(), credits: required - 1n })
    expect(await refusal(await till.post(CHAT, body), 402, 'insufficient_credits')).toMatchObject({
      max_affordable_tokens: 99,
    })
    expect(sent()).toEqual([0, 0])
  })
})

describe('a call does not go on', () => {
  test.each<[string, Behaviour, boolean]>([
    ['fails', refuses(500, 'server_error'), false],
    ['refuses the request', refuses(400, 'invalid_request'), false],
    ['answers 503 with a page', (response) => void response.writeHead(503).end('<html></html>'), false],
    ['answers 503 with nothing', (response) => void response.writeHead(503).end(), false],
    [
      'answers 503 with an error and usage',
      answers(503, { ...completion(), error: { message: 'half done' } }),
      false,
    ],
    ['answers with a page', answersHtml, false],
    // Sent, and lost: its input is charged.
    ['breaks off at once', cutsBeforeHeaders, true],
    ['breaks off in its answer', cutsAfterHeaders, true],
    ['never answers', hangs, true],
  ])('when the first %s', async (_, behaviour, charged) => {
    first.behave(behaviour)
    const arrived = first.arrived(before.first + 1)
    const asked = ask('both')
    if (behaviour === hangs) await arrived.then(() => till.runtime.elapse(DEADLINE_MS))
    const response = await asked
    expect(response.status).toBeGreaterThanOrEqual(400)
    expect(await response.json()).toMatchObject({ code: expect.any(String) })
    expect(sent()).toEqual([1, 0])
    expect(await till.receipt()).toMatchObject({ upstream: 'main' })
    expect((await till.charged()) > 0n).toBe(charged)
  })

  test('when a stream has begun', async () => {
    first.behave(streams(chatFrames({ done: false, finish: false, usage: null }), { finish: 'cut' }))
    const text = await (await ask('both', { stream: true })).text()
    expect(text).toContain('"code":"upstream_error"')
    expect(sent()).toEqual([1, 0])
  })

  test('beyond the last: what that says is the answer, and nothing is charged', async () => {
    first.behave(overloaded(503))
    spare.behave(overloaded(429, { 'retry-after': '7' }))
    const busy = await refusal(await ask('both'), 429, 'rate_limited')
    expect(busy).toMatchObject({ upstream_status: 429, retry_after_ms: 7000 })
    expect(sent()).toEqual([1, 1])
    const unreached = await refusal(await ask('lost'), 502, 'upstream_error')
    expect(unreached).toMatchObject({ reason: 'unreachable' })
    expect(await till.charged()).toBe(0n)
  })
})

describe('an upstream rests', () => {
  const moves = () =>
    till.runtime.lines.filter(({ message }) => message.includes('did not take a call')).length

  test('after it could not be reached, longer each time, and is tried again', async () => {
    await ask('away')
    expect(moves()).toBe(1)
    await ask('away')
    till.clock.advance(4_999)
    await ask('away')
    expect(moves()).toBe(1)
    till.clock.advance(1)
    await ask('away')
    expect(moves()).toBe(2)
    till.clock.advance(9_999)
    await ask('away')
    expect(moves()).toBe(2)
    till.clock.advance(1)
    await ask('away')
    expect(moves()).toBe(3)
    expect(await till.charged()).toBe(6n * SPARE_CHARGE)
  })

  test('as long as it asked for when it was busy, and then comes first again', async () => {
    first.behave(overloaded(429, { 'retry-after': '20' }))
    await ask('both')
    first.behave(completes())
    till.clock.advance(19_999)
    await ask('both')
    expect(sent()).toEqual([1, 2])
    till.clock.advance(1)
    await ask('both')
    expect(sent()).toEqual([2, 2])
    expect(await till.charged()).toBe(2n * SPARE_CHARGE + FIRST_CHARGE)
  })

  test('but is asked all the same where no other is awake', async () => {
    first.behave(overloaded(429, { 'retry-after': '20' }))
    spare.behave(overloaded(429, { 'retry-after': '20' }))
    await ask('both')
    first.behave(completes())
    expect((await ask('both')).status).toBe(200)
    expect(await till.charged()).toBe(FIRST_CHARGE)
  })
})
