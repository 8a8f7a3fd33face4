import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BursarError } from '../../src/errors.ts'
import type { ReadinessCheck } from '../../src/http/health.ts'
import { type HttpServer, startHttp } from '../../src/http/server.ts'
import type { Principal } from '../../src/ledger/keys.ts'
import type { Runtime } from '../../src/runtime.ts'
import { seededRuntime } from '../support/chance.ts'
import { connect, GENERATIONS } from '../support/mcp-clients.ts'
import { mcpSuite } from '../support/mcp-suite.ts'
import { type MemoryTill, memoryTill } from '../support/memory-bursar.ts'
import { testRuntime } from '../support/runtime.ts'

const KEYS: Record<string, Principal> = {
  'bk_of-account-1': { scope: 'account', key: 'key_1', account: 'acc_1' },
  'bk_of-agent-2': { scope: 'agent', key: 'key_2', account: 'acc_2', agent: 'agt_2' },
  'bk_of-the-seller': { scope: 'seller', key: 'key_3' },
}

async function serve(
  till: MemoryTill,
  checks: readonly ReadinessCheck[] = [],
  runtime: Runtime = seededRuntime(),
): Promise<HttpServer> {
  return startHttp({
    runtime,
    version: '0.0.0-test',
    host: '127.0.0.1',
    port: 0,
    allowedHosts: ['till.example'],
    checks,
    async authenticate(key) {
      const principal = KEYS[key]
      if (principal) return principal
      throw new BursarError('unauthorized', 'This API key is not known, or was revoked.', {
        remedy: 'Use another.',
      })
    },
    bursarFor: ({ account }) => till.forAccount(account),
  })
}

const bearer = { authorization: 'Bearer bk_of-account-1' }

// story/clients.test.ts has all clients ask the program itself.
mcpSuite('MCP over HTTP', { purse: false, generations: ['2026-07-28'] }, async () => {
  const till = memoryTill()
  const server = await serve(till)
  return {
    endpoint: { kind: 'http', url: `${server.url}/mcp`, headers: bearer },
    pay: async (invoice) => till.pay(String(invoice['id'])),
    rail: 'ethereum:ETH',
    pack: 'small',
    model: 'echo',
    close: () => server.close(),
  }
})

