import { describe, expect, test } from 'vitest'
import { ASK, CHAT, CLAUDE, callSuite, MESSAGES, RESPOND, RESPONSES, refusal } from '../support/calls.ts'
import { saysNext } from '../support/scripted-model.ts'
import { chatFrames, message, messageFrames, responseObject, streams } from '../support/streams.ts'
import { PRICE } from '../support/till-http.ts'
import { answers, completes, refuses } from '../support/upstream.ts'

const calls = callSuite()

describe('credits that do not suffice', () => {
  /** 153 bytes or so at 20, 100 tokens at 20. */
  const required = BigInt(JSON.stringify(ASK).length + 16 + 128) * 20n + 2000n

  test.each<[string, string, object, object]>([
    [
      'openai',
      CHAT,
      ASK,
      { error: { type: 'insufficient_quota', code: 'insufficient_credits', param: null } },
    ],
    ['anthropic', MESSAGES, CLAUDE, { type: 'error', error: { type: 'billing_error' } }],
  ])(
    'are refused with what is missing and how to top up, as %s clients read it',
    async (_, path, ask, wire) => {
      await calls.restart({ credits: 1000n })
      const response = await calls.till.post(path, ask)
      const body = await refusal(response, 402, 'insufficient_credits')
      expect(body).toMatchObject({
        ...wire,
        available: '0.001000',
        held: '0.000000',
        required: expect.stringMatching(/^0\.\d{6}$/),
        missing: expect.any(String),
        max_affordable_tokens: 0,
        reason: 'empty',
        remedy: expect.stringMatching(/create_invoice/),
      })
      const { message: said } = body['error'] as { message: string }
      expect(said).toMatch(/can cost up to .* available.*Buy at least/s)
      expect(response.headers.get('x-should-retry')).toBe('false')
      await calls.nothingHappened()
    },
  )

  test('say how many tokens would fit, and those do', async () => {
    await calls.restart({ credits: required - 1n })
    const body = await refusal(await calls.till.post(CHAT, ASK), 402, 'insufficient_credits')
    expect(body).toMatchObject({ max_affordable_tokens: 99 })
    // A longer body: a few tokens less fit beside it.
    expect((await calls.till.post(CHAT, { ...ASK, max_tokens: 70 })).status).toBe(200)
  })

  test('that running calls hold may come back', async () => {
    await calls.restart({ credits: required + 100n })
    let answer: () => void = () => undefined
    calls.upstream.behave((response, received) => {
      answer = () => completes()(response, received)
    })
    const running = calls.till.post(CHAT, ASK)
    await calls.arrived(1)
    const response = await calls.till.post(CHAT, ASK)
    expect(await refusal(response, 402, 'insufficient_credits')).toMatchObject({ reason: 'held' })
    expect(response.headers.get('x-should-retry')).toBeNull()
    answer()
    expect((await running).status).toBe(200)
  })

  test('that running calls hold may come back for a call that can be fitted', async () => {
    await calls.restart({ credits: required + 100n })
    let answer: () => void = () => undefined
    calls.upstream.behave((response, received) => {
      answer = () => completes()(response, received)
    })
    const running = calls.till.post(CHAT, ASK)
    await calls.arrived(1)
    // More than there is, even with what is held; 50 tokens of it would do.
    const large = { ...ASK, model: 'newer', max_tokens: 128_000 }
    const response = await calls.till.post(CHAT, large, { 'x-bursar-fit': '50' })
    expect(await refusal(response, 402, 'insufficient_credits')).toMatchObject({ reason: 'held' })
    expect(response.headers.get('x-should-retry')).toBeNull()
    const whole = await calls.till.post(CHAT, large)
    expect(await refusal(whole, 402, 'insufficient_credits')).toMatchObject({ reason: 'empty' })
    answer()
    expect((await running).status).toBe(200)
  })
})

