/** Idempotency keys, repeated and at once, with the same and another body, through two `bursar mcp`; and amounts. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { answered, ask, awaited, refusal, refused } from '../support/mcp-answers.ts'
import { connect, type McpSession } from '../support/mcp-clients.ts'
import { childrenOf } from '../support/processes.ts'
import { type Stage, setStage } from '../support/stage.ts'
import { completes, type ScriptedUpstream, startScriptedUpstream } from '../support/upstream.ts'

const RAIL = 'ethereum:USDC'
let upstream: ScriptedUpstream
let stage: Stage
let windows: readonly [McpSession, McpSession]

beforeAll(async () => {
  upstream = await startScriptedUpstream()
  stage = await setStage({ upstream })
  windows = await Promise.all([connect('2026-07-28', stage.stdio()), connect('2026-07-28', stage.stdio())])
})
afterAll(async () => {
  await Promise.all((windows ?? []).map((session) => session.close()))
  await stage?.stop()
})

/** One after the other from both windows, all at once. */
function both<T>(times: number, act: (session: McpSession, index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(
    Array.from({ length: times }, (_, index) => act(windows[index % 2] as McpSession, index)),
  )
}

const issued = () => stage.query<{ n: number }>('SELECT sum(next_index) AS n FROM deriving_key')[0]?.n ?? 0

describe('create_invoice', () => {
  test('with one key and one body makes one invoice', async () => {
    const before = issued()
    const order = { rail: RAIL, pack: 'starter', idempotency_key: 'same' }
    const made = await both(8, (session) => ask(session, 'create_invoice', order))
    expect(new Set(made.map(({ id }) => id)).size).toBe(1)
    expect(issued()).toBe(before + 1)
    expect((await ask(windows[1], 'create_invoice', order))['id']).toBe(made[0]?.['id'])
  })

  test('with one key and two bodies makes the invoice of one of them', async () => {
    const before = issued()
    const bodies = [{ credits: '11' }, { credits: '12' }]
    const results = await both(8, (session, index) =>
      session.call('create_invoice', { rail: RAIL, idempotency_key: 'other', ...bodies[index >> 2] }),
    )
    const taken = results.filter(({ isError }) => !isError)
    expect(taken).toHaveLength(4)
    expect(new Set(taken.map(({ data }) => data['id'])).size).toBe(1)
    for (const result of results.filter(({ isError }) => isError)) refused(result, 'idempotency_conflict')
    expect(issued()).toBe(before + 1)
  })

  test.each([
    ['0', 'invalid_request'],
    ['-1', 'invalid_request'],
    ['0.0000001', 'invalid_request'],
    ['0.000001', 'invalid_request'],
    ['100001', 'invalid_request'],
    ['999999999.999999', 'invalid_request'],
    ['1000000000', 'invalid_request'],
  ])('refuses %s credits with %s, and takes no address', async (credits, code) => {
    const before = issued()
    const problem = await refusal(windows[0], code, 'create_invoice', { rail: RAIL, credits })
    expect(problem['status']).toBe(400)
    expect(issued()).toBe(before)
  })

  test.each([
    [{ rail: RAIL, pack: 'no-such-pack' }],
    [{ rail: 'ethereum:DAI', pack: 'starter' }],
    [{ rail: 'bitcoin:BTC', pack: 'starter' }],
  ])('says what there is instead of %j', async (order) => {
    const problem = await refusal(windows[0], 'not_found', 'create_invoice', order)
    expect(`${String(problem['detail'])} ${String(problem['remedy'])}`).toMatch(
      /list_offers|starter|ethereum:/,
    )
  })
})

describe('pay_invoice', () => {
  const spent = async () => 1_000_000_000n - (await stage.token.balance(stage.wallet))

  test('at once from two windows pays once', async () => {
    const { id } = await ask(windows[0], 'create_invoice', { rail: RAIL, credits: '20' })
    const before = await spent()
    const paid = await both(6, (session) =>
      ask(session, 'pay_invoice', { invoice: id, idempotency_key: 'payment' }),
    )
    expect(new Set(paid.map(({ txid }) => txid)).size).toBe(1)
    expect(paid.filter(({ replayed }) => replayed === false)).toHaveLength(1)
    // Both windows wanted a purse at that moment; the one that came second has ended.
    const purse = await stage.purse()
    const children = () => windows.flatMap(({ pid }) => childrenOf(pid ?? 0))
    await expect.poll(children).toEqual([purse?.pid])
    await stage.chain.mined(String(paid[0]?.['txid']))
    expect((await spent()) - before).toBe(2_000_000n)
    await awaited(windows[0], id)

    const other = await ask(windows[1], 'create_invoice', { rail: RAIL, credits: '21' })
    const input = { invoice: other['id'], idempotency_key: 'payment' }
    await refusal(windows[1], 'idempotency_conflict', 'pay_invoice', input)
    expect(await ask(windows[0], 'get_invoice', { invoice: other['id'] })).toMatchObject({ state: 'open' })
    expect((await spent()) - before).toBe(2_000_000n)
    // Without a key, or with another, an invoice is still paid only once.
    for (const extra of [{}, { idempotency_key: 'another' }]) {
      const again = await ask(windows[1], 'pay_invoice', { invoice: id, ...extra })
      expect(again).toMatchObject({ txid: paid[0]?.['txid'], replayed: true })
    }
  })
})

describe('call_model', () => {
  const asked = (content: string) => ({
    model: stage.model,
    messages: [{ role: 'user', content }],
    max_tokens: 100,
    idempotency_key: 'call',
  })

  test('with one key runs once, is charged once, and answers the same again', async () => {
    const before = await ask(windows[0], 'get_balance')
    let answer = (): void => {}
    upstream.behave((response, received) => {
      answer = () => completes({ text: 'Once.' })(response, received)
    })
    const first = windows[0].call('call_model', asked('hello'))
    await upstream.arrived(1)
    // While it runs: a repeat is told to wait, another body that the key is taken.
    await refusal(windows[1], 'conflict', 'call_model', asked('hello'))
    await refusal(windows[1], 'idempotency_conflict', 'call_model', asked('something else'))
    answer()
    const done = answered(await first)
    expect(done).toMatchObject({ text: 'Once.', charged: '0.000960', replayed: false })

    const repeats = await both(6, (session) => ask(session, 'call_model', asked('hello')))
    for (const repeat of repeats) {
      expect(repeat).toMatchObject({ text: 'Once.', receipt: done['receipt'], replayed: true })
    }
    await refusal(windows[0], 'idempotency_conflict', 'call_model', asked('something else'))
    expect(upstream.received).toHaveLength(1)
    const charged = Number(before['available']) - Number((await ask(windows[1], 'get_balance'))['available'])
    expect(charged).toBeCloseTo(0.00096, 6)
  })
})
