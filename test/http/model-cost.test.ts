import type { ServerResponse } from 'node:http'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { chatFrames } from '../support/streams.ts'
import { type HttpTill, httpTill } from '../support/till-http.ts'
import { completes, type ScriptedUpstream, startScriptedUpstream } from '../support/upstream.ts'

const ROUTE = '/v1/chat/completions'
const ask = { model: 'gpt', messages: [{ role: 'user', content: 'Good day?' }] }

let upstream: ScriptedUpstream
let till: HttpTill
beforeAll(async () => {
  upstream = await startScriptedUpstream()
  till = await httpTill({ openai: upstream.baseUrl })
})
afterAll(async () => {
  await till.close()
  await upstream.stop()
})

test.each([false, true])('a call costs two commits and no read (stream: %s)', async (stream) => {
  upstream.behave(
    stream
      ? (response) =>
          void response.writeHead(200, { 'content-type': 'text/event-stream' }).end(chatFrames().join(''))
      : completes(),
  )
  // The key is looked up now, and remembered.
  await (await till.post(ROUTE, { ...ask, stream })).text()
  const [query, commit] = [vi.spyOn(till.db, 'query'), vi.spyOn(till.db, 'commit')]
  try {
    const response = await till.post(ROUTE, { ...ask, stream })
    expect(response.status).toBe(200)
    await response.text()
    expect(commit).toHaveBeenCalledTimes(2)
    expect(query).not.toHaveBeenCalled()
  } finally {
    query.mockRestore()
    commit.mockRestore()
  }
  expect(await till.charged()).toBeGreaterThan(0n)
})

test('a stream begins when the upstream begins it, before its first event', async () => {
  const { promise: begun, resolve } = Promise.withResolvers<ServerResponse>()
  upstream.behave((response) => {
    response
      .writeHead(200, { 'content-type': 'text/event-stream', 'x-request-id': 'req-early' })
      .flushHeaders()
    resolve(response)
  })
  // Resolves with the head.
  const response = await till.post(ROUTE, { ...ask, stream: true })
  expect(response.headers.get('x-request-id')).toBe('req-early')
  ;(await begun).end(chatFrames().join(''))
  expect(await response.text()).toContain('[DONE]')
})