describe('a text whose bytes do not fit', () => {
  const content = 'The quick brown fox jumps over the lazy dog. '.repeat(200)
  const ask = (model: string) => ({ model, max_tokens: 100, messages: [{ role: 'user', content }] })
  /** Of 2,001 tokens in 9,000 bytes, at 20; and 100 of output. */
  const credits = 4_000n * 20n
  const models = { counted: { tokenizer: 'o200k_base', upstream: 'main', ...PRICE } }

  test('is counted where its tokeniser is public, and held as that', async () => {
    await calls.restart({ credits, more: { models } })
    await refusal(await calls.till.post(CHAT, ask('gpt')), 402, 'insufficient_credits')
    expect((await calls.till.post(CHAT, ask('counted'))).status).toBe(200)
    const { held } = await calls.till.receipt()
    expect(held).toBeGreaterThanOrEqual(2_001n * 20n)
    expect(held).toBeLessThanOrEqual(credits)
  })

  test('is counted before the output is fitted', async () => {
    await calls.restart({ credits, more: { models } })
    const large = { ...ask('counted'), max_tokens: 128_000 }
    const response = await calls.till.post(CHAT, large, { 'x-bursar-fit': '500' })
    expect(response.status).toBe(200)
    expect(Number(response.headers.get('x-bursar-max-tokens'))).toBeGreaterThanOrEqual(500)
  })

  test('is refused without counting where even a count could not help', async () => {
    await calls.restart({ credits: 1_000n * 20n, more: { models } })
    const body = await refusal(await calls.till.post(CHAT, ask('counted')), 402, 'insufficient_credits')
    expect(body).toMatchObject({ required: expect.stringMatching(/^0\.1[89]/) })
    await calls.nothingHappened()
  })

  test('of embeddings is counted too', async () => {
    await calls.restart({ credits, more: { models } })
    calls.upstream.behave(answers(200, { data: [], usage: { prompt_tokens: 2_001, total_tokens: 2_001 } }))
    const embed = (model: string) => calls.till.post('/v1/embeddings', { model, input: content })
    expect((await embed('gpt')).status).toBe(402)
    expect((await embed('counted')).status).toBe(200)
  })
})

