import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import { ASK, CHAT, CLAUDE, callSuite, MESSAGES, refusal } from '../support/calls.ts'
import { chatFrames, streams } from '../support/streams.ts'
import { hangs } from '../support/upstream.ts'

const calls = callSuite()

describe('a path where there is nothing', () => {
  test.each([
    ['/chat/completions', /base URL: for OpenAI's clients it ends with \/v1/],
    ['/v1/v1/messages', /for Anthropic's it does not/],
    ['/v1/v1/messages/count_tokens', /base URL/],
    ['/v1/v1/models', /base URL/],
    [`${CHAT}/`, /base URL/],
    ['/v1/completions', /called at \/v1\/chat\/completions, \/v1\/responses/],
    ['/v1/responses/resp_1', /called at/],
    ['/nothing', /The MCP endpoint is \/mcp/],
  ])('%s says what to do', async (path, remedy) => {
    const response = await calls.till.post(path, ASK)
    expect(response.headers.get('x-should-retry')).toBe('false')
    expect((await refusal(response, 404, 'not_found'))['remedy']).toMatch(remedy)
  })

  test('does so in what the clients show of it', async () => {
    const { key, url } = calls.till
    const openai = new OpenAI({ apiKey: key, baseURL: url })
    await expect(openai.chat.completions.create({ ...ASK, messages: [] })).rejects.toThrow(
      /^404 There is nothing at \/chat\/completions\. Correct the client's base URL/,
    )
    const anthropic = new Anthropic({ apiKey: key, baseURL: `${url}/v1` })
    await expect(anthropic.messages.create({ ...CLAUDE, messages: [] })).rejects.toMatchObject({
      error: {
        type: 'error',
        error: { type: 'not_found_error', message: expect.stringContaining('base URL') },
      },
    })
    await calls.nothingHappened()
  })
})

describe('bytes that are no request', () => {
  const body = JSON.stringify(ASK)
  const lines = (...headers: string[]) =>
    [
      `POST ${CHAT} HTTP/1.1`,
      'Host: 127.0.0.1',
      `Authorization: Bearer ${calls.till.key}`,
      ...headers,
      '',
      '',
    ].join('\r\n')
  const chunked = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
  const opened = async (): Promise<Socket> => {
    const socket = connect(calls.till.server.port, '127.0.0.1')
    await once(socket, 'connect')
    return socket
  }
  /** All that comes until the other side closes. */
  const rest = async (socket: Socket): Promise<string> => {
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
    // It may close with what it has not read, which resets the connection: that is an end, too.
    socket.on('error', () => undefined)
    await new Promise((resolve) => socket.once('close', resolve))
    return text
  }

  test.each<[string, string[], number]>([
    ['two ways to say the length', [`Content-Length: ${body.length}`, 'Transfer-Encoding: chunked'], 400],
    ['two lengths', [`Content-Length: ${body.length}`, 'Content-Length: 3'], 400],
    ['an encoding that is none', ['Transfer-Encoding: xchunked'], 400],
    ['a header without a name', [': x'], 400],
    ['headers without end', [`X-Long: ${'x'.repeat(20_000)}`], 413],
  ])('%s: refused in the form of either format, and nothing is smuggled', async (_, headers, status) => {
    const socket = await opened()
    socket.write(lines(...headers) + chunked + lines('Content-Length: 0'))
    const [head = '', answer = ''] = (await rest(socket)).split('\r\n\r\n')
    expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    expect(head).toMatch(/^connection: close$/im)
    expect(JSON.parse(answer)).toMatchObject({
      code: status === 400 ? 'invalid_request' : 'payload_too_large',
      status,
      type: 'error',
      error: { type: 'invalid_request_error', message: expect.any(String), code: expect.any(String) },
    })
    await calls.nothingHappened()
  })

  test('behind a request whose answer has begun do not spoil that answer', async () => {
    let end = (): void => undefined
    calls.upstream.behave((response, received) => {
      end = () => void response.end()
      streams(chatFrames({ done: false, finish: false }), { finish: 'hang' })(response, received)
    })
    const asked = JSON.stringify({ ...ASK, stream: true })
    const socket = await opened()
    socket.write(lines(`Content-Length: ${asked.length}`) + asked)
    await once(socket, 'readable')
    socket.write('NONSENSE\r\n\r\n')
    const answer = await rest(socket)
    end()
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK/)
    expect(answer).not.toMatch(/400 Bad Request|no valid HTTP/)
  })

  test('a client that leaves in the middle of its body is no error of ours', async () => {
    calls.upstream.behave(hangs)
    const socket = await opened()
    socket.write(`${lines('Content-Length: 1000').replace(CHAT, MESSAGES)}{"model":`)
    socket.resetAndDestroy()
    await calls.till.server.close()
    expect(calls.till.runtime.lines.filter(({ level }) => level === 'error')).toEqual([])
    await calls.nothingHappened()
  })
})
