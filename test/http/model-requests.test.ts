import { describe, expect, test } from 'vitest'
import { ASK, CHAT, CLAUDE, callSuite, MESSAGES, RESPOND, RESPONSES, refusal } from '../support/calls.ts'
import { UPSTREAM_KEY } from '../support/models.ts'
import { chatFrames, message, responseObject, sse, streams } from '../support/streams.ts'
import { answers, completion } from '../support/upstream.ts'

const USAGE = { prompt_tokens: 12, completion_tokens: 5 }
const calls = callSuite()

describe('what is sent upstream', () => {
  test('is what was asked, but for the model, the limit and the usage', async () => {
    const ask =
      '{"messages":[{"role":"user","content":"caf\\u00e9 \u{1f44b}"}],"seed":12345678901234567890,"model":"gpt","x_unknown":{"a":[1.0]},"max_completion_tokens":7,"stream":true,"stream_options":{"include_obfuscation":false}}'
    let raw = ''
    calls.upstream.behave((response, received) => {
      raw = received.raw
      streams(chatFrames())(response, received)
    })
    await (await calls.till.post(CHAT, ask)).text()
    expect(raw).toBe(
      '{"messages":[{"role":"user","content":"caf\\u00e9 \u{1f44b}"}],"seed":12345678901234567890,"model":"upstream-model","x_unknown":{"a":[1.0]},"stream":true,"stream_options":{"include_obfuscation":false,"include_usage":true},"max_tokens":7}',
    )
  })

  test("has a limit, in the name that the upstream knows, and never above the model's", async () => {
    await calls.till.post(CHAT, ASK)
    expect(calls.lastBody()).toMatchObject({ max_tokens: 100 })
    await calls.till.post(CHAT, { ...ASK, max_tokens: 100_000, max_completion_tokens: 60 })
    expect(calls.lastBody()).toMatchObject({ max_tokens: 60 })
    expect(calls.lastBody()).not.toHaveProperty('max_completion_tokens')
    const response = await calls.till.post(CHAT, { ...ASK, model: 'newer', max_tokens: 9 })
    expect(calls.lastBody()).toMatchObject({ max_completion_tokens: 9 })
    expect(calls.lastBody()).not.toHaveProperty('max_tokens')
    expect(response.headers.get('x-bursar-max-tokens')).toBe('9')
    calls.upstream.behave(answers(200, responseObject()))
    await calls.till.post(RESPONSES, RESPOND)
    expect(calls.lastBody()).toEqual({
      ...RESPOND,
      model: 'upstream-model',
      max_output_tokens: 100,
      store: false,
    })
    calls.upstream.behave(answers(200, message()))
    await calls.till.post(MESSAGES, { ...CLAUDE, max_tokens: 128_000 })
    expect(calls.lastBody()).toEqual({ ...CLAUDE, model: 'upstream-claude', max_tokens: 4096 })
  })

  test("holds no header of the caller, and the key is the seller's", async () => {
    const smuggled = {
      cookie: 'session=1',
      'openai-organization': 'org-of-somebody',
      'openai-project': 'proj',
      'x-api-key': 'bk_another',
      'x-forwarded-for': '10.0.0.1',
      'x-stainless-lang': 'js',
      'anthropic-beta': 'other-2025',
      'user-agent': 'evil/1.0',
      te: 'trailers',
    }
    await calls.till.post(CHAT, ASK, smuggled)
    const headers = calls.sent().at(-1)?.headers ?? {}
    expect(Object.keys(headers).sort()).toEqual([
      'accept',
      'accept-encoding',
      'authorization',
      'connection',
      'content-length',
      'content-type',
      'host',
    ])
    expect(headers.authorization).toBe(`Bearer ${UPSTREAM_KEY}`)
    expect(JSON.stringify(headers)).not.toContain(calls.till.key)
  })

  test('of a message holds the version, the betas and ?beta=true, verbatim', async () => {
    calls.upstream.behave(answers(200, message()))
    await calls.till.post(`${MESSAGES}?beta=true&key=1`, CLAUDE, {
      'anthropic-version': '2026-10-21',
      'anthropic-beta': 'claude-code-20250219,interleaved-thinking-2025-05-14',
    })
    const last = calls.sent().at(-1)
    expect(last?.path).toBe('/v1/messages?beta=true')
    expect(last?.headers).toMatchObject({
      'anthropic-version': '2026-10-21',
      'anthropic-beta': 'claude-code-20250219,interleaved-thinking-2025-05-14',
      'x-api-key': UPSTREAM_KEY,
    })
    expect(last?.headers.authorization).toBeUndefined()
    await calls.till.post(MESSAGES, CLAUDE)
    expect(calls.sent().at(-1)).toMatchObject({
      path: '/v1/messages',
      headers: { 'anthropic-version': '2023-06-01' },
    })
  })
})

