/** A payment that the endpoint does not show, claimed over HTTP by the account that made it, or by the seller. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { InvoiceView } from '../../src/bursar.ts'
import { type HttpServer, startHttp } from '../../src/http/server.ts'
import { claimPayment } from '../../src/invoices/claim.ts'
import { createAgent } from '../../src/ledger/agents.ts'
import { createKey, keyring } from '../../src/ledger/keys.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { createClient } from '../../src/sdk/client.ts'
import { openShop, type Shop } from '../invoices/shop.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { memoryTill } from '../support/memory-bursar.ts'
import { type Proxy, startProxy } from '../support/proxy.ts'
import { runSnippet, snippetWith } from '../support/snippets.ts'
import { deployPasser, type Passer } from '../support/token.ts'

let anvil: Anvil
let proxy: Proxy
let passer: Passer
let shop: Shop
let server: HttpServer
let stopKeys: () => Promise<void>
let keys: Record<'owner' | 'agent' | 'stranger' | 'seller', string>
let invoice: InvoiceView
let txid: string

beforeAll(async () => {
  anvil = await startAnvil()
  passer = await deployPasser(anvil)
  proxy = await startProxy(anvil.url)
  proxy.decide = ({ method }) =>
    method.includes('trace') ? { error: { code: -32601, message: 'no such method' } } : 'pass'
  shop = await openShop({ anvil, rpc: [proxy.url] })
  await shop.watch()
  const { ctx, db } = shop.till
  const ledger = openLedger({ db, runtime: ctx.runtime })
  const ring = keyring(ledger)
  stopKeys = () => ring.close()
  await shop.till.account('other')
  const { id: agent } = await createAgent(ledger, { account: 'acc', name: 'worker' })
  const key = async (holder: Parameters<typeof createKey>[1]) => (await createKey(ledger, holder)).key
  keys = {
    owner: await key({ scope: 'account', account: 'acc', name: 'owner' }),
    agent: await key({ scope: 'agent', account: 'acc', agent, name: 'agent' }),
    stranger: await key({ scope: 'account', account: 'other', name: 'stranger' }),
    seller: await key({ scope: 'seller', name: 'seller' }),
  }
  server = await startHttp({
    runtime: ctx.runtime,
    version: '0.0.0-test',
    host: '127.0.0.1',
    port: 0,
    allowedHosts: [],
    checks: [],
    authenticate: (given) => ring.authenticate(given),
    bursarFor: ({ account }) => memoryTill().forAccount(account),
    claimPayment: (claim) => claimPayment(ctx, claim),
  })
})
beforeEach(async () => {
  invoice = await shop.ask()
  txid = await passer.pass('pass', invoice.address, BigInt(invoice.amount))
  await anvil.mined(txid)
  await shop.caughtUp()
})
afterAll(async () => {
  await server?.close()
  await stopKeys?.()
  await shop?.close()
  await proxy?.stop()
  await anvil?.stop()
})

const claim = (key: string | null, body: unknown, id = invoice.id) =>
  fetch(`${server.url}/v1/invoices/${id}/claim`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key === null ? {} : { 'x-api-key': key }) },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })

async function refused(answer: Response, status: number, code: string): Promise<void> {
  expect(answer.headers.get('content-type')).toBe('application/problem+json')
  expect(await answer.json()).toMatchObject({ status, code })
}

describe('a claim over HTTP', () => {
  test.each(['owner', 'agent', 'seller'] as const)('by the key of the %s credits once', async (who) => {
    for (let time = 0; time < 2; time++) {
      const answer = await claim(keys[who], { txid })
      expect(answer.status).toBe(200)
      expect(await answer.json()).toMatchObject({
        id: invoice.id,
        state: 'processing',
        payments: [{ txid, state: 'confirming', amount: invoice.amount }],
      })
    }
    await anvil.mine(8)
    const paid = await shop.until(invoice.id, (view) => view.state === 'paid')
    expect(paid).toMatchObject({ credits_granted: '100.000000', payments: [{ txid }] })
    expect((await claim(keys[who], { txid })).status).toBe(200)
    const rows = await shop.till.db.query('SELECT 1 FROM payment WHERE txid = ?', [txid])
    expect(rows).toHaveLength(1)
  })

  test('by the client, whose answer gets lost, credits once', async () => {
    let lost = 0
    const losing: typeof fetch = async (input, init) => {
      const answer = await fetch(input, init)
      if (lost++ > 0) return answer
      await answer.text()
      throw new TypeError('fetch failed')
    }
    const sleep = async (): Promise<void> => undefined
    const client = createClient({ url: server.url, key: keys.owner, fetch: losing, sleep })
    expect(await client.claimPayment(invoice.id, { txid, chain: 'local' })).toMatchObject({
      id: invoice.id,
      state: 'processing',
      payments: [{ txid, state: 'confirming' }],
      signed: invoice.signed,
    })
    expect(lost).toBe(2)
    const rows = await shop.till.db.query('SELECT 1 FROM payment WHERE txid = ?', [txid])
    expect(rows).toHaveLength(1)
    await expect(client.claimPayment(invoice.id, { txid: `0x${'ab'.repeat(32)}` })).rejects.toMatchObject({
      code: 'not_found',
    })
  })

  test('by the program of docs/sdk.md credits', async () => {
    const snippet = await snippetWith('docs/sdk.md', 'claimPayment(')
    const env = { BURSAR_URL: server.url, SELLER_KEY: keys.seller }
    const { status, stdout, stderr } = await runSnippet(snippet, env, [invoice.id, txid])
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toMatch(new RegExp(`^confirming ${invoice.amount} local:ETH \\w.*\\n$`))
    await anvil.mine(8)
    const paid = await shop.until(invoice.id, (view) => view.state === 'paid')
    expect(paid).toMatchObject({ credits_granted: '100.000000' })
  })

  test('by anybody else is refused, and nothing is recorded', async () => {
    await refused(await claim(keys.stranger, { txid }), 404, 'not_found')
    await refused(await claim(keys.owner, { txid }, 'inv_none'), 404, 'not_found')
    await refused(await claim(keys.owner, { txid }, 'x'.repeat(99)), 404, 'not_found')
    await refused(await claim(null, { txid }), 401, 'unauthorized')
    await refused(await claim('bk_wrong', { txid }), 401, 'unauthorized')
    expect(await shop.till.db.query('SELECT 1 FROM payment WHERE txid = ?', [txid])).toEqual([])
  })

  test.each<[string, unknown]>([
    ['no JSON', '{'],
    ['null', null],
    ['no hash', {}],
    ['half a hash', { txid: '0x12' }],
    ['a hash of another chain', { txid: 'f'.repeat(64) }],
    ['an unknown field', { txid: `0x${'a'.repeat(64)}`, account: 'other' }],
  ])('of %s is refused', async (_, body) => {
    await refused(await claim(keys.owner, body), 400, 'invalid_request')
  })

  test('of what paid nothing, on a chain that there is not, or with GET is refused', async () => {
    await refused(await claim(keys.owner, { txid: `0x${'ab'.repeat(32)}` }), 404, 'not_found')
    await refused(await claim(keys.owner, { txid, chain: 'elsewhere' }), 404, 'not_found')
    const got = await fetch(`${server.url}/v1/invoices/${invoice.id}/claim`)
    await refused(got, 405, 'method_not_allowed')
  })
})
