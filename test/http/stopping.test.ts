/** Streams that outlast the patience of a till that is told to stop: their readers are told so, and each is settled. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DRAIN_MS } from '../support/models.ts'
import { chatFrames, messageFrames, responseFrames, streams } from '../support/streams.ts'
import { type HttpTill, httpTill } from '../support/till-http.ts'
import { type ScriptedUpstream, startScriptedUpstream } from '../support/upstream.ts'

const messages = [{ role: 'user', content: 'Good day?' }]
const WIRES = [
  {
    path: '/v1/chat/completions',
    ask: { model: 'gpt', messages, stream_options: { include_usage: true } },
    whole: chatFrames(),
    part: chatFrames({ usage: null, done: false, finish: false }),
    failure: /^data: \{"error":\{"message":"The till was stopped/m,
  },
  {
    path: '/v1/messages',
    ask: { model: 'claude', max_tokens: 100, messages },
    whole: messageFrames(),
    part: messageFrames({ delta: null, stop: false }),
    failure: /^event: error\ndata: \{"type":"error","error":\{"type":"\w+","message":"The till was stopped/m,
  },
  {
    path: '/v1/responses',
    ask: { model: 'gpt', input: 'Good day?' },
    whole: responseFrames(),
    part: responseFrames({ last: null }),
    failure: /^event: response\.failed\ndata: .*The till was stopped/m,
  },
] as const

/** How long a till that is stopped waits for its requests. */
const GRACE_MS = 10_000

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

/** The till is told to stop, and its patience is at its end at once. */
function stopImpatiently(): Promise<void> {
  const closed = till.server.close()
  expect(till.runtime.elapse(GRACE_MS)).toBe(1)
  return closed
}

/** All of an answer. `then` comes when as much as `part` has arrived. */
async function read(response: Response, part: string, then: () => Promise<unknown>): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let told: Promise<unknown> | undefined
  for await (const piece of response.body ?? []) {
    text += decoder.decode(piece, { stream: true })
    if (text.length >= part.length) told ??= then()
  }
  await told
  return text
}

describe.each(WIRES)('a stream of $path', ({ path, ask, whole, part, failure }) => {
  const given = part.join('')

  test('that goes on: what was given, an error event, and the charge of a fault', async () => {
    upstream.behave(streams(part, { finish: 'hang' }))
    const text = await read(await till.post(path, { ...ask, stream: true }), given, () =>
      Promise.all([stopImpatiently(), expect.poll(() => till.runtime.elapse(DRAIN_MS)).toBe(1)]),
    )
    expect(text.startsWith(given)).toBe(true)
    expect(text.slice(given.length)).toMatch(failure)
    const { state, note, charged, held } = await till.receipt()
    expect([state, note]).toEqual(['charged', expect.stringContaining('the till was stopped')])
    expect(charged).toBeGreaterThan(0n)
    expect(charged).toBeLessThan(held)
    expect(await till.charged()).toBe(charged)
  })

  test('that ends soon is whole, and charged as any', async () => {
    const { promise: told, resolve: goOn } = Promise.withResolvers<void>()
    const [first = '', ...rest] = whole
    upstream.behave((response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(first)
      void told.then(() => response.end(rest.join('')))
    })
    const text = await read(await till.post(path, { ...ask, stream: true }), first, () => {
      const closed = stopImpatiently()
      goOn()
      return closed
    })
    expect(text).toBe(whole.join(''))
    expect((await till.receipt()).note).toBeNull()
  })
})
