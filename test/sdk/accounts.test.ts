/** What a seller's backend does with the client, against a real till, through a proxy that loses answers. */
import { afterEach, beforeEach, describe, expect, expectTypeOf, test } from 'vitest'
import type { z } from 'zod'
import type {
  ChangeAccount,
  ChangeAgent,
  CreateAccount,
  CreateAgent,
  KeyHolder,
  KeyPrint,
} from '../../src/accounts.ts'
import type { PaymentClaim } from '../../src/bursar.ts'
import type {
  changeAccountInput,
  changeAgentInput,
  createAccountInput,
  createAgentInput,
  createKeyInput,
} from '../../src/http/account-inputs.ts'
import type { claimInput } from '../../src/http/claim-routes.ts'
import { type Client, createClient } from '../../src/sdk/client.ts'
import { type FaultyProxy, startFaultyProxy } from '../support/faulty-proxy.ts'
import { type HttpTill, httpTill } from '../support/till-http.ts'

let till: HttpTill
let proxy: FaultyProxy
let seller: Client

beforeEach(async () => {
  const signup = { open: true, perHourPerAddress: 10, perHour: 10 }
  till = await httpTill({ openai: 'http://127.0.0.1:1/v1' }, { signup })
  proxy = await startFaultyProxy(till.url)
  seller = client(await till.sellerKey())
})
afterEach(async () => {
  await proxy.stop()
  await till.close()
})

/** Waits take no time. */
function client(key?: string): Client {
  return createClient({ url: proxy.url, key, sleep: async () => undefined })
}

async function count(table: 'account' | 'agent' | 'api_key'): Promise<number> {
  return (await till.db.query(`SELECT id FROM ${table}`)).length
}

type Flat<T> = { [Name in keyof T]: T[Name] }

test('what the client takes is what the routes take', () => {
  expectTypeOf<CreateAccount>().toEqualTypeOf<z.input<typeof createAccountInput>>()
  expectTypeOf<ChangeAccount>().toEqualTypeOf<z.input<typeof changeAccountInput>>()
  expectTypeOf<CreateAgent>().toEqualTypeOf<z.input<typeof createAgentInput>>()
  expectTypeOf<ChangeAgent>().toEqualTypeOf<z.input<typeof changeAgentInput>>()
  expectTypeOf<Flat<KeyHolder & Partial<KeyPrint>>>().toEqualTypeOf<z.input<typeof createKeyInput>>()
  expectTypeOf<PaymentClaim>().toEqualTypeOf<z.input<typeof claimInput>>()
})

describe('accounts', () => {
  test('of a name are opened once, however often the answer gets lost', async () => {
    const before = await count('account')
    proxy.next('cut after', 'cut before', { status: 503 })
    const account = await seller.accounts.create({ external_id: 'user-42' })
    expect(proxy.passed).toHaveLength(4)
    expect(account).toMatchObject({ external_id: 'user-42', frozen: false, available: '0.000000', key: null })
    expect(await count('account')).toBe(before + 1)
    const { key: _, ...view } = account
    expect(await seller.accounts.get(account.id)).toEqual(view)
    expect(await Array.fromAsync(seller.accounts.list({ external_id: 'user-42' }))).toEqual([view])
  })

  test('without a name are asked for once, and never again by themselves', async () => {
    const before = await count('account')
    proxy.next('cut after')
    await expect(seller.accounts.create({})).rejects.toMatchObject({ code: 'till_unavailable' })
    expect(proxy.passed).toHaveLength(1)
    expect(await count('account')).toBe(before + 1)
  })

  test('are listed account by account, over pages, by the seller alone', async () => {
    for (const name of ['a', 'b', 'c', 'd']) await seller.accounts.create({ external_id: name })
    const [first] = await Array.fromAsync(seller.accounts.list({ limit: 2 }))
    expect(first).toMatchObject({
      id: till.buyer,
      external_id: null,
      available: '1.000000',
      held: '0.000000',
    })
    const pages = await Array.fromAsync(seller.accounts.list({ limit: 2 }).pages())
    expect(pages.map(({ accounts }) => accounts.map(({ external_id }) => external_id))).toEqual([
      [null, 'a'],
      ['b', 'c'],
      ['d'],
    ])
    const cursor = pages[1]?.next_cursor ?? ''
    expect(await seller.accounts.list({ cursor }).page()).toEqual(pages[2])
    expect(await seller.accounts.list({ external_id: 'nobody' }).page()).toEqual({
      accounts: [],
      next_cursor: null,
    })
    await expect(client(till.key).accounts.list().page()).rejects.toMatchObject({ code: 'forbidden' })
  })

  test('that are frozen spend nothing, until they are let go on', async () => {
    const { id } = await seller.accounts.create({ external_id: 'user-42' })
    const { key } = await seller.keys.create({ account: id })
    expect(await seller.accounts.change(id, { frozen: true })).toMatchObject({ frozen: true })
    await expect(client(key).holds.create({ amount: '0.1' })).rejects.toMatchObject({ code: 'frozen' })
    expect(await seller.accounts.change(id, { frozen: false })).toMatchObject({ frozen: false })
    await expect(client(key).holds.create({ amount: '0.1' })).rejects.toMatchObject({
      code: 'insufficient_credits',
    })
  })

  test('are opened by strangers with a key that only they have, once', async () => {
    const before = await count('account')
    proxy.next('cut after')
    const { key, ...account } = await client().accounts.signUp()
    expect(await count('account')).toBe(before + 1)
    expect(proxy.passed.map(({ body }) => body).join()).not.toContain(key.key.slice(11))
    const own = client(key.key)
    expect(await own.accounts.get(account.id)).toEqual(account)
    expect(await own.balance()).toMatchObject({ account: account.id })
  })
})