describe('HTTP server', () => {
  let till: MemoryTill
  let server: HttpServer
  let broken = false

  beforeAll(async () => {
    till = memoryTill()
    server = await serve(till, [
      { name: 'database', check: async () => {} },
      {
        name: 'chain ethereum',
        check: async () => {
          if (broken) throw new Error('connect ECONNREFUSED 10.0.0.7:8545')
        },
      },
    ])
  })

  afterAll(() => server.close())

  /** A request as raw bytes: fetch does not let a caller choose Host. */
  async function raw(lines: readonly string[], body = ''): Promise<string> {
    const socket = connectSocket(server.port, '127.0.0.1')
    socket.end(
      `${[...lines, 'Connection: close', `Content-Length: ${body.length}`].join('\r\n')}\r\n\r\n${body}`,
    )
    let answer = ''
    socket.on('data', (chunk) => (answer += String(chunk)))
    // What it has not read when it closes resets the connection: that is an end, too.
    socket.on('error', () => undefined)
    await new Promise((resolve) => socket.once('close', resolve))
    return answer
  }

  async function problem(response: Response, status: number, code: string): Promise<Record<string, unknown>> {
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    const body = (await response.json()) as Record<string, unknown>
    expect(body).toMatchObject({ code, status, title: expect.any(String), detail: expect.any(String) })
    expect(body['remedy']).toEqual(expect.any(String))
    expect(response.status).toBe(status)
    return body
  }

  const ping = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' })
  const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
  const post = (headers: Record<string, string>, body = ping): Promise<Response> =>
    fetch(`${server.url}/mcp`, { method: 'POST', headers: { ...json, ...headers }, body })

  test.each([
    ['evil.example', 403],
    ['evil.example:80', 403],
    ['127.0.0.1.evil.example', 403],
    ['169.254.169.254', 403],
    ['', 400],
    ['not a host', 400],
    ['127.0.0.1', 200],
    ['LOCALHOST:8402', 200],
    ['[::1]:1', 200],
    ['till.example', 200],
  ])('answers to the Host %j with %i', async (host, status) => {
    const answer = await raw(
      [
        'POST /mcp HTTP/1.1',
        `Host: ${host}`,
        `Authorization: ${bearer.authorization}`,
        'Content-Type: application/json',
        'Accept: application/json, text/event-stream',
      ],
      ping,
    )
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    if (status === 403) expect(answer).toContain('"code":"forbidden"')
    if (status === 400) expect(answer).toContain('"code":"invalid_request"')
  })

  test.each([
    ['https://evil.example', 403],
    ['http://127.0.0.1.evil.example', 403],
    ['null', 403],
    ['file://', 403],
    ['chrome-extension://abcdef', 403],
    ['http://localhost:3000', 200],
    ['https://till.example', 200],
  ])('answers to the Origin %j with %i', async (origin, status) => {
    const response = await post({ ...bearer, origin })
    if (status === 403) await problem(response, 403, 'forbidden')
    else expect(response.status).toBe(200)
    // No page of another origin ever gets to read an answer.
    expect(response.headers.get('access-control-allow-origin')).toBeNull()
  })

  test('asks for a key, and does not say which keys exist', async () => {
    const missing = await post({})
    expect(missing.headers.get('www-authenticate')).toBe('Bearer realm="bursar"')
    await problem(missing, 401, 'unauthorized')
    for (const headers of [
      { authorization: 'Bearer bk_unknown' },
      { 'x-api-key': 'bk_unknown' },
      { authorization: 'Bearer bk_unknown', 'x-api-key': 'bk_of-account-1' },
    ]) {
      const response = await post(headers)
      expect(response.headers.get('www-authenticate')).toBe('Bearer realm="bursar", error="invalid_token"')
      const body = await problem(response, 401, 'unauthorized')
      expect(JSON.stringify(body)).not.toContain('bk_unknown')
    }
    const basic = await post({ authorization: 'Basic YmtfMQ==' })
    await problem(basic, 401, 'unauthorized')
  })

  test('takes a key as bearer token or as x-api-key', async () => {
    expect((await post({ authorization: 'bearer bk_of-account-1' })).status).toBe(200)
    expect((await post({ 'x-api-key': 'bk_of-agent-2' })).status).toBe(200)
    await problem(await post({ 'x-api-key': 'bk_of-the-seller' }), 403, 'forbidden')
  })

  test('shows an account nothing of another', async () => {
    const sessions = await Promise.all(
      ['bk_of-account-1', 'bk_of-agent-2'].map((key) =>
        connect('2026-07-28', {
          kind: 'http',
          url: `${server.url}/mcp`,
          headers: { 'x-api-key': key },
        }),
      ),
    )
    const [one, two] = sessions
    const created = await one?.call('create_invoice', { rail: 'ethereum:ETH', pack: 'small' })
    const invoice = created?.data['id']
    expect((await one?.call('get_invoice', { invoice }))?.data['id']).toBe(invoice)
    for (const tool of ['get_invoice', 'await_payment']) {
      expect((await two?.call(tool, { invoice }))?.data['code']).toBe('not_found')
    }
    expect((await two?.call('get_balance'))?.data['account']).toBe('acc_2')
    await Promise.all(sessions.map((session) => session.close()))
  })

  test.each(['GET', 'DELETE', 'PUT', 'OPTIONS'])('answers %s /mcp with 405', async (method) => {
    const response = await fetch(`${server.url}/mcp`, { method, headers: bearer })
    expect(response.headers.get('allow')).toBe('POST')
    await problem(response, 405, 'method_not_allowed')
  })

  test('answers unknown paths, bad JSON and large bodies without running anything', async () => {
    await problem(await fetch(`${server.url}/nothing-here`), 404, 'not_found')
    await problem(await fetch(`${server.url}/healthz`, { method: 'POST' }), 405, 'method_not_allowed')
    const large = await post(bearer, ' '.repeat(4 * 1024 * 1024 + 1))
    await problem(large, 413, 'payload_too_large')
    for (const body of ['{"jsonrpc":', '', '[]', '42', '{"jsonrpc":"2.0","id":1}']) {
      const response = await post(bearer, body)
      expect(response.status).toBe(400)
      expect(await response.json()).toMatchObject({ jsonrpc: '2.0', error: { code: expect.any(Number) } })
    }
    const form = await post({ ...bearer, 'content-type': 'application/x-www-form-urlencoded' })
    expect(form.status).toBe(415)
  })

  test('bounds a body of undeclared length too', async () => {
    const chunk = new Uint8Array(1024 * 1024).fill(32)
    // Many times what the buffers of any system take before the refusal is heard.
    const most = 1024
    let sent = 0
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (sent++ < most) controller.enqueue(chunk)
        else controller.close()
      },
    })
    const init = { method: 'POST', headers: { ...json, ...bearer }, body, duplex: 'half' as const }
    // Refused while it is still being sent: the sender sees the refusal, or the end of the connection.
    const status = await fetch(`${server.url}/mcp`, init).then(
      (response) => response.status,
      () => 413,
    )
    expect(status).toBe(413)
    expect(sent).toBeLessThan(most)
    expect((await post(bearer)).status).toBe(200)
  })

  test('says that it lives, and whether it is ready, without details', async () => {
    expect(await (await fetch(`${server.url}/healthz`)).json()).toEqual({ status: 'ok' })
    const ready = await fetch(`${server.url}/readyz`)
    expect(ready.status).toBe(200)
    expect(await ready.json()).toEqual({ status: 'ok', checks: ['database', 'chain ethereum'] })
    broken = true
    const body = await problem(await fetch(`${server.url}/readyz`), 503, 'chain_unavailable')
    broken = false
    expect(body['failing']).toEqual(['chain ethereum'])
    expect(JSON.stringify(body)).not.toContain('10.0.0.7')
  })

  test('gives up on a readiness check that hangs', async () => {
    const runtime = testRuntime()
    const checks = [{ name: 'database', check: () => new Promise<void>(() => {}) }]
    const hanging = await serve(till, checks, runtime)
    try {
      const asked = fetch(`${hanging.url}/readyz`)
      await expect.poll(() => runtime.elapse(2_000)).toBe(1)
      await problem(await asked, 503, 'database_unavailable')
    } finally {
      await hanging.close()
    }
  })

  test.each(GENERATIONS)('ends a wait when the client disconnects: %s', async (generation) => {
    const session = await connect(generation, { kind: 'http', url: `${server.url}/mcp`, headers: bearer })
    const created = await session.call('create_invoice', { rail: 'ethereum:ETH', pack: 'small' })
    const invoice = String(created.data['id'])
    const { promise: waiting, resolve } = Promise.withResolvers<void>()
    const lost = session.call('await_payment', { invoice, timeout_s: 55 }, { onProgress: () => resolve() })
    lost.catch(() => {})
    await waiting
    await session.close()
    await expect(lost).rejects.toThrow()
    await expect.poll(() => till.cancelled).toContain(invoice)
  })

  test('stops after the running calls, and takes no new ones', async () => {
    const ending = await serve(till)
    const url = `${ending.url}/mcp`
    const session = await connect('2026-07-28', { kind: 'http', url, headers: bearer })
    const created = await session.call('create_invoice', { rail: 'ethereum:ETH', pack: 'small' })
    const invoice = String(created.data['id'])
    const { promise: waiting, resolve } = Promise.withResolvers<void>()
    const call = session.call('await_payment', { invoice }, { onProgress: () => resolve() })
    await waiting
    const closed = ending.close()
    till.pay(invoice)
    expect((await call).data).toMatchObject({ timed_out: false, invoice: { state: 'paid' } })
    await closed
    await expect(fetch(`${ending.url}/healthz`)).rejects.toThrow()
  })

  test('gives up on a client that takes nothing of its answers', async () => {
    const runtime = testRuntime()
    const impatient = await serve(till, [], runtime)
    try {
      const socket = connectSocket(impatient.port, '127.0.0.1')
      const broken = once(socket, 'error')
      await once(socket, 'connect')
      // Nothing is read: what the kernel has no room for stays in the server.
      socket.write('GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(1_000))
      await expect.poll(() => runtime.elapse(300_000)).toBe(1)
      const knock = setInterval(() => socket.write('\r\n'), 50)
      try {
        expect((await broken)[0]).toMatchObject({ code: expect.stringMatching(/^(EPIPE|ECONNRESET)$/) })
      } finally {
        clearInterval(knock)
      }
    } finally {
      await impatient.close()
    }
  })

  test('keeps an idle connection for longer than those before it do', async () => {
    const { headers } = await fetch(`${server.url}/healthz`)
    const [, seconds] = /timeout=(\d+)/.exec(headers.get('keep-alive') ?? '') ?? []
    // Of nginx and of AWS's balancers.
    expect(Number(seconds)).toBeGreaterThan(60)
  })

  test('says which port is taken', async () => {
    const taken = startHttp({
      runtime: seededRuntime(),
      version: '0',
      host: '127.0.0.1',
      port: server.port,
      allowedHosts: [],
      checks: [],
      authenticate: async () => KEYS['bk_of-the-seller'] as Principal,
      bursarFor: ({ account }) => till.forAccount(account),
    })
    await expect(taken).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining(`${server.port}`),
    })
  })
})
