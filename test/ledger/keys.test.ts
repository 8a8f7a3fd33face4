import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createAccount, freezeAccount, getAccount } from '../../src/ledger/accounts.ts'
import { createAgent, updateAgent } from '../../src/ledger/agents.ts'
import { type CreatedKey, createKey, keyring, listKeys, revokeKey } from '../../src/ledger/keys.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { type TestLedger, testLedger } from '../support/database.ts'

let opened: TestLedger
let ledger: Ledger
/** Reads and commits made through `ledger`. */
let reads = 0
let commits = 0
let timers: { at: number; task: () => void }[] = []

/** Lets time pass, and whatever was due in it happen. */
async function pass(ms: number): Promise<void> {
  opened.clock.advance(ms)
  const due = timers.filter((timer) => timer.at <= opened.clock.now())
  timers = timers.filter((timer) => timer.at > opened.clock.now())
  for (const timer of due) timer.task()
  // What a timer began goes through the queue of commits, so it is done when this is.
  await opened.db.commit([{ sql: 'SELECT 1', args: [] }])
}

beforeEach(async () => {
  opened = await testLedger()
  const { db, clock, runtime } = opened
  reads = 0
  commits = 0
  timers = []
  ledger = {
    ...opened.ledger,
    db: {
      ...db,
      query: (sql, args) => {
        reads += 1
        return db.query(sql, args)
      },
      commit: (statements) => {
        commits += 1
        return db.commit(statements)
      },
    },
    runtime: {
      ...runtime,
      after(ms, task) {
        const timer = { at: clock.now() + ms, task }
        timers.push(timer)
        return () => {
          timers = timers.filter((other) => other !== timer)
        }
      },
    },
  }
})

afterEach(() => opened.close())

describe('accounts', () => {
  test('one external id is one account, also when it is asked for many times at once', async () => {
    const same = await Promise.all(
      Array.from({ length: 10 }, () => createAccount(ledger, { externalId: 'customer 7' })),
    )
    expect(new Set(same.map((account) => account.id)).size).toBe(1)
    expect(same[0]).toEqual({
      id: expect.stringMatching(/^acc_/),
      externalId: 'customer 7',
      frozen: false,
      createdAt: opened.clock.now(),
    })
    const others = [await createAccount(ledger), await createAccount(ledger)]
    expect(new Set([...same, ...others].map((account) => account.id)).size).toBe(3)
  })

  test.each(['', ' x', 'x'.repeat(201), 'a\u0000b', 'line\nbreak'])(
    'refuses the external id %j',
    async (externalId) => {
      await expect(createAccount(ledger, { externalId })).rejects.toMatchObject({ code: 'invalid_request' })
    },
  )

  test('one name is one agent of an account, and another of another', async () => {
    const [one, two] = [await createAccount(ledger), await createAccount(ledger)]
    const agent = await createAgent(ledger, { account: one.id, name: 'research' })
    expect(agent).toMatchObject({ account: one.id, name: 'research', frozen: false })
    expect(await createAgent(ledger, { account: one.id, name: 'research' })).toEqual(agent)
    expect((await createAgent(ledger, { account: two.id, name: 'research' })).id).not.toBe(agent.id)
    await expect(createAgent(ledger, { account: 'acc_0', name: 'research' })).rejects.toMatchObject({
      code: 'not_found',
    })
  })

  test('are frozen and unfrozen, safely repeated, and not when they do not exist', async () => {
    const account = await createAccount(ledger)
    const agent = await createAgent(ledger, { account: account.id, name: 'a' })
    for (const _ of [1, 2]) {
      await freezeAccount(ledger, account.id)
      await updateAgent(ledger, { agent: agent.id, frozen: true })
      await pass(1_000)
    }
    expect((await getAccount(ledger, account.id)).frozen).toBe(true)
    expect((await createAgent(ledger, { account: account.id, name: 'a' })).frozen).toBe(true)
    const [frozen] = await opened.db.query('SELECT frozen_at FROM account')
    expect(frozen).toEqual({ frozen_at: BigInt(account.createdAt) })
    for (const _ of [1, 2]) {
      await freezeAccount(ledger, account.id, false)
      await updateAgent(ledger, { agent: agent.id, frozen: false })
    }
    expect((await getAccount(ledger, account.id)).frozen).toBe(false)
    expect((await createAgent(ledger, { account: account.id, name: 'a' })).frozen).toBe(false)
    for (const change of [
      freezeAccount(ledger, 'nobody'),
      freezeAccount(ledger, 'nobody', false),
      getAccount(ledger, 'nobody'),
      updateAgent(ledger, { agent: 'nobody', frozen: true }),
      updateAgent(ledger, { agent: agent.id, account: 'nobody', frozen: true }),
    ]) {
      await expect(change).rejects.toMatchObject({ code: 'not_found' })
    }
  })
})