describe('agents', () => {
  test('get an allowance, are changed in part, frozen and listed', async () => {
    const buyer = client(till.key)
    proxy.next('cut after')
    const made = await buyer.agents.create(till.buyer, {
      name: 'coder',
      allowance: { per_call: '0.5', per_day: '5', models: ['gpt'] },
    })
    expect(made).toMatchObject({ name: 'coder', allowance: { per_call: '0.500000', day_left: '5.000000' } })
    expect(await count('agent')).toBe(1)
    proxy.next('cut after')
    const changed = await seller.agents.change(till.buyer, made.id, {
      allowance: { per_day: null, per_call: '0.2' },
      frozen: true,
    })
    expect(changed).toMatchObject({
      frozen: true,
      allowance: { per_call: '0.200000', per_day: null, models: ['gpt'] },
    })
    expect(await buyer.agents.get(till.buyer, made.id)).toEqual(changed)
    const { id } = await buyer.agents.create(till.buyer, { name: 'reviewer' })
    expect(await Array.fromAsync(buyer.agents.list(till.buyer, { limit: 1 }), (each) => each.id)).toEqual([
      made.id,
      id,
    ])
    const free = { allowance: null, frozen: false }
    expect(await seller.agents.change(till.buyer, made.id, free)).toMatchObject(free)
  })
})

describe('keys', () => {
  test('are made here: the till never sees one, and a lost answer leaves no other', async () => {
    const before = await count('api_key')
    proxy.next('cut after', 'cut before')
    const { key, ...view } = await client(till.key).keys.create({ name: 'laptop' })
    expect(key).toMatch(/^bk_[\w-]{43}$/)
    expect(view).toMatchObject({ prefix: key.slice(0, 11), scope: 'account', account: till.buyer })
    expect(proxy.passed).toHaveLength(3)
    expect(proxy.passed.map(({ body }) => body).join()).not.toContain(key.slice(11))
    expect(await count('api_key')).toBe(before + 1)
    expect(await client(key).balance()).toMatchObject({ account: till.buyer })
    expect((await client(till.key).keys.create({})).key).not.toBe(key)
  })

  test('of an agent act within its allowance', async () => {
    const { id } = await seller.agents.create(till.buyer, { name: 'coder', allowance: { per_call: '0.5' } })
    const { key, ...view } = await seller.keys.create({ account: till.buyer, agent: id })
    expect(view).toMatchObject({ scope: 'agent', agent: id })
    const coder = client(key)
    await expect(coder.holds.create({ amount: '0.6' })).rejects.toMatchObject({ code: 'allowance_exceeded' })
    expect(await coder.holds.create({ amount: '0.5' })).toMatchObject({ state: 'held' })
    await expect(coder.keys.create({})).rejects.toMatchObject({ code: 'forbidden' })
  })

  test('made elsewhere are taken by their hash', async () => {
    const elsewhere = await client().accounts.signUp()
    const print = { key_hash: 'ab'.repeat(32), key_prefix: 'bk_aaaaaaaa' }
    const taken = await seller.keys.register({ account: elsewhere.id, name: 'phone', ...print })
    expect(taken).toMatchObject({ prefix: 'bk_aaaaaaaa', name: 'phone', account: elsewhere.id })
    expect((await seller.keys.register({ account: elsewhere.id, ...print })).id).toBe(taken.id)
    const listed = await Array.fromAsync(seller.keys.list({ account: elsewhere.id, limit: 1 }))
    expect(listed.map(({ id }) => id)).toEqual([elsewhere.key.id, taken.id])
  })

  test('that come twice at once are one key', async () => {
    const print = { key_hash: 'cd'.repeat(32), key_prefix: 'bk_cccccccc' }
    const [one, two] = await Promise.all([1, 2].map(() => client(till.key).keys.register(print)))
    expect(one).toEqual(two)
  })

  test('are revoked at once, whatever became of the answer', async () => {
    const { id, key } = await seller.keys.create({ account: till.buyer })
    await client(key).balance()
    proxy.next('cut after')
    expect(await seller.keys.revoke(id)).toMatchObject({ id, revoked_at: expect.any(String) })
    await expect(client(key).balance()).rejects.toMatchObject({ code: 'unauthorized' })
    // By itself, and the answer gets lost: the repetition comes with a key that is no more.
    const own = await seller.keys.create({ account: till.buyer })
    proxy.next('cut after')
    await expect(client(own.key).keys.revoke(own.id)).rejects.toMatchObject({ code: 'unauthorized' })
    const { keys } = await seller.keys.list({ account: till.buyer }).page()
    expect(keys.find((each) => each.id === own.id)).toMatchObject({ revoked_at: expect.any(String) })
  })
})

test('an id that is none reaches no other route', async () => {
  for (const id of ['', '.', '..', '../keys', 'a?b', 'a#b']) {
    for (const ask of [
      () => seller.accounts.get(id),
      () => seller.accounts.change(id, { frozen: true }),
      () => seller.agents.get(till.buyer, id),
      () => seller.agents.change(id, id, { frozen: true }),
      () => seller.agents.list(id).page(),
      () => seller.keys.revoke(id),
      () => seller.claimPayment(id, { txid: `0x${'0'.repeat(64)}` }),
    ]) {
      await expect(ask(), id).rejects.toMatchObject({
        code: expect.stringMatching(/^(?:not_found|method_not_allowed)$/),
      })
    }
  }
  expect(await seller.accounts.get(till.buyer)).toMatchObject({ frozen: false })
})
