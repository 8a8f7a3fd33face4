import { afterAll, beforeAll, expect, test } from 'vitest'
import { type HttpServer, startHttp } from '../../src/http/server.ts'
import { createAccount } from '../../src/ledger/accounts.ts'
import { createAgent } from '../../src/ledger/agents.ts'
import { createKey, keyring, revokeKey } from '../../src/ledger/keys.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { type TestLedger, testLedger } from '../support/database.ts'
import { connect } from '../support/mcp-clients.ts'
import { memoryTill } from '../support/memory-bursar.ts'

let opened: TestLedger
let ledger: Ledger
let server: HttpServer

beforeAll(async () => {
  opened = await testLedger()
  ledger = opened.ledger
  const ring = keyring(ledger)
  const till = memoryTill()
  server = await startHttp({
    runtime: opened.runtime,
    version: '0.0.0-test',
    host: '127.0.0.1',
    port: 0,
    allowedHosts: [],
    checks: [],
    authenticate: (key) => ring.authenticate(key),
    bursarFor: ({ account }) => till.forAccount(account),
  })
})

afterAll(async () => {
  await server.close()
  await opened.close()
})

const endpoint = (key: string) =>
  ({ kind: 'http', url: `${server.url}/mcp`, headers: { authorization: `Bearer ${key}` } }) as const

test('a key opens the till of its account and no other, until it is revoked', async () => {
  const [one, two] = [await createAccount(ledger), await createAccount(ledger)]
  const agent = await createAgent(ledger, { account: two.id, name: 'shopper' })
  const first = await createKey(ledger, { scope: 'account', account: one.id, name: 'first' })
  const second = await createKey(ledger, { scope: 'agent', account: two.id, agent: agent.id, name: 'second' })
  const [mine, theirs] = await Promise.all([
    connect('2026-07-28', endpoint(first.key)),
    connect('first-generation SDK', endpoint(second.key)),
  ])
  const created = await mine.call('create_invoice', { rail: 'ethereum:ETH', pack: 'small' })
  expect((await mine.call('get_balance')).data['account']).toBe(one.id)
  expect((await theirs.call('get_balance')).data['account']).toBe(two.id)
  expect((await theirs.call('get_invoice', { invoice: created.data['id'] })).data['code']).toBe('not_found')

  await revokeKey(ledger, { id: first.id })
  const status = async () => {
    const answer = await fetch(endpoint(first.key).url, {
      method: 'POST',
      headers: endpoint(first.key).headers,
    })
    await answer.arrayBuffer()
    return answer.status
  }
  // A key is remembered for a second.
  opened.clock.advance(1_000)
  expect(await status()).toBe(401)
  await expect(mine.call('get_balance')).rejects.toThrow()
  expect((await theirs.call('get_balance')).isError).toBe(false)
  await Promise.all([mine.close(), theirs.close()])
})
