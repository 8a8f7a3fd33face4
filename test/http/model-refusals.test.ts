import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { statement } from '../../src/db/db.ts'
import { createKey, revokeKey } from '../../src/ledger/keys.ts'
import { ASK, CHAT, callSuite, MESSAGES, messages, RESPONSES, refusal } from '../support/calls.ts'

const calls = callSuite()

const asking = (part: object) => ({ ...ASK, messages: [{ role: 'user', content: [part] }] })

describe('bad input', () => {
  test.each<[string, unknown, number, string]>([
    ['no JSON', '{"model":', 400, 'invalid_request'],
    ['no object', '[]', 400, 'invalid_request'],
    ['no UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), 400, 'invalid_request'],
    [
      'a member named twice',
      '{"model":"gpt","max_tokens":1,"max_tokens":2,"messages":[]}',
      400,
      'invalid_request',
    ],
    ['no model', { messages }, 400, 'invalid_request'],
    ['a model that nobody sells', { ...ASK, model: 'no-such' }, 404, 'unknown_model'],
    ['a model of the other format', { ...ASK, model: 'claude' }, 400, 'invalid_request'],
    ['max_tokens below zero', { ...ASK, max_tokens: -1 }, 400, 'invalid_request'],
    ['max_tokens of zero', { ...ASK, max_tokens: 0 }, 400, 'invalid_request'],
    ['max_tokens as text', { ...ASK, max_tokens: '9' }, 400, 'invalid_request'],
    ['a fraction of a token', { ...ASK, max_completion_tokens: 1.5 }, 400, 'invalid_request'],
    ['an absurd number of choices', { ...ASK, n: 1e9 }, 400, 'invalid_request'],
    ['no messages', { model: 'gpt' }, 400, 'invalid_request'],
    ['a fit that is neither', { ...ASK, bursar_fit: 'please' }, 400, 'invalid_request'],
    ['a fit below zero', { ...ASK, bursar_fit: -1 }, 400, 'invalid_request'],
    ['a fit in part of a token', { ...ASK, bursar_fit: 0.5 }, 400, 'invalid_request'],
    ['stream that is neither', { ...ASK, stream: 'yes' }, 400, 'invalid_request'],
    [
      'an image that says no type',
      asking({ image_url: 'https://example.com/large.png' }),
      400,
      'invalid_request',
    ],
    [
      'an image that calls itself text',
      asking({ type: 'text', text: 'x', uuid: 'u', image_url: 'https://example.com/large.png' }),
      400,
      'invalid_request',
    ],
    [
      'a video beside an image',
      asking({ type: 'image_url', image_url: { url: 'x' }, video_url: { url: 'x' } }),
      400,
      'invalid_request',
    ],
  ])('%s', async (_, body, status, code) => {
    const response = await calls.till.post(CHAT, body)
    await refusal(response, status, code)
    expect(response.headers.get('x-should-retry')).toBe('false')
    await calls.nothingHappened()
  })

  test('a body over the limit, declared or not', async () => {
    const chunk = new Uint8Array(1024 * 1024).fill(0x20)
    const large = (pulls: number) => {
      let left = pulls
      return new ReadableStream<Uint8Array>({
        pull: (controller) => (left-- > 0 ? controller.enqueue(chunk) : controller.close()),
      })
    }
    const init = {
      method: 'POST',
      headers: { authorization: `Bearer ${calls.till.key}` },
      duplex: 'half' as const,
    }
    const status = await fetch(`${calls.till.url}${CHAT}`, { ...init, body: large(40) }).then(
      (response) => response.status,
      () => 413,
    )
    expect(status).toBe(413)
    const socket = connect(calls.till.server.port, '127.0.0.1')
    socket.write(
      `POST ${CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${calls.till.key}\r\nContent-Length: 99999999\r\n\r\n`,
    )
    const [answer] = (await once(socket, 'data')) as [Buffer]
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 413 /)
    socket.destroy()
    await calls.nothingHappened()
  })

  test.each<[string, Record<string, string>, number]>([
    ['a compressed body', { 'content-encoding': 'gzip' }, 400],
    ['an empty idempotency key', { 'idempotency-key': '' }, 400],
    ['a fit that is no number', { 'x-bursar-fit': 'please' }, 400],
    ['another origin', { origin: 'https://evil.example' }, 403],
    ['an unknown key', { authorization: 'Bearer bk_unknown' }, 401],
  ])('%s', async (_, headers, status) => {
    const response = await calls.till.post(CHAT, ASK, headers)
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ error: { message: expect.any(String) } })
    await calls.nothingHappened()
  })

  test("who asks without a key, or with one that was revoked, a seller's or a frozen account's", async () => {
    const bare = await fetch(`${calls.till.url}${MESSAGES}`, { method: 'POST', body: '{}' })
    expect(bare.headers.get('www-authenticate')).toBe('Bearer realm="bursar"')
    expect(await bare.json()).toMatchObject({ type: 'error', error: { type: 'authentication_error' } })
    const revoked = await createKey(calls.till.ledger, {
      scope: 'account',
      account: calls.till.buyer,
      name: 'gone',
    })
    await revokeKey(calls.till.ledger, { id: revoked.id })
    const unknown = await calls.till.post(CHAT, ASK, { authorization: `Bearer ${revoked.key}` })
    await refusal(unknown, 401, 'unauthorized')
    const seller = await createKey(calls.till.ledger, { scope: 'seller', name: 'seller' })
    await refusal(
      await calls.till.post(CHAT, ASK, { authorization: `Bearer ${seller.key}` }),
      403,
      'forbidden',
    )
    await calls.till.db.commit([
      statement('UPDATE account SET frozen_at = 1 WHERE id = ?', [calls.till.buyer]),
    ])
    await refusal(await calls.till.post(CHAT, ASK), 403, 'frozen')
    await calls.nothingHappened()
  })

  test('other methods', async () => {
    const response = await fetch(`${calls.till.url}${CHAT}`, {
      headers: { authorization: `Bearer ${calls.till.key}` },
    })
    await refusal(response, 405, 'method_not_allowed')
    expect(response.headers.get('allow')).toBe('POST')
  })
})

test.each<[string, string, string, string]>([
  [
    MESSAGES,
    '{"model":"claude","messages":[{"role":"user","content":[HERE]}]}',
    '{"type":"tool_result","content":[',
    ']}',
  ],
  [RESPONSES, '{"model":"gpt","input":"x","tools":[HERE]}', '{"type":"namespace","tools":[', ']}'],
  [
    RESPONSES,
    '{"model":"gpt","input":[{"content":[{"type":"input_text","text":"x","audio_url":HERE}]}]}',
    '"x"',
    '',
  ],
])('%s: what is nested without end, or hidden, is refused: %s', async (path, body, open, close) => {
  const times = close === '' ? 1 : 50_000
  const text = body.replace('HERE', open.repeat(times) + close.repeat(times))
  await refusal(await calls.till.post(path, text), 400, 'invalid_request')
  await calls.nothingHappened()
  expect(calls.till.runtime.lines).toEqual([])
})