describe('what comes back', () => {
  test('holds no header of the upstream but the id of its request', async () => {
    calls.upstream.behave(
      answers(200, completion(), {
        'x-request-id': 'req-9',
        'set-cookie': 'upstream=1',
        'openai-organization': 'the-sellers',
        'x-ratelimit-remaining-requests': '3',
        server: 'secret/1.0',
      }),
    )
    const response = await calls.till.post(CHAT, ASK)
    const names = [...response.headers.keys()].sort()
    expect(names).toEqual([
      'connection',
      'content-length',
      'content-type',
      'date',
      'keep-alive',
      'x-bursar-balance',
      'x-bursar-charged',
      'x-bursar-max-tokens',
      'x-bursar-receipt',
      'x-request-id',
    ])
    expect(response.headers.get('x-request-id')).toBe('req-9')
  })

  test('of a refusal is what is wrong, without the key', async () => {
    const error = {
      message: `prompt is too long: 9 tokens > 8 maximum (key ${UPSTREAM_KEY} at ${calls.upstream.baseUrl})`,
      type: 'invalid_request_error',
      code: 'context_length_exceeded',
    }
    calls.upstream.behave(answers(400, { error }))
    for (const [path, ask] of [
      [CHAT, ASK],
      [MESSAGES, CLAUDE],
    ] as const) {
      const body = await refusal(await calls.till.post(path, ask), 400, 'invalid_request')
      expect((body['error'] as { message: string }).message).toMatch(
        /^prompt is too long: 9 tokens > 8 maximum/,
      )
      expect(JSON.stringify(body)).not.toContain(UPSTREAM_KEY)
      expect(JSON.stringify(body)).not.toContain('127.0.0.1')
      if (path === CHAT) expect(body['error']).toMatchObject({ code: 'context_length_exceeded' })
    }
  })

  test('of a busy upstream says when to come back', async () => {
    calls.upstream.behave(
      answers(429, { error: { type: 'rate_limit_error', message: 'x' } }, { 'retry-after': '7' }),
    )
    const response = await calls.till.post(CHAT, ASK)
    await refusal(response, 429, 'rate_limited')
    expect(response.headers.get('retry-after')).toBe('7')
    expect(response.headers.get('x-should-retry')).toBeNull()
  })

  test('has the chunk with the usage when the caller asked for it, and not otherwise', async () => {
    calls.upstream.behave(streams(chatFrames()))
    const asked = { ...ASK, stream: true, stream_options: { include_usage: true } }
    expect(await (await calls.till.post(CHAT, asked)).text()).toBe(chatFrames().join(''))
    // Usage beside content is content.
    const beside = sse({ id: 'c', choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], usage: USAGE })
    calls.upstream.behave(streams([beside, sse('[DONE]')]))
    expect(await (await calls.till.post(CHAT, { ...ASK, stream: true })).text()).toBe(beside + sse('[DONE]'))
    expect(await calls.till.charged()).toBe(440n)
  })
})

describe('a stream of several choices', () => {
  const part = (index: number, delta: object, reason: string | null = null) =>
    sse({ id: 'c', choices: [{ index, delta, finish_reason: reason }], usage: null })
  const one = [part(0, { content: 'a' }), part(1, { content: 'b' }), part(0, {}, 'stop')]
  const ask = { ...ASK, n: 2, stream: true }

  test('is whole when each of them has ended, whatever comes then', async () => {
    const both = [...one, part(1, {}, 'length')]
    for (const frames of [both, [...both, sse('[DONE]')], [...one, sse({ choices: [], usage: USAGE })]]) {
      calls.upstream.behave(streams(frames))
      expect(await (await calls.till.post(CHAT, ask)).text()).not.toContain('"error"')
      expect((await calls.till.receipt()).note ?? 'reported no usage').toMatch(/reported no usage/)
    }
  })

  test('that breaks off when one of them has ended says so', async () => {
    calls.upstream.behave(streams(one, { finish: 'cut' }))
    const text = await (await calls.till.post(CHAT, ask)).text()
    expect(text).toContain('"code":"upstream_error"')
    expect((await calls.till.receipt()).note).toMatch(/broke the connection/)
  })
})

describe('the list of models', () => {
  const get = (path: string, headers: Record<string, string> = {}) =>
    fetch(`${calls.till.url}${path}`, { headers: { 'x-api-key': calls.till.key, ...headers } })
  const anthropic = { 'anthropic-version': '2023-06-01' }

  test("is that of the caller's format", async () => {
    const openai = (await (await get('/v1/models')).json()) as { data: { id: string }[] }
    expect(openai).toMatchObject({ object: 'list', data: [{ id: 'gpt', object: 'model' }, {}, {}, {}] })
    expect(openai.data.map(({ id }) => id)).toEqual(['gpt', 'newer', 'text', 'fixed'])
    const claude = await (await get('/v1/models?limit=1000', anthropic)).json()
    expect(claude).toMatchObject({
      data: [{ type: 'model', id: 'claude', display_name: 'claude' }],
      has_more: false,
      first_id: 'claude',
    })
    expect(await (await get('/v1/models/gpt')).json()).toMatchObject({ id: 'gpt', object: 'model' })
    await refusal(await get('/v1/models/no-such'), 404, 'unknown_model')
    expect((await fetch(`${calls.till.url}/v1/models`)).status).toBe(401)
    expect((await fetch(`${calls.till.url}/api/hello`, { method: 'HEAD' })).status).toBe(200)
  })
})
