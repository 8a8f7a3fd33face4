/** `GET /v1/accounts`: every account of a till, for the seller and for nobody else. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type HttpTill, httpTill } from '../support/till-http.ts'

let till: HttpTill
let seller: string

beforeEach(async () => {
  const signup = { open: true, perHourPerAddress: 1, perHour: 1 }
  till = await httpTill({ openai: 'http://127.0.0.1:1/v1' }, { signup })
  seller = await till.sellerKey()
})
afterEach(() => till.close())

interface Account {
  readonly id: string
  readonly external_id: string | null
}

function ask(query = '', key = seller, method = 'GET'): Promise<Response> {
  const headers = key === '' ? {} : { authorization: `Bearer ${key}` }
  return fetch(`${till.url}/v1/accounts${query}`, { method, headers })
}

async function listed(query = ''): Promise<{ accounts: Account[]; next_cursor: string | null }> {
  const answer = await ask(query)
  expect(answer.status).toBe(200)
  return (await answer.json()) as { accounts: Account[]; next_cursor: string | null }
}

async function opened(name: string): Promise<void> {
  const answer = await till.post('/v1/accounts', { external_id: name }, { authorization: `Bearer ${seller}` })
  expect(answer.status).toBe(201)
}

test('shows them page by page as each is shown alone, oldest first', async () => {
  for (const name of ['alice', 'bob']) await opened(name)
  const { accounts, next_cursor: end } = await listed()
  expect(accounts.map(({ external_id: name }) => name)).toEqual([null, 'alice', 'bob'])
  expect(end).toBeNull()
  for (const each of accounts) expect(await (await ask(`/${each.id}`)).json()).toEqual(each)
  const [first, second, third] = accounts
  expect(first).toMatchObject({ id: till.buyer, available: '1.000000', held: '0.000000', frozen: false })
  expect(await listed('?limit=2')).toEqual({ accounts: [first, second], next_cursor: second?.id })
  expect(await listed(`?limit=2&cursor=${second?.id}`)).toEqual({ accounts: [third], next_cursor: null })
  expect(await listed('?limit=3')).toEqual({ accounts, next_cursor: null })
})

test('finds one by the name that the seller gave it, and by no part of it', async () => {
  for (const name of ['alice', 'bob & co']) await opened(name)
  const { accounts } = await listed()
  expect(await listed('?external_id=bob%20%26%20co&limit=1')).toEqual({
    accounts: [accounts[2]],
    next_cursor: null,
  })
  for (const nobody of ['carol', String(accounts[1]?.id), 'ALICE', 'ali%', 'alic_']) {
    expect(await listed(`?external_id=${encodeURIComponent(nobody)}`)).toEqual({
      accounts: [],
      next_cursor: null,
    })
  }
})

test('is refused to everybody else, open sign-up or not', async () => {
  const forbidden = await ask('', till.key)
  expect([forbidden.status, await forbidden.json()]).toEqual([
    403,
    expect.objectContaining({ code: 'forbidden', remedy: expect.any(String) }),
  ])
  expect((await ask('', '')).status).toBe(401)
  expect((await ask('', 'bk_nobody')).status).toBe(401)
  const deleting = await ask('', seller, 'DELETE')
  expect([deleting.status, deleting.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST'])
})

test.each(['limit=0', 'limit=1001', 'limit=many', 'cursor=', 'external_id=', 'frozen=true'])(
  'takes no %s',
  async (query) => {
    const refused = await ask(`?${query}`)
    expect([refused.status, await refused.json()]).toEqual([
      400,
      expect.objectContaining({ code: 'invalid_request' }),
    ])
  },
)
