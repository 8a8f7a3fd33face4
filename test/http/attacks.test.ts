/** What a hostile buyer does with a key of its own, and what becomes of it. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { beforeEach, describe, expect, test } from 'vitest'
import { listKeys, revokeKey } from '../../src/ledger/keys.ts'
import { readEvents } from '../../src/sdk/events.ts'
import { ASK, CHAT, callSuite, refusal } from '../support/calls.ts'
import { UPSTREAM_KEY } from '../support/models.ts'
import { answers } from '../support/upstream.ts'

const calls = callSuite()

async function buyersKeyId(): Promise<string> {
  const [key] = await listKeys(calls.till.ledger, { account: calls.till.buyer })
  return key?.id ?? ''
}

describe('a key that is revoked', () => {
  let invoice: string
  let events: AsyncIterator<{ event: string; data: string }>

  beforeEach(async () => {
    const made = await calls.till.post('/v1/invoices', { rail: 'ethereum:ETH', pack: 'small' })
    invoice = String(((await made.json()) as Record<string, unknown>)['id'])
    const stream = await fetch(`${calls.till.url}/v1/invoices/${invoice}/events`, {
      headers: { 'x-api-key': calls.till.key },
    })
    if (!stream.body) throw new Error('expected a stream')
    events = readEvents(stream.body, () => undefined)[Symbol.asyncIterator]()
    expect((await events.next()).value).toMatchObject({ event: 'invoice' })
  })

  test.each<[string, (key: string) => Promise<unknown>]>([
    [
      'here',
      async (id) =>
        fetch(`${calls.till.url}/v1/keys/${id}`, {
          method: 'DELETE',
          headers: { 'x-api-key': await calls.till.sellerKey() },
        }),
    ],
    [
      'in another process',
      async (id) => {
        await revokeKey(calls.till.ledger, { id })
        calls.till.clock.advance(1_000)
      },
    ],
  ])('%s is told nothing more by a stream that it opened before', async (_, revoke) => {
    await revoke(await buyersKeyId())
    calls.till.memory.pay(invoice)
    expect((await events.next()).value).toEqual({ event: 'end', data: '{"timed_out":true}' })
    expect((await events.next()).done).toBe(true)
    const again = await fetch(`${calls.till.url}/v1/invoices/${invoice}/events`, {
      headers: { 'x-api-key': calls.till.key },
    })
    expect(again.status).toBe(401)
  })

  test('ends no stream of one that is in force', async () => {
    calls.till.memory.pay(invoice)
    const states: unknown[] = []
    for (;;) {
      const { value, done } = await events.next()
      if (done) break
      const data = JSON.parse(value.data) as Record<string, unknown>
      states.push(data['state'] ?? data)
    }
    expect(states).toEqual(['processing', 'processing', 'paid', { timed_out: false }])
  })
})

describe('a request that arrives slowly', () => {
  test.each<[string, object]>([
    [CHAT, ASK],
    ['/v1/calls', { model: 'echo', messages: [{ role: 'user', content: 'Good day?' }] }],
    ['/v1/holds', { amount: '0.1' }],
    ['/mcp', { jsonrpc: '2.0', id: 1, method: 'tools/list' }],
  ])('at %s is refused when its key was revoked meanwhile', async (path, request) => {
    const { key, url, server } = calls.till
    await fetch(`${url}/v1/balance`, { headers: { 'x-api-key': key } })
    const body = JSON.stringify(request)
    const socket = connect(server.port, '127.0.0.1')
    let heard = ''
    socket.on('data', (data: Buffer) => {
      heard += data.toString()
    })
    const head = [
      `POST ${path} HTTP/1.1`,
      'host: localhost',
      `x-api-key: ${key}`,
      'content-type: application/json',
      'accept: application/json, text/event-stream',
      `content-length: ${body.length}`,
      'connection: close',
      'expect: 100-continue',
    ]
    socket.write(`${head.join('\r\n')}\r\n\r\n`)
    await expect.poll(() => heard).toMatch(/^HTTP\/1\.1 100 /)
    socket.write(body.slice(0, 5))
    const revoked = await fetch(`${url}/v1/keys/${await buyersKeyId()}`, {
      method: 'DELETE',
      headers: { 'x-api-key': await calls.till.sellerKey() },
    })
    expect(revoked.status).toBe(200)
    calls.till.clock.advance(1_000)
    const closed = once(socket, 'close')
    socket.write(body.slice(5))
    await closed
    expect(heard).toMatch(/HTTP\/1\.1 401 [^]*unauthorized/)
    await calls.nothingHappened()
  })
})

describe('a request', () => {
  test('of MCP is one message: a batch would count as one against the limit of its key', async () => {
    const list = { jsonrpc: '2.0', id: 1, method: 'tools/list' }
    const accept = { accept: 'application/json, text/event-stream' }
    expect((await calls.till.post('/mcp', list, accept)).status).toBe(200)
    for (const body of [JSON.stringify([list, list]), ` \n[${JSON.stringify(list)}]`]) {
      const refused = await calls.till.post('/mcp', body, accept)
      expect(refused.status).toBe(400)
      expect(await refused.json()).toMatchObject({ jsonrpc: '2.0', error: { code: -32600 } })
    }
  })

  test.each<[string, string]>([
    [
      'a tool that is two things',
      '"tools":[{"type":"web_search","type":"function","function":{"name":"f"}}]',
    ],
    [
      'options that say two things',
      '"stream":true,"stream_options":{"include_usage":true,"include_usage":false}',
    ],
    ['a name in other letters', '"tools":[{"type":"web_search","ty\\u0070e":"function"}]'],
    ['a million empty objects', `"metadata":[${'{},'.repeat(1_000_000)}{}]`],
    ['a million brackets', `"metadata":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`],
  ])('with %s is refused before anything is held', async (_, member) => {
    const body = `${JSON.stringify(ASK).slice(0, -1)},${member}}`
    await refusal(await calls.till.post(CHAT, body), 400, 'invalid_request')
    await calls.nothingHappened()
  })

  test.each<[string, string, RegExp]>([
    ['a text', `"${'a'.repeat(1_000_000)}"`, /expected object, received string/],
    ['a list', `[${'1,'.repeat(40_000)}1]`, /expected object, received array/],
    ['as many names', `{${'"a":1,'.repeat(60_000)}"b":1}`, /more than 50000 values/],
  ])('in the place of a call, with %s, is refused as it is', async (_, body, detail) => {
    for (const headers of [{ 'idempotency-key': 'one' }, { 'x-bursar-fit': '5' }]) {
      const refused = await calls.till.post('/v1/calls', body, headers)
      expect(refused.status).toBe(400)
      expect(await refused.json()).toMatchObject({
        code: 'invalid_request',
        detail: expect.stringMatching(detail),
      })
    }
    const message = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${'['.repeat(60_000)}${']'.repeat(60_000)}}`
    expect((await calls.till.post('/mcp', message)).status).toBe(400)
  })
})

describe('claims of payments', () => {
  test('that nobody made are limited: each asks an endpoint that the seller pays for', async () => {
    const made = await calls.till.post('/v1/invoices', { rail: 'ethereum:ETH', pack: 'small' })
    const { id } = (await made.json()) as { id: string }
    const claim = async (n: number, headers = {}) =>
      (
        await calls.till.post(
          `/v1/invoices/${id}/claim`,
          { txid: `0x${String(n).padStart(64, '0')}` },
          headers,
        )
      ).status
    for (let n = 0; n < 20; n++) expect(await claim(n)).toBe(404)
    expect(await claim(20)).toBe(429)
    const seller = { authorization: `Bearer ${await calls.till.sellerKey()}` }
    expect(await claim(20, seller)).toBe(404)
    calls.till.clock.advance(3_000)
    expect(await claim(20)).toBe(404)
    expect(await claim(21)).toBe(429)
  })
})

describe("the seller's key at an upstream", () => {
  test('is told in no part, wherever a long answer is cut', async () => {
    const cuts = [1_984, 1_990, 1_996]
    for (const before of cuts) {
      const message = `${'x'.repeat(before - 1)} ${UPSTREAM_KEY} is not a key that may do this.`
      calls.upstream.behave(answers(400, { error: { message } }))
      const body = await refusal(await calls.till.post(CHAT, ASK), 400, 'invalid_request')
      expect(JSON.stringify(body)).not.toContain(UPSTREAM_KEY.slice(0, 4))
    }
  })
})

describe("the hash of another's key", () => {
  test('tells nothing of an account that the seller has named', async () => {
    await calls.restart({ signup: { open: true, perHourPerAddress: 10, perHour: 10 } })
    const print = { key_hash: 'ab'.repeat(32), key_prefix: 'bk_aaaaaaaa' }
    const open = (body: object, headers = {}) =>
      fetch(`${calls.till.url}/v1/accounts`, { method: 'POST', headers, body: JSON.stringify(body) })
    const named = await open(
      { external_id: 'alice@example.com', ...print },
      { 'x-api-key': await calls.till.sellerKey() },
    )
    expect(named.status).toBe(201)
    const stranger = await open(print)
    expect(stranger.status).toBe(409)
    expect(await stranger.text()).not.toContain('alice')
  })
})
