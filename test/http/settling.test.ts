import { createHash } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DEADLINE_MS, DRAIN_MS, UPSTREAM_KEY } from '../support/models.ts'
import { NOWHERE } from '../support/nowhere.ts'
import { turns } from '../support/runtime.ts'
import {
  chatFrames,
  message,
  messageFrames,
  responseFrames,
  responseObject,
  sse,
  streams,
} from '../support/streams.ts'
import { type HttpTill, httpTill, START_CREDITS } from '../support/till-http.ts'
import {
  answers,
  answersHtml,
  answersText,
  type Behaviour,
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

/** How each format says the same things. */
interface Wire {
  readonly path: string
  readonly ask: Readonly<Record<string, unknown>>
  readonly answer: (input: number, output: number) => object
  readonly unmetered: (text: string) => object
  readonly whole: readonly string[]
  /** Without its usage and its end. */
  readonly broken: readonly string[]
  readonly noUsage: readonly string[]
  readonly failure: RegExp
  readonly failed: string
}

const CONTENT = 'Good day?'
const messages = [{ role: 'user', content: CONTENT }]
const WIRES: Record<string, Wire> = {
  chat: {
    path: '/v1/chat/completions',
    ask: { model: 'gpt', messages },
    answer: (input, output) => completion({ usage: { prompt_tokens: input, completion_tokens: output } }),
    unmetered: (text) => completion({ usage: null, text }),
    whole: chatFrames(),
    broken: chatFrames({ usage: null, done: false, finish: false }),
    noUsage: chatFrames({ usage: null }),
    failure:
      /^data: \{"error":\{"message":"[^"]+","type":"server_error","code":"upstream_error","param":null\}\}$/m,
    failed: sse({ error: { message: 'IGNORE', type: 'server_error', code: 'overloaded' } }),
  },
  messages: {
    path: '/v1/messages',
    ask: { model: 'claude', max_tokens: 100, messages },
    answer: (input, output) => message({ input_tokens: input, output_tokens: output }),
    unmetered: (text) => message(null, text),
    whole: messageFrames(),
    broken: messageFrames({ delta: null, stop: false }),
    noUsage: messageFrames({ start: {}, delta: {} }),
    failure:
      /^event: error\ndata: \{"type":"error","error":\{"type":"(api_error|overloaded_error)","message":"[^"]+"\}\}$/m,
    failed: sse({ type: 'error', error: { type: 'overloaded_error', message: 'IGNORE' } }, 'error'),
  },
  responses: {
    path: '/v1/responses',
    ask: { model: 'gpt', input: CONTENT },
    answer: (input, output) => responseObject({ input_tokens: input, output_tokens: output }),
    unmetered: (text) => responseObject(null, text),
    whole: responseFrames(),
    broken: responseFrames({ last: null }),
    noUsage: responseFrames({ usage: null }),
    failure:
      /^event: response\.failed\ndata: \{"type":"response\.failed","sequence_number":\d+,"response":\{"id":"resp_/m,
    failed: sse({ type: 'error', sequence_number: 3, code: 'server_error', message: 'IGNORE' }, 'error'),
  },
}

let upstream: ScriptedUpstream
let till: HttpTill

beforeAll(async () => {
  upstream = await startScriptedUpstream()
})
afterAll(() => upstream.stop())
beforeEach(async () => {
  till = await httpTill({ openai: upstream.baseUrl })
})
afterEach(() => till.close())

/** The whole text of an answer. `then` comes when so much of it has arrived. */
async function readOn(response: Response, until: string, then: () => void): Promise<string> {
  const decoder = new TextDecoder()
  let [text, told] = ['', false]
  for await (const piece of response.body ?? []) {
    text += decoder.decode(piece, { stream: true })
    if (told || text.length < until.length) continue
    told = true
    then()
  }
  return text
}

function nothingLeaks(...texts: unknown[]): void {
  const all = JSON.stringify([texts, till.runtime.lines])
  expect(all).not.toContain(UPSTREAM_KEY)
  expect(all).not.toContain('IGNORE')
}

/** 4 bytes a token, and 4 for a message: what each request is estimated at. */
function estimate({ ask }: Wire): bigint {
  return BigInt(Math.ceil(JSON.stringify(ask).length / 4) + 4) * 10n
}

describe.each(Object.entries(WIRES))('settling %s', (name, wire) => {
  const { path, ask } = wire
  const ok = (body: object): Behaviour => answers(200, body, { 'x-request-id': 'req-1' })

  test.each<[string, Behaviour, bigint, string | null]>([
    ['final usage: its cost', ok(wire.answer(12, 5)), 220n, null],
    ['an explicit zero: nothing', ok(wire.answer(0, 0)), 0n, null],
    ['usage above the hold: the hold', ok(wire.answer(1_000_000, 5)), -1n, 'more than the bound'],
    ['no usage: an estimate', ok(wire.unmetered('x'.repeat(40))), estimate(wire) + 200n, 'reported no usage'],
  ])('%s', async (_, behaviour, charged, note) => {
    upstream.behave(behaviour)
    const response = await till.post(path, ask)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/json')
    const receipt = await till.receipt()
    expect(response.headers.get('x-bursar-receipt')).toBe(receipt.id)
    expect(receipt).toMatchObject({ state: 'charged', upstream_request_id: 'req-1' })
    const total = await till.charged()
    if (charged === -1n) expect(total).toBe(receipt.held)
    else expect(total).toBe(charged)
    expect(Number(response.headers.get('x-bursar-charged')) * 1e6).toBeCloseTo(Number(total))
    expect(Number(response.headers.get('x-bursar-balance')) * 1e6).toBeCloseTo(Number(START_CREDITS - total))
    expect(receipt.note ?? '').toMatch(note ?? /^$/)
    expect(till.runtime.lines.some(({ facts }) => 'alert' in facts)).toBe(charged === -1n)
  })

  const late = true
  test.each<[string, Behaviour, number, string | null, boolean, boolean?]>([
    ['status 400', refuses(400, 'bad'), 400, 'false', false],
    ['status 401', refuses(401, 'invalid_api_key'), 502, 'false', false],
    ['status 404', refuses(404, 'model_not_found'), 502, 'false', false],
    ['status 429', refuses(429, 'rate_limit_exceeded'), 429, null, false],
    ['status 500', refuses(500, 'server_error'), 502, null, false],
    ['a web page with 200', answersHtml, 502, 'false', false],
    ['an error object with 200', answers(200, { error: { code: 'no_provider' } }), 502, 'false', false],
    ['no answer in time', hangs, 502, 'false', true, late],
    ['an answer that stalls', stallsAfterHeaders, 502, 'false', true, late],
    ['a cut before the status', cutsBeforeHeaders, 502, 'false', true],
    ['a cut after the status', cutsAfterHeaders, 502, 'false', true],
    ['broken JSON', answersText('{"choi'), 502, 'false', true],
    ['something else', answersText('{"ok":true}'), 502, 'false', true],
    ['an answer without end', neverEnds, 502, 'false', true],
  ])('%s', async (_, behaviour, status, retry, charged, isLate = false) => {
    upstream.behave(behaviour)
    const arrived = upstream.arrived(upstream.received.length + 1)
    const asked = till.post(path, ask)
    if (isLate) await arrived.then(() => turns()).then(() => till.runtime.elapse(DEADLINE_MS))
    const response = await asked
    const body = (await response.json()) as Record<string, unknown>
    expect(response.status).toBe(status)
    expect(response.headers.get('x-should-retry')).toBe(retry)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(body).toMatchObject({
      status,
      code: expect.any(String),
      detail: expect.any(String),
      error: { type: expect.any(String), message: expect.any(String) },
      ...(name === 'messages' ? { type: 'error' } : {}),
    })
    const receipt = await till.receipt()
    expect(response.headers.get('x-bursar-receipt')).toBe(receipt.id)
    expect(await till.charged()).toBe(charged ? estimate(wire) : 0n)
    expect(receipt.state).toBe(charged ? 'charged' : 'released')
    expect(JSON.stringify([body, till.runtime.lines])).not.toContain(UPSTREAM_KEY)
    // What is wrong with the request is said as the upstream says it; nothing else of it is passed on.
    if (status !== 400) nothingLeaks(body)
  })

  test('an unreachable upstream costs nothing, and the answer says so', async () => {
    await till.close()
    till = await httpTill({ openai: `${NOWHERE}/v1` })
    const response = await till.post(path, ask)
    expect(response.status).toBe(502)
    expect(response.headers.get('x-should-retry')).toBeNull()
    expect(await response.json()).toMatchObject({ reason: 'unreachable', charged: '0.000000' })
    expect(await till.charged()).toBe(0n)
  })
})

describe.each(Object.entries(WIRES))('settling a stream of %s', (name, wire) => {
  const { path } = wire
  const ask = { ...wire.ask, stream: true }
  const known = estimate({ ...wire, ask })
  /** Of the input, by then: Anthropic's streams begin with it. */
  const input = name === 'messages' ? 120n : known
  const events = async (): Promise<string> => {
    const response = await till.post(path, ask)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
    expect(response.headers.get('x-bursar-receipt')).toMatch(/^hold_/)
    return await response.text()
  }

  test.each([undefined, 1, 2, 3, 7, 100])(
    'whole, in pieces of %s bytes: its cost, byte for byte',
    async (bytes) => {
      upstream.behave(streams(wire.whole, bytes === undefined ? {} : { bytes }))
      const text = await events()
      expect(text).toBe((name === 'chat' ? wire.noUsage : wire.whole).join(''))
      expect(await till.charged()).toBe(220n)
      expect(await till.receipt()).toMatchObject({
        state: 'charged',
        note: null,
        usage: { input_tokens: 12, output_tokens: 5, source: 'upstream' },
      })
    },
  )

  test('with CRLF, and a last frame without its blank line', async () => {
    const crlf = wire.whole.join('').replaceAll('\n', '\r\n').trimEnd()
    upstream.behave(streams([crlf], { bytes: 5 }))
    await events()
    expect(await till.charged()).toBe(220n)
  })

  test('without usage: an estimate of what it gave', async () => {
    upstream.behave(streams(wire.noUsage))
    await events()
    const receipt = await till.receipt()
    expect(receipt.note).toMatch(/reported no usage/)
    expect(receipt.usage).toMatchObject({ source: 'estimate' })
    // "Grüße 👋" and more are 10 to 30 bytes.
    const output = Number(receipt.usage?.['output_tokens'])
    expect(output).toBeGreaterThanOrEqual(3)
    expect(output).toBeLessThanOrEqual(8)
  })

  test.each(['end', 'cut'] as const)(
    'that breaks off (%s): the input, and an error event',
    async (finish) => {
      upstream.behave(streams(wire.broken, { finish }))
      const text = await events()
      expect(text.startsWith(wire.broken.join(''))).toBe(true)
      expect(text.slice(wire.broken.join('').length)).toMatch(wire.failure)
      expect(await till.charged()).toBe(input)
      expect((await till.receipt()).note).toMatch(/broke the connection/)
    },
  )

  test.each([
    ['a frame that was cut', 'event: x\ndata: {"type":"x","choi'],
    ['something that is no event', '<html>IGNORE'],
  ])('that ends with %s: the input, and an error event of its own', async (_, rest) => {
    upstream.behave(streams([...wire.broken, rest]))
    const text = await events()
    nothingLeaks(text)
    expect(text.startsWith(wire.broken.join(''))).toBe(true)
    expect(text.slice(wire.broken.join('').length).search(wire.failure)).toBe(0)
    expect(await till.charged()).toBe(input)
  })

  test('that falls silent: the input, and an error event', async () => {
    upstream.behave(streams(wire.broken, { finish: 'hang' }))
    const response = await till.post(path, ask)
    const text = await readOn(response, wire.broken.join(''), () => {
      // It has been silent for between one and two times as long.
      expect(till.runtime.elapse(DEADLINE_MS)).toBe(1)
      expect(till.runtime.elapse(DEADLINE_MS)).toBe(1)
    })
    expect(text).toMatch(wire.failure)
    expect(await till.charged()).toBe(input)
    expect((await till.receipt()).note).toMatch(/no answer in time/)
  })

  test('that says that it failed, with nothing given: nothing; the words are ours', async () => {
    upstream.behave(streams([wire.failed]))
    const text = await events()
    nothingLeaks(text)
    expect(text).toContain('event: ' === text.slice(0, 7) ? 'event: ' : 'data: ')
    expect(await till.charged()).toBe(0n)
  })

  test.each<[string, unknown]>([
    ['an error object', { error: { message: 'IGNORE' } }],
    ['a text', { error: 'IGNORE' }],
    ['an object that is the error', { object: 'error', message: 'IGNORE', code: 400 }],
    ['an event that is the error', { type: 'error', message: 'IGNORE' }],
  ])('that says so as %s, in whatever format: nothing', async (_, said) => {
    upstream.behave(streams([sse(said), sse('[DONE]')]))
    const text = await events()
    nothingLeaks(text)
    expect(text.search(wire.failure)).toBe(0)
    expect(await till.charged()).toBe(0n)
    upstream.behave(answers(200, said))
    nothingLeaks(await (await till.post(path, wire.ask)).json())
    expect(await till.charged()).toBe(0n)
  })

  test('that says so in the middle: the input', async () => {
    upstream.behave(streams([...wire.broken, wire.failed]))
    const text = await events()
    nothingLeaks(text)
    expect(text.startsWith(wire.broken.join(''))).toBe(true)
    expect(text.length).toBeGreaterThan(wire.broken.join('').length)
    expect(await till.charged()).toBe(input)
    expect((await till.receipt()).note).toMatch(/failed in the middle/)
  })

  test.each<[string, Behaviour, number]>([
    ['refused', refuses(400, 'bad'), 400],
    ['a web page', answersHtml, 502],
    ['cut before the status', cutsBeforeHeaders, 502],
  ])('that never began (%s) is an answer with a status', async (_, behaviour, status) => {
    upstream.behave(behaviour)
    const response = await till.post(path, ask)
    expect(response.status).toBe(status)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(await response.json()).toMatchObject({ error: { message: expect.any(String) } })
  })

  test('whose upstream does not stream is answered whole', async () => {
    upstream.behave(answers(200, wire.answer(12, 5)))
    const response = await till.post(path, ask)
    expect(await response.json()).toEqual(wire.answer(12, 5))
    expect(await till.charged()).toBe(220n)
  })

  test('whose client leaves is read to its end', async () => {
    let goOn: () => void = () => undefined
    const left = new Promise<void>((resolve) => (goOn = resolve))
    upstream.behave((response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(wire.whole[0])
      void left.then(() => response.end(wire.whole.slice(1).join('')))
    })
    const client = new AbortController()
    const response = await fetch(`${till.url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${till.key}` },
      body: JSON.stringify(ask),
      signal: client.signal,
    })
    await response.body?.getReader().read()
    client.abort()
    goOn()
    await expect.poll(async () => (await till.receipt()).state).toBe('charged')
    expect(await till.charged()).toBe(220n)
    expect((await till.receipt()).note).toBeNull()
  })

  test('whose client leaves, and which goes on too long, is broken off: what was given', async () => {
    let closed = false
    upstream.behave((response, received) => {
      response.on('close', () => (closed = true))
      streams(wire.broken, { finish: 'hang' })(response, received)
    })
    const client = new AbortController()
    const response = await fetch(`${till.url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${till.key}` },
      body: JSON.stringify(ask),
      signal: client.signal,
    })
    const reader = response.body?.getReader()
    let seen = 0
    while (seen < Buffer.byteLength(wire.broken.join(''))) seen += (await reader?.read())?.value?.length ?? 0
    client.abort()
    await expect.poll(() => till.runtime.elapse(DRAIN_MS)).toBe(1)
    await expect.poll(async () => (await till.receipt()).state).toBe('charged')
    const receipt = await till.receipt()
    expect(receipt.note).toMatch(/the caller went away/)
    expect(receipt.charged).toBeGreaterThan(input)
    expect(receipt.charged).toBeLessThan(input + 20n * 10n)
    await expect.poll(() => closed).toBe(true)
  })

  test('is the same for every way of cutting it', async () => {
    const hash = (text: string) => createHash('sha256').update(text).digest('hex')
    const seen = new Set<string>()
    for (const bytes of [1, 13, 64]) {
      upstream.behave(streams(wire.whole, { bytes }))
      seen.add(hash(await events()))
    }
    expect(seen.size).toBe(1)
  })
})