describe('keys', () => {
  test('speak for the seller, an account, or an agent', async () => {
    const account = await createAccount(ledger)
    const agent = await createAgent(ledger, { account: account.id, name: 'a' })
    const ring = keyring(ledger)
    const seller = await createKey(ledger, { scope: 'seller', name: 'desk' })
    expect(await ring.authenticate(seller.key)).toEqual({ scope: 'seller', key: seller.id })
    const owner = await createKey(ledger, { scope: 'account', account: account.id, name: 'owner' })
    expect(await ring.authenticate(owner.key)).toEqual({
      scope: 'account',
      key: owner.id,
      account: account.id,
    })
    const own = await createKey(ledger, {
      scope: 'agent',
      account: account.id,
      agent: agent.id,
      name: 'agent',
    })
    expect(await ring.authenticate(own.key)).toEqual({
      scope: 'agent',
      key: own.id,
      account: account.id,
      agent: agent.id,
    })
  })

  test('are shown once and stored as a hash only', async () => {
    const made = await Promise.all(
      Array.from({ length: 5 }, (_, index) => createKey(ledger, { scope: 'seller', name: `k${index}` })),
    )
    expect(new Set(made.map((one) => one.key)).size).toBe(5)
    const stored = JSON.stringify(
      await opened.db.query('SELECT id, hash, prefix, name, scope, account, agent FROM api_key'),
    )
    for (const { key, prefix } of made) {
      expect(key).toMatch(/^bk_[A-Za-z0-9_-]{43}$/)
      expect(key.startsWith(prefix)).toBe(true)
      expect(stored).toContain(prefix)
      expect(stored).not.toContain(key.slice(prefix.length))
    }
    // As a member: the beginning of a key may spell the word.
    expect(JSON.stringify(await listKeys(ledger))).not.toMatch(/hash":/)
  })

  test('are made for nobody who does not exist, and for no agent of another account', async () => {
    const [one, two] = [await createAccount(ledger), await createAccount(ledger)]
    const agent = await createAgent(ledger, { account: one.id, name: 'a' })
    for (const holder of [
      { scope: 'account', account: 'acc_0' },
      { scope: 'agent', account: one.id, agent: 'agt_0' },
      { scope: 'agent', account: two.id, agent: agent.id },
    ] as const) {
      await expect(createKey(ledger, { ...holder, name: 'x' })).rejects.toMatchObject({ code: 'not_found' })
    }
    await expect(createKey(ledger, { scope: 'seller', name: '' })).rejects.toMatchObject({
      code: 'invalid_request',
    })
    expect(await listKeys(ledger)).toEqual([])
  })

  test('that were revoked are refused: at once by a fresh process, within a second by one that knows them', async () => {
    const { key, id } = await createKey(ledger, { scope: 'seller', name: 'desk' })
    const ring = keyring(ledger)
    await ring.authenticate(key)
    await revokeKey(ledger, { id })
    await expect(keyring(ledger).authenticate(key)).rejects.toMatchObject({ code: 'unauthorized' })
    await pass(1_000)
    await expect(ring.authenticate(key)).rejects.toMatchObject({ code: 'unauthorized' })
    await revokeKey(ledger, { id })
    expect(await listKeys(ledger)).toMatchObject([{ id, revokedAt: opened.clock.now() - 1_000 }])
  })

  test('are revoked by whose they are', async () => {
    const [one, two] = [await createAccount(ledger), await createAccount(ledger)]
    const { key, id } = await createKey(ledger, { scope: 'account', account: one.id, name: 'owner' })
    await expect(revokeKey(ledger, { id, account: two.id })).rejects.toMatchObject({ code: 'not_found' })
    const confused = revokeKey(ledger, { id: key })
    await expect(confused).rejects.toMatchObject({ code: 'not_found' })
    await expect(confused).rejects.not.toThrow(key)
    expect(await listKeys(ledger, { account: two.id })).toEqual([])
    expect(await listKeys(ledger, { account: one.id })).toMatchObject([{ id, revokedAt: null }])
    await revokeKey(ledger, { id, account: one.id })
    await expect(keyring(ledger).authenticate(key)).rejects.toMatchObject({ code: 'unauthorized' })
  })

  test('that are unknown or malformed are refused in the same words, the malformed without a read', async () => {
    const ring = keyring(ledger)
    const unknown = `bk_${'A'.repeat(43)}`
    const messages: string[] = []
    for (const key of [unknown, '', 'bk_short', `${unknown}x`, `sk_${'A'.repeat(43)}`, `${unknown}\n`]) {
      const error = (await ring.authenticate(key).catch((thrown: unknown) => thrown)) as Error
      expect(error).toMatchObject({ code: 'unauthorized' })
      messages.push(error.message)
    }
    expect(new Set(messages).size).toBe(1)
    expect(messages[0]).not.toContain(unknown)
    expect(reads).toBe(1)
  })

  test('that were revoked are refused by one that knows them, although the clock was set back', async () => {
    const { key, id } = await createKey(ledger, { scope: 'seller', name: 'desk' })
    const ring = keyring(ledger)
    await ring.authenticate(key)
    opened.clock.advance(-3_600_000)
    await revokeKey(ledger, { id })
    await expect(ring.authenticate(key)).rejects.toMatchObject({ code: 'unauthorized' })
    await ring.close()
  })

  test('cost one read a second, however busy their holder is, and no write', async () => {
    const { key } = await createKey(ledger, { scope: 'seller', name: 'desk' })
    const ring = keyring(ledger)
    const before = commits
    await Promise.all(Array.from({ length: 100 }, () => ring.authenticate(key)))
    for (let index = 0; index < 100; index++) await ring.authenticate(key)
    expect(reads).toBe(1)
    await pass(1_000)
    await ring.authenticate(key)
    expect(reads).toBe(2)
    expect(commits).toBe(before)
  })

  test('are looked up again after a read failed', async () => {
    const { key } = await createKey(ledger, { scope: 'seller', name: 'desk' })
    let failing = true
    const ring = keyring({
      ...ledger,
      db: {
        ...opened.db,
        query: (sql, args) => (failing ? Promise.reject(new Error('down')) : opened.db.query(sql, args)),
      },
    })
    await expect(ring.authenticate(key)).rejects.toThrow('down')
    failing = false
    expect(await ring.authenticate(key)).toMatchObject({ scope: 'seller' })
  })

  test('note when they were used: once a minute for all of them, and at the end', async () => {
    const made: CreatedKey[] = []
    for (const name of ['a', 'b', 'c']) made.push(await createKey(ledger, { scope: 'seller', name }))
    const ring = keyring(ledger)
    const before = commits
    const used = opened.clock.now()
    for (const { key } of made.slice(0, 2)) await ring.authenticate(key)
    await pass(59_999)
    expect(commits).toBe(before)
    await pass(1)
    expect(commits).toBe(before + 1)
    expect((await listKeys(ledger)).map((view) => view.lastUsedAt)).toEqual([used, used, null])
    await ring.authenticate(String(made[2]?.key))
    await ring.close()
    expect((await listKeys(ledger)).map((view) => view.lastUsedAt)).toEqual([used, used, opened.clock.now()])
    expect(commits).toBe(before + 2)
    await pass(120_000)
    expect(commits).toBe(before + 2)
  })
})