describe('fitting', () => {
  const big = { ...ASK, model: 'newer', max_tokens: 128_000 }
  const input = BigInt(JSON.stringify(big).length + 16 + 128) * 20n

  test('shrinks the limit to what the balance affords, down to the floor', async () => {
    await calls.restart({ credits: input + 50n * 20n + 19n, floor: 20 })
    const response = await calls.till.post(CHAT, big)
    expect(response.status).toBe(200)
    expect(response.headers.get('x-bursar-max-tokens')).toBe('50')
    expect(calls.lastBody()).toMatchObject({ max_completion_tokens: 50 })
    expect((await calls.till.receipt()).held).toBe(input + 1000n)
  })

  test('stops at the floor, which the caller may set', async () => {
    await calls.restart({ credits: input + 50n * 20n, floor: 51 })
    expect(await refusal(await calls.till.post(CHAT, big), 402, 'insufficient_credits')).toMatchObject({
      max_affordable_tokens: 50,
      // One token's price for the floor; 4,046 for all of the model's 4,096.
      remedy: expect.stringMatching(/buy at least 0\.000020 credits, or 0\.080920 for all the output/),
    })
    await refusal(await calls.till.post(CHAT, big, { 'x-bursar-fit': 'off' }), 402, 'insufficient_credits')
    await calls.nothingHappened()
    const response = await calls.till.post(CHAT, big, { 'x-bursar-fit': '50' })
    expect(response.status).toBe(200)
    expect(calls.lastBody()).toMatchObject({ max_completion_tokens: 50 })
  })

  test.each([
    [CHAT, { ...big, bursar_fit: 20 }, 'max_completion_tokens'],
    [
      RESPONSES,
      { ...RESPOND, model: 'newer', max_output_tokens: 128_000, bursar_fit: 20 },
      'max_output_tokens',
    ],
    [MESSAGES, { ...CLAUDE, max_tokens: 4000, bursar_fit: 20 }, 'max_tokens'],
  ])('is asked for in the body of %s, which the upstream gets without it', async (path, ask, limit) => {
    const bound = BigInt(JSON.stringify(ask).length + 16 + 128) * 20n
    await calls.restart({ credits: bound + 50n * 20n })
    calls.upstream.behave(saysNext(() => ({ text: 'Good day.' })))
    // The body says more than the header, and both more than the seller.
    const response = await calls.till.post(path, ask, { 'x-bursar-fit': 'off' })
    expect(response.status).toBe(200)
    expect(calls.lastBody()).toMatchObject({ [limit]: 50 })
    expect(calls.sent().at(-1)?.raw).not.toContain('bursar_fit')
    expect(await calls.till.charged()).toBe(220n)
    const off = await calls.till.post(path, { ...ask, bursar_fit: 'off' }, { 'x-bursar-fit': '20' })
    await refusal(off, 402, 'insufficient_credits')
    await refusal(await calls.till.post(path, { ...ask, bursar_fit: 51 }), 402, 'insufficient_credits')
    expect(calls.sent()).toHaveLength(1)
  })

  test.each([
    [
      '/v1/embeddings',
      { model: 'gpt', input: 'one' },
      { object: 'list', data: [], usage: { prompt_tokens: 1 } },
    ],
    [`${MESSAGES}/count_tokens`, { model: 'claude', messages: CLAUDE.messages }, { input_tokens: 14 }],
  ])('changes nothing at %s, where there is no output', async (path, ask, answer) => {
    calls.upstream.behave(answers(200, answer))
    expect((await calls.till.post(path, { ...ask, bursar_fit: 20 })).status).toBe(200)
    expect(calls.lastBody()).not.toHaveProperty('bursar_fit')
  })

  test('shares what there is between the choices', async () => {
    const three = { ...big, n: 3 }
    const bytes = BigInt(JSON.stringify(three).length + 16 + 128) * 20n
    await calls.restart({ credits: bytes + 50n * 20n, floor: 5 })
    expect((await calls.till.post(CHAT, three)).headers.get('x-bursar-max-tokens')).toBe('16')
    expect((await calls.till.receipt()).held).toBe(bytes + 48n * 20n)
  })

  test('leaves room for the thinking that was asked for', async () => {
    calls.upstream.behave(answers(200, message()))
    const thinking = { ...CLAUDE, max_tokens: 4000, thinking: { type: 'enabled', budget_tokens: 1024 } }
    const bytes = BigInt(JSON.stringify(thinking).length + 16 + 128) * 20n
    await calls.restart({ credits: bytes + 1024n * 20n, floor: 1 })
    await refusal(await calls.till.post(MESSAGES, thinking), 402, 'insufficient_credits')
    await calls.restart({ credits: bytes + 1025n * 20n, floor: 1 })
    expect((await calls.till.post(MESSAGES, thinking)).headers.get('x-bursar-max-tokens')).toBe('1025')
  })

  test('of many at once never overdraws, and gives back all that is not used', async () => {
    await calls.restart({ credits: 10n * input, floor: 1 })
    const statuses = await Promise.all(
      Array.from({ length: 40 }, async () => (await calls.till.post(CHAT, big)).status),
    )
    expect(new Set(statuses).isSubsetOf(new Set([200, 402]))).toBe(true)
    const answered = BigInt(statuses.filter((status) => status === 200).length)
    expect(answered).toBeGreaterThan(0n)
    expect(await calls.till.charged()).toBe(answered * 220n)
  })
})

