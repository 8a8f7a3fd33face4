import { beforeEach, describe, expect, test } from 'vitest'
import { ASK, CHAT, callSuite } from '../support/calls.ts'

const calls = callSuite()
let get: (path: string, headers?: Record<string, string>) => Promise<Response>

beforeEach(() => {
  get = (path, headers = {}) =>
    fetch(`${calls.till.url}${path}`, { headers: { 'x-api-key': calls.till.key, ...headers } })
})

async function problem(response: Response, status: number, code: string): Promise<void> {
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  expect(await response.json()).toMatchObject({ status, code })
}

describe('the till over HTTP', () => {
  test('shows offers and balance', async () => {
    expect(await (await get('/v1/offers')).json()).toMatchObject({ packs: expect.any(Array) })
    expect(await (await get('/v1/balance')).json()).toMatchObject({ account: calls.till.buyer })
  })

  test('creates an invoice once a key, and shows it', async () => {
    const ask = (body: unknown, headers = {}) => calls.till.post('/v1/invoices', body, headers)
    const created = await ask({ rail: 'ethereum:ETH', pack: 'small' }, { 'idempotency-key': 'one' })
    expect(created.status).toBe(201)
    const invoice = (await created.json()) as { id: string; signed: object }
    expect(invoice).toMatchObject({ state: 'open', signed: { signature: expect.any(String) } })
    const again = await ask({ rail: 'ethereum:ETH', pack: 'small' }, { 'idempotency-key': 'one' })
    expect(await again.json()).toEqual(invoice)
    expect(await (await get(`/v1/invoices/${invoice.id}`)).json()).toEqual(invoice)
    await problem(await get('/v1/invoices/inv_of-another'), 404, 'not_found')
    await problem(await get(`/v1/invoices/${'x'.repeat(99)}`), 404, 'not_found')
  })

  test.each<[string, unknown]>([
    ['no JSON', '{"rail"'],
    ['a list', []],
    ['neither pack nor credits', { rail: 'ethereum:ETH' }],
    ['an unknown field', { rail: 'ethereum:ETH', pack: 'small', account: 'acc_2' }],
    ['a negative amount', { rail: 'ethereum:ETH', credits: '-1' }],
  ])('refuses an invoice of %s', async (_, body) => {
    await problem(await calls.till.post('/v1/invoices', body), 400, 'invalid_request')
  })

  test('refuses a body that is too large, wrong methods, and who has no key', async () => {
    await problem(await calls.till.post('/v1/invoices', ' '.repeat(65 * 1024)), 413, 'payload_too_large')
    await problem(await calls.till.post('/v1/balance', {}), 405, 'method_not_allowed')
    await problem(await get('/v1/invoices'), 405, 'method_not_allowed')
    await problem(await fetch(`${calls.till.url}/v1/usage`), 401, 'unauthorized')
    await problem(await get('/v1/nothing'), 404, 'not_found')
  })

  test('pages usage and takes no strange query', async () => {
    await calls.till.post(CHAT, ASK)
    expect(await (await get('/v1/usage?limit=1')).json()).toMatchObject({ next_cursor: null })
    for (const query of ['limit=0', 'limit=x', 'limit=1e1', 'account=acc_1', 'cursor=']) {
      await problem(await get(`/v1/usage?${query}`), 400, 'invalid_request')
    }
  })
})
