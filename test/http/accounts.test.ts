/** Accounts, agents and keys over a real server: who may what, what is shown, and what is over at once. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { accountOperations } from '../../src/http/account-operations.ts'
import { type AccountService } from '../../src/http/account-routes.ts'
import { limitedKeys, rateLimiter } from '../../src/http/rate-limit.ts'
import { type HttpServer, startHttp } from '../../src/http/server.ts'
import { createKey, generateKey, keyring } from '../../src/ledger/keys.ts'
import { type TestLedger, testLedger } from '../support/database.ts'
import { memoryTill } from '../support/memory-bursar.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

let t: TestLedger
let server: HttpServer
let seller: string

beforeEach(async () => {
  t = await testLedger()
  await open()
  seller = (await createKey(t.ledger, { scope: 'seller', name: 'desk' })).key
})
afterEach(async () => {
  await server.close()
  await t.close()
})

async function open({
  signup = { open: true, perHourPerAddress: 3, perHour: 5 },
  proxies = 0,
  perMinute = 1_000_000,
}: Partial<Pick<AccountService, 'signup' | 'proxies'>> & {
  readonly perMinute?: number
} = {}): Promise<void> {
  const keys = keyring(t.ledger)
  const memory = memoryTill()
  const limiter = (count: number) => rateLimiter(() => t.clock.now(), { count, perMs: MINUTE, burst: count })
  server = await startHttp({
    runtime: t.runtime,
    version: '0.0.0-test',
    host: '127.0.0.1',
    port: 0,
    allowedHosts: [],
    checks: [],
    authenticate: limitedKeys((key) => keys.authenticate(key), limiter(perMinute), limiter(perMinute * 2)),
    bursarFor: ({ account }) => memory.forAccount(account),
    accounts: { ledger: t.ledger, keys, signup, proxies },
  })
}

async function reopen(options: Parameters<typeof open>[0]): Promise<void> {
  await server.close()
  await open(options)
}

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}

async function ask(
  method: string,
  path: string,
  { key = '', body, headers = {} }: { key?: string; body?: unknown; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const response = await fetch(`${server.url}/v1${path}`, {
    method,
    headers: { ...(key === '' ? {} : { authorization: `Bearer ${key}` }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const answer = (await response.json()) as Record<string, unknown>
  return { status: response.status, headers: response.headers, body: answer }
}

const asSeller = (method: string, path: string, body?: unknown): Promise<Answer> =>
  ask(method, path, { key: seller, body })

async function accountWithKey(name: string): Promise<{ id: string; key: string }> {
  const { body } = await asSeller('POST', '/accounts', { external_id: name })
  const made = await asSeller('POST', '/keys', { account: body['id'] })
  return { id: String(body['id']), key: String(made.body['key']) }
}

const ownKey = () => {
  const { key, hash, prefix } = generateKey(t.runtime.random)
  return { key, print: { key_hash: hash, key_prefix: prefix } }
}

describe('accounts', () => {
  test('are opened by the seller, once for each name', async () => {
    const first = await asSeller('POST', '/accounts', { external_id: 'alice' })
    expect([first.status, first.body]).toEqual([
      201,
      {
        id: expect.stringMatching(/^acc_/),
        external_id: 'alice',
        frozen: false,
        created_at: '2026-11-01T00:00:00.000Z',
        available: '0.000000',
        held: '0.000000',
        key: null,
      },
    ])
    expect((await asSeller('POST', '/accounts', { external_id: 'alice' })).body).toEqual(first.body)
    const other = await asSeller('POST', '/accounts', {})
    expect(other.body['id']).not.toBe(first.body['id'])
    const { key: _, ...view } = first.body
    expect((await asSeller('GET', `/accounts/${String(view['id'])}`)).body).toEqual(view)
  })

  test("with the hash of a client's key, which then opens that account and no other", async () => {
    const { key, print } = ownKey()
    const opened = await asSeller('POST', '/accounts', { external_id: 'alice', ...print })
    expect(opened.body['key']).toMatchObject({ prefix: print.key_prefix, scope: 'account' })
    expect((await ask('GET', `/accounts/${String(opened.body['id'])}`, { key })).status).toBe(200)
    const again = await asSeller('POST', '/accounts', { external_id: 'alice', ...print })
    expect(again.body).toEqual(opened.body)
    const taken = await asSeller('POST', '/accounts', { external_id: 'bob', ...print })
    expect([taken.status, taken.body['code']]).toEqual([409, 'conflict'])
  })

  test('are frozen by the seller alone', async () => {
    const { id, key } = await accountWithKey('alice')
    expect((await ask('PATCH', `/accounts/${id}`, { key, body: { frozen: true } })).status).toBe(403)
    expect((await asSeller('PATCH', `/accounts/${id}`, { frozen: true })).body).toMatchObject({
      frozen: true,
    })
    expect((await asSeller('PATCH', `/accounts/${id}`, { frozen: false })).body).toMatchObject({
      frozen: false,
    })
    expect((await asSeller('PATCH', '/accounts/acc_none', { frozen: true })).status).toBe(404)
  })
})

describe('open sign-up', () => {
  const join = (print: object, headers = {}) => ask('POST', '/accounts', { body: print, headers })

  test('opens an account for a key that the till never sees; a repeat is the same account', async () => {
    const { key, print } = ownKey()
    const joined = await join(print)
    expect([joined.status, joined.body]).toEqual([
      201,
      expect.objectContaining({ external_id: null, available: '0.000000' }),
    ])
    expect((await join(print)).body).toEqual(joined.body)
    expect(await ask('GET', `/accounts/${String(joined.body['id'])}`, { key })).toMatchObject({ status: 200 })
    const keys = await t.db.query<{ hash: string }>('SELECT * FROM api_key')
    expect(
      JSON.stringify(keys, (_, value) => (typeof value === 'bigint' ? String(value) : value)),
    ).not.toContain(key.slice(11))
    await asSeller('DELETE', `/keys/${String(Object(joined.body['key'])['id'])}`)
    expect((await join(print)).body['code']).toBe('conflict')
    expect(await t.db.query('SELECT id FROM account')).toHaveLength(1)
  })

  test('takes a key twice at once for one account', async () => {
    const { print } = ownKey()
    const [one, two] = await Promise.all([join(print), join(print)])
    expect(one.body['id']).toBe(two.body['id'])
    expect(await t.db.query('SELECT id FROM account')).toHaveLength(1)
  })

  test('is limited by address, and in all', async () => {
    for (let n = 0; n < 3; n++) expect((await join(ownKey().print)).status).toBe(201)
    const refused = await join(ownKey().print)
    expect([refused.status, refused.body['code']]).toEqual([429, 'rate_limited'])
    expect(refused.headers.get('retry-after')).toBe(String(HOUR / 3 / 1000))
    // Nobody believes a header without a proxy.
    expect((await join(ownKey().print, { 'x-forwarded-for': '203.0.113.7' })).status).toBe(429)
    t.clock.advance(HOUR / 3)
    expect((await join(ownKey().print)).status).toBe(201)
    expect(await t.db.query('SELECT id FROM account')).toHaveLength(4)
  })

  test('sees through as many proxies as there are', async () => {
    await reopen({ proxies: 1, signup: { open: true, perHourPerAddress: 1, perHour: 3 } })
    const from = (address: string) => join(ownKey().print, { 'x-forwarded-for': address })
    expect((await from('198.51.100.1')).status).toBe(201)
    expect((await from('192.0.2.99, 198.51.100.1')).status, 'only the last one counts').toBe(429)
    expect((await from('2001:db8:1:2::1')).status).toBe(201)
    expect((await from('2001:db8:1:2:ffff::9')).status, 'of one /64').toBe(429)
    expect((await from('2001:db8:1:3::1')).status).toBe(201)
    expect((await from('198.51.100.3')).status, 'three in all').toBe(429)
  })

  test.each<[string, object, number, string]>([
    ['no key', {}, 400, 'invalid_request'],
    ['half a key', { key_hash: 'ab'.repeat(32) }, 400, 'invalid_request'],
    [
      'a key instead of its hash',
      { key_hash: `bk_${'a'.repeat(43)}`, key_prefix: 'bk_aaaaaaaa' },
      400,
      'invalid_request',
    ],
    ["the seller's names", { external_id: 'alice', ...ownPrint() }, 403, 'forbidden'],
  ])('takes no request with %s', async (_, body, status, code) => {
    expect(await join(body)).toMatchObject({ status, body: { code } })
    expect(await t.db.query('SELECT id FROM account')).toEqual([])
  })

  test('is shut unless the seller opened it', async () => {
    await reopen({ signup: { open: false, perHourPerAddress: 3, perHour: 5 } })
    const refused = await join(ownKey().print)
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([401, 'Bearer realm="bursar"'])
    const { key } = await accountWithKey('alice')
    expect((await ask('POST', '/accounts', { key, body: {} })).body['code']).toBe('forbidden')
    expect((await ask('POST', '/accounts', { key: `bk_${'a'.repeat(43)}`, body: {} })).status).toBe(401)
  })
})

function ownPrint(): object {
  return { key_hash: 'ab'.repeat(32), key_prefix: 'bk_aaaaaaaa' }
}

describe('agents', () => {
  test('are added with an allowance, changed in part, frozen, and listed with what is left', async () => {
    const { id, key } = await accountWithKey('alice')
    const made = await ask('POST', `/accounts/${id}/agents`, {
      key,
      body: { name: 'coder', allowance: { per_day: '5', models: ['small'] } },
    })
    expect([made.status, made.body]).toEqual([
      201,
      {
        id: expect.stringMatching(/^agt_/),
        account: id,
        name: 'coder',
        frozen: false,
        created_at: '2026-11-01T00:00:00.000Z',
        allowance: {
          per_call: null,
          per_day: '5.000000',
          per_month: null,
          models: ['small'],
          day_left: '5.000000',
          month_left: null,
        },
      },
    ])
    const path = `/accounts/${id}/agents/${String(made.body['id'])}`
    const changed = await ask('PATCH', path, {
      key,
      body: { allowance: { per_call: '0.5', models: null }, frozen: true },
    })
    expect(changed.body).toMatchObject({
      frozen: true,
      allowance: { per_call: '0.500000', per_day: '5.000000', models: null },
    })
    expect((await ask('GET', path, { key })).body).toEqual(changed.body)
    const free = await asSeller('PATCH', path, { allowance: null, frozen: false })
    expect(free.body).toMatchObject({ frozen: false, allowance: null })
    await asSeller('POST', `/accounts/${id}/agents`, { name: 'second' })
    const page = await ask('GET', `/accounts/${id}/agents?limit=1`, { key })
    expect(page.body).toEqual({ agents: [free.body], next_cursor: made.body['id'] })
    const rest = await ask('GET', `/accounts/${id}/agents?limit=1&cursor=${String(made.body['id'])}`, { key })
    expect(rest.body).toMatchObject({ agents: [{ name: 'second' }], next_cursor: null })
  })

  test.each<[string, unknown]>([
    ['no name', {}],
    ['a negative limit', { name: 'a', allowance: { per_day: '-1' } }],
    ['a limit that is a number', { name: 'a', allowance: { per_day: 5 } }],
    ['a limit of a kind that there is not', { name: 'a', allowance: { per_week: '5' } }],
    ['null', null],
  ])('are not made of %s', async (_, body) => {
    const { id } = await accountWithKey('alice')
    const refused = await asSeller('POST', `/accounts/${id}/agents`, body)
    expect([refused.status, refused.body['code']]).toEqual([400, 'invalid_request'])
    expect(await t.db.query('SELECT id FROM agent')).toEqual([])
  })
})

describe('keys', () => {
  test('are shown once, then by prefix, and listed with their last use', async () => {
    const { id, key } = await accountWithKey('alice')
    const made = await ask('POST', '/keys', { key, body: { name: 'laptop' } })
    expect(made).toMatchObject({ status: 201, body: { scope: 'account', account: id, name: 'laptop' } })
    const shown = String(made.body['key'])
    const list = await ask('GET', '/keys', { key })
    expect(JSON.stringify(list.body)).not.toContain(shown)
    expect(list.body['keys']).toMatchObject([
      { account: id },
      { prefix: shown.slice(0, 11), last_used_at: null },
    ])
    expect((await asSeller('GET', `/keys?account=${id}&limit=1`)).body).toMatchObject({
      next_cursor: expect.stringMatching(/^key_/),
    })
    expect((await asSeller('GET', '/keys')).body['keys']).toHaveLength(3)
  })

  test('made by their holder are never shown by the till', async () => {
    const { key, print } = ownKey()
    const { id } = await accountWithKey('alice')
    const taken = await asSeller('POST', '/keys', { account: id, ...print })
    expect(taken.body).toMatchObject({ key: null, prefix: print.key_prefix })
    expect((await ask('GET', `/accounts/${id}`, { key })).status).toBe(200)
    expect((await asSeller('POST', '/keys', { account: id, ...print })).body['id']).toBe(taken.body['id'])
  })

  test('that are revoked are over at once', async () => {
    const { id, key } = await accountWithKey('alice')
    expect((await ask('GET', `/accounts/${id}`, { key })).status).toBe(200)
    const list = (await asSeller('GET', `/keys?account=${id}`)).body['keys'] as { id: string }[]
    const revoked = await asSeller('DELETE', `/keys/${String(list[0]?.id)}`)
    expect(revoked.body).toMatchObject({ revoked_at: '2026-11-01T00:00:00.000Z' })
    expect((await ask('GET', `/accounts/${id}`, { key })).status).toBe(401)
  })

  test.each<[string, object]>([
    ['for nobody', {}],
    ['for the seller and an account', { scope: 'seller', account: 'acc_1' }],
    ['of an agent without one', { scope: 'agent', account: 'acc_1' }],
    ['with a hash alone', { scope: 'seller', key_hash: 'ab'.repeat(32) }],
  ])('are not made %s', async (_, body) => {
    expect((await asSeller('POST', '/keys', body)).body['code']).toBe('invalid_request')
  })

  test('are limited to so many requests a minute, but for the seller', async () => {
    await reopen({ perMinute: 6 })
    const { id, key } = await accountWithKey('alice')
    for (let n = 0; n < 6; n++) expect((await ask('GET', `/accounts/${id}`, { key })).status).toBe(200)
    const refused = await ask('GET', `/accounts/${id}`, { key })
    expect([refused.status, refused.body['code'], refused.headers.get('retry-after')]).toEqual([
      429,
      'rate_limited',
      '10',
    ])
    for (let n = 0; n < 20; n++) expect((await asSeller('GET', `/accounts/${id}`)).status).toBe(200)
    t.clock.advance(10_000)
    expect((await ask('GET', `/accounts/${id}`, { key })).status).toBe(200)
    expect((await ask('GET', `/accounts/${id}`, { key })).status).toBe(429)
  })

  test('of one account together are limited too: it can make itself any number', async () => {
    await reopen({ perMinute: 6 })
    const { id, key } = await accountWithKey('alice')
    const make = async () => String((await ask('POST', '/keys', { key, body: {} })).body['key'])
    const statuses: number[] = []
    for (const each of [await make(), await make(), await make(), await make()]) {
      for (let n = 0; n < 3; n++) statuses.push((await ask('GET', `/accounts/${id}`, { key: each })).status)
    }
    // Twelve in all, of which four made the keys.
    expect(statuses).toEqual([...Array<number>(8).fill(200), ...Array<number>(4).fill(429)])
    const other = await accountWithKey('bob')
    expect((await ask('GET', `/accounts/${other.id}`, { key: other.key })).status).toBe(200)
  })
})

describe('scopes', () => {
  test("an account's key sees nothing of another account", async () => {
    const [alice, bob] = [await accountWithKey('alice'), await accountWithKey('bob')]
    const agent = await asSeller('POST', `/accounts/${bob.id}/agents`, { name: 'theirs' })
    const theirs = String(agent.body['id'])
    const keys = (await asSeller('GET', `/keys?account=${bob.id}`)).body['keys'] as { id: string }[]
    const tries: [string, string, unknown?][] = [
      ['GET', `/accounts/${bob.id}`],
      ['GET', `/accounts/${bob.id}/agents`],
      ['POST', `/accounts/${bob.id}/agents`, { name: 'mine' }],
      ['GET', `/accounts/${bob.id}/agents/${theirs}`],
      ['GET', `/accounts/${alice.id}/agents/${theirs}`],
      ['PATCH', `/accounts/${alice.id}/agents/${theirs}`, { frozen: true }],
      ['POST', '/keys', { account: bob.id }],
      ['POST', '/keys', { agent: theirs }],
      ['GET', `/keys?account=${bob.id}`],
      ['DELETE', `/keys/${String(keys[0]?.id)}`],
    ]
    for (const [method, path, body] of tries) {
      const refused = await ask(method, path, { key: alice.key, body })
      expect([refused.status, refused.body['code']], `${method} ${path}`).toEqual([404, 'not_found'])
    }
    expect((await ask('POST', '/keys', { key: alice.key, body: { scope: 'seller' } })).status).toBe(403)
    expect((await ask('GET', '/keys', { key: bob.key })).status).toBe(200)
  })

  test("an agent's key manages nothing, whatever it asks for", async () => {
    const { id, key: owner } = await accountWithKey('alice')
    const agent = await ask('POST', `/accounts/${id}/agents`, { key: owner, body: { name: 'coder' } })
    const made = await ask('POST', '/keys', { key: owner, body: { agent: agent.body['id'] } })
    expect(made.body).toMatchObject({ scope: 'agent', account: id })
    const [key, self] = [String(made.body['key']), String(agent.body['id'])]
    for (const { method, path } of accountOperations) {
      const real = path
        .slice(3)
        .replace('{agent}', self)
        .replace('/keys/{id}', `/keys/${String(made.body['id'])}`)
        .replace('{id}', id)
      const posted = path.endsWith('/agents') ? { name: 'x' } : {}
      const body = { post: posted, patch: { frozen: false }, get: undefined, delete: undefined }[method]
      const refused = await ask(method.toUpperCase(), real, { key, body })
      expect([refused.status, refused.body['code']], `${method} ${path}`).toEqual([403, 'forbidden'])
    }
  })

  test('every operation answers in the form that it promises', async () => {
    const { id } = await accountWithKey('alice')
    const agent = await asSeller('POST', `/accounts/${id}/agents`, {
      name: 'coder',
      allowance: { per_day: '5' },
    })
    const key = await asSeller('POST', '/keys', { account: id, agent: agent.body['id'] })
    const bodies: Record<string, unknown> = {
      createAccount: { external_id: 'alice' },
      changeAccount: { frozen: false },
      createAgent: { name: 'coder' },
      changeAgent: { allowance: { per_month: '9.5' } },
      createKey: { account: id },
    }
    for (const operation of accountOperations) {
      const path = operation.path
        .replace('/v1', '')
        .replace('{agent}', String(agent.body['id']))
        .replace('/keys/{id}', `/keys/${String(key.body['id'])}`)
        .replace('{id}', id)
      const answer = await asSeller(operation.method.toUpperCase(), path, bodies[operation.id])
      expect(answer.status, operation.id).toBe(operation.status)
      expect(operation.output.parse(answer.body), operation.id).toEqual(answer.body)
    }
  })

  test('wrong methods and unreadable bodies are refused', async () => {
    const { id } = await accountWithKey('alice')
    expect((await asSeller('DELETE', '/accounts')).status).toBe(405)
    expect((await asSeller('DELETE', `/accounts/${id}`)).status).toBe(405)
    expect((await asSeller('POST', '/accounts', ' '.repeat(65 * 1024))).status).toBe(413)
    const broken = await fetch(`${server.url}/v1/keys`, {
      method: 'POST',
      headers: { 'x-api-key': seller },
      body: '{"acc',
    })
    expect(await broken.json()).toMatchObject({ code: 'invalid_request' })
    expect((await fetch(`${server.url}/v1/keys`)).status).toBe(401)
  })
})