describe('an idempotency key', () => {
  const key = { 'idempotency-key': 'once' }

  test.each([
    ['an answer', CHAT, ASK],
    ['a stream', CHAT, { ...ASK, stream: true }],
    ['a stream of messages', MESSAGES, { ...CLAUDE, stream: true }],
  ])('gives %s again, uncharged', async (_, path, ask) => {
    const stream = path === CHAT ? chatFrames() : messageFrames()
    calls.upstream.behave('stream' in ask ? streams(stream) : completes())
    const first = await calls.till.post(path, ask, key)
    const text = await first.text()
    expect(first.headers.get('x-bursar-replayed')).toBeNull()
    const again = await calls.till.post(path, ask, key)
    expect(await again.text()).toBe(text)
    expect(again.headers.get('content-type')).toBe(first.headers.get('content-type'))
    expect(again.headers.get('x-bursar-replayed')).toBe('true')
    expect(again.headers.get('x-bursar-receipt')).toBe(first.headers.get('x-bursar-receipt'))
    expect(again.headers.get('x-bursar-charged')).toBe('0.000220')
    expect(calls.sent()).toHaveLength(1)
    expect(await calls.till.charged()).toBe(220n)
  })

  test('belongs to one body, one route and one account', async () => {
    await calls.till.post(CHAT, ASK, key)
    await refusal(await calls.till.post(CHAT, { ...ASK, n: 1 }, key), 409, 'idempotency_conflict')
    calls.upstream.behave(answers(200, responseObject()))
    expect((await calls.till.post(RESPONSES, RESPOND, key)).status).toBe(200)
    calls.upstream.behave(completes())
    const other = await calls.till.keyFor(await calls.till.account(1_000_000n))
    const response = await calls.till.post(CHAT, ASK, { ...key, authorization: `Bearer ${other}` })
    expect(response.headers.get('x-bursar-replayed')).toBeNull()
    expect(calls.sent()).toHaveLength(3)
  })

  test('of a running call says to wait', async () => {
    let answer: () => void = () => undefined
    calls.upstream.behave((response, received) => {
      answer = () => completes()(response, received)
    })
    const running = calls.till.post(CHAT, ASK, key)
    await calls.arrived(1)
    const response = await calls.till.post(CHAT, ASK, key)
    await refusal(response, 409, 'conflict')
    expect(response.headers.get('retry-after')).toBe('2')
    answer()
    expect((await running).status).toBe(200)
    expect(calls.sent()).toHaveLength(1)
  })

  test('of a failed call gives the failure again; nothing runs twice', async () => {
    calls.upstream.behave(refuses(500, 'server_error'))
    await refusal(await calls.till.post(CHAT, ASK, key), 502, 'upstream_error')
    const again = await calls.till.post(CHAT, ASK, key)
    await refusal(again, 502, 'upstream_error')
    expect(again.headers.get('x-bursar-replayed')).toBe('true')
    expect(again.headers.get('x-should-retry')).toBe('false')
    expect(calls.sent()).toHaveLength(1)
  })

  test('of an answer that is too large to keep names the receipt', async () => {
    calls.upstream.behave(completes({ text: 'x'.repeat(1024 * 1024) }))
    const first = await calls.till.post(CHAT, ASK, key)
    await first.text()
    const body = await refusal(await calls.till.post(CHAT, ASK, key), 409, 'idempotency_conflict')
    expect(body['receipt']).toBe(first.headers.get('x-bursar-receipt'))
    expect(calls.sent()).toHaveLength(1)
  })
})

test('a stop waits for the calls that run, and settles those whose clients have gone', async () => {
  let answer: () => void = () => undefined
  calls.upstream.behave((response, received) => {
    answer = () => completes()(response, received)
  })
  const client = new AbortController()
  const asked = fetch(`${calls.till.url}${CHAT}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${calls.till.key}` },
    body: JSON.stringify(ASK),
    signal: client.signal,
  })
  await calls.arrived(1)
  client.abort()
  await expect(asked).rejects.toThrow()
  const closed = calls.till.server.close()
  answer()
  await closed
  expect(await calls.till.receipt()).toMatchObject({ state: 'charged', charged: 220n })
})
