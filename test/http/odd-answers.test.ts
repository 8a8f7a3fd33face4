/** Answers that are right in what they say and odd in how they say it: clients read them, and so must the meter. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import { ASK, CHAT, CLAUDE, callSuite, MESSAGES, RESPOND, RESPONSES, refusal } from '../support/calls.ts'
import {
  chatFrames,
  message,
  messageFrames,
  responseFrames,
  responseObject,
  sse,
  streams,
} from '../support/streams.ts'
import { httpTill } from '../support/till-http.ts'
import { answersText, type Behaviour, completion } from '../support/upstream.ts'

const calls = callSuite()
/** 12 tokens in, 5 out. */
const COST = 220n
const WIRES = [
  { path: CHAT, ask: ASK, whole: completion(), frames: chatFrames() },
  { path: MESSAGES, ask: CLAUDE, whole: message(), frames: messageFrames() },
  { path: RESPONSES, ask: RESPOND, whole: responseObject(), frames: responseFrames() },
]

function answersAs(type: string | null, text: string): Behaviour {
  return (response) => void response.writeHead(200, type === null ? {} : { 'content-type': type }).end(text)
}

describe.each(WIRES)('$path', ({ path, ask, whole, frames }) => {
  const streamed = { ...ask, stream: true }

  test('an answer after a byte order mark is metered, and passed on as it came', async () => {
    calls.upstream.behave(answersText(`\ufeff${JSON.stringify(whole)}`))
    const response = await calls.till.post(path, ask)
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual(whole)
    expect(await calls.till.charged()).toBe(COST)
  })

  test('so is a stream', async () => {
    // Without the event's name, which is not needed: the first line is the one that counts.
    const text = `\ufeff${frames.join('').replaceAll(/^event: .*\n/gm, '')}`
    calls.upstream.behave(answersAs('text/event-stream', text))
    await (await calls.till.post(path, streamed)).text()
    expect(await calls.till.charged()).toBe(COST)
    expect((await calls.till.receipt()).note).toBeNull()
  })

  test.each([
    ['text/plain', undefined],
    ['application/json', undefined],
    ['application/json', 1],
    ['application/octet-stream', 3],
  ])('a stream that calls itself %s is a stream, in pieces of %s bytes', async (type, bytes) => {
    calls.upstream.behave(streams([': wait\n\n', ...frames], { type, ...(bytes ? { bytes } : {}) }))
    const response = await calls.till.post(path, streamed)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
    expect(response.headers.get('x-bursar-receipt')).toMatch(/^hold_/)
    const text = await response.text()
    expect(text.startsWith(`: wait\n\n${frames[0] ?? ''}`)).toBe(true)
    expect(text).not.toMatch(/"error":\{/)
    expect(await calls.till.charged()).toBe(COST)
  })

  test('a stream that nobody asked for, and text that only looks like one, are no answers', async () => {
    for (const [type, text, body] of [
      ['text/plain', frames.join(''), ask],
      ['text/plain', 'datafile not found', streamed],
      [null, 'i', streamed],
    ] as const) {
      calls.upstream.behave(answersAs(type, text))
      await refusal(await calls.till.post(path, body), 502, 'upstream_error')
    }
    await calls.till.charged()
  })
})

describe('an answer that is nested too deep to be written again', () => {
  const deep = (text: string) => text.replace('"HERE"', '['.repeat(200_000) + ']'.repeat(200_000))
  const cases: [string, object, object][] = [
    [CHAT, ASK, { choices: [{ message: { content: 'Good day.', tool_calls: 'HERE' } }] }],
    [MESSAGES, CLAUDE, { content: [{ type: 'tool_use', input: 'HERE' }] }],
    [RESPONSES, RESPOND, { output: [{ type: 'reasoning', summary: ['HERE'] }] }],
  ]

  test.each(cases)('%s is charged, and leaves no hold', async (path, ask, answer) => {
    calls.upstream.behave(answersText(deep(JSON.stringify(answer))))
    const response = await calls.till.post(path, ask)
    expect(response.status).toBe(200)
    await response.text()
    expect(await calls.till.charged()).toBeGreaterThan(0n)
    expect((await calls.till.receipt()).note).toMatch(/reported no usage/)
  })
})

test('a usage that nobody can believe is hidden like any other from a caller that did not ask', async () => {
  const frames = chatFrames({ usage: { prompt_tokens: '12', completion_tokens: -5 } })
  calls.upstream.behave(streams(frames))
  const text = await (await calls.till.post(CHAT, { ...ASK, stream: true })).text()
  expect(text).toBe(chatFrames({ usage: null }).join(''))
  const asked = { ...ASK, stream: true, stream_options: { include_usage: true } }
  expect(await (await calls.till.post(CHAT, asked)).text()).toBe(frames.join(''))
  expect((await calls.till.receipt()).usage).toMatchObject({ source: 'estimate' })
})

test('a stream of messages that ends with its usage is whole', async () => {
  const usage = { input_tokens: 12, output_tokens: 5 }
  const frames = [...messageFrames({ stop: false }), sse({ type: 'message_stop', usage }, 'message_stop')]
  calls.upstream.behave(streams(frames))
  const text = await (await calls.till.post(MESSAGES, { ...CLAUDE, stream: true })).text()
  expect(text).toBe(frames.join(''))
  expect((await calls.till.receipt()).note).toBeNull()
  expect(await calls.till.charged()).toBe(COST)
})

describe('bytes on the wire', () => {
  const head = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n'
  const whole = JSON.stringify(completion())
  const stream = chatFrames().join('')

  test.each<[string, string, boolean, bigint | null]>([
    [
      'HTTP/1.0, ended by closing',
      `HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n${whole}`,
      false,
      COST,
    ],
    [
      'a stream over HTTP/1.0',
      `HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n${stream}`,
      true,
      COST,
    ],
    [
      'announcements first',
      `HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n${head}\r\n${whole}`,
      false,
      COST,
    ],
    ['a length that is never reached', `${head}Content-Length: 9999\r\n\r\n${whole}`, false, null],
    ['a length that is passed', `${head}Content-Length: 20\r\n\r\n${whole}`, false, null],
    ['a broken chunk', `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n`, false, null],
    ['another protocol', 'HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n', false, null],
    ['no HTTP', 'SSH-2.0-x\r\n\r\n', false, null],
  ])('%s', async (_, answer, streamed, charged) => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      let asked = ''
      socket.on('data', (chunk: Buffer) => {
        asked += chunk.toString('latin1')
        if (asked.endsWith('}')) socket.end(answer)
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const till = await httpTill({ openai: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1` })
    const response = await till.post(CHAT, { ...ASK, stream: streamed })
    if (charged === null) {
      await refusal(response, 502, 'upstream_error')
      expect((await till.receipt()).note).toMatch(/^estimate of the input/)
      await till.charged()
    } else {
      expect(response.status).toBe(200)
      await response.text()
      expect(await till.charged()).toBe(charged)
    }
    await till.close()
    server.close()
  })
})
