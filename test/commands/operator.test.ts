/** What an operator does about chains: look, resume a halted one, claim a payment for a buyer. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openShop, SHOP_KEY, type Shop } from '../invoices/shop.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { answerOf, type Environment, run } from '../support/program.ts'
import { type Proxy, startProxy } from '../support/proxy.ts'
import { deployPasser, type Passer } from '../support/token.ts'

let anvil: Anvil
let proxy: Proxy
let passer: Passer
let shop: Shop
let env: Environment

beforeAll(async () => {
  anvil = await startAnvil()
  passer = await deployPasser(anvil)
  proxy = await startProxy(anvil.url)
  proxy.decide = ({ method }) =>
    method.includes('trace') ? { error: { code: -32601, message: 'no such method' } } : 'pass'
  shop = await openShop({ anvil, rpc: [proxy.url] })
  await shop.watch()
  const path = join(shop.till.dir, 'bursar.config.json')
  const { chains } = shop.till.config
  writeFileSync(path, JSON.stringify({ keys: { evm: SHOP_KEY }, chains, rates: { fixed: { ETH: '2500' } } }))
  env = {
    HOME: shop.till.dir,
    PATH: process.env['PATH'] ?? '',
    BURSAR_CONFIG: path,
    BURSAR_DB: shop.till.url,
  }
})
afterAll(async () => {
  await shop?.close()
  await proxy?.stop()
  await anvil?.stop()
})

describe('an operator', () => {
  it('claims a payment that the endpoint does not show, and sees which endpoints do', async () => {
    const invoice = await shop.ask()
    const txid = await passer.pass('pass', invoice.address, BigInt(invoice.amount))
    await anvil.mined(txid)
    await shop.caughtUp()
    const claimed = await answerOf<{ payments: object[] }>(['claim', invoice.id, txid], env)
    expect(claimed.payments).toMatchObject([{ txid, state: 'confirming' }])
    const { chains } = await answerOf<{ chains: object[] }>(['chains', 'list'], env)
    expect(chains).toMatchObject([
      {
        chain: 'local',
        height: await anvil.height(),
        halted: null,
        waiting: 1,
        endpoints: [{ endpoint: new URL(proxy.url).host, internal: 'claimed' }],
      },
    ])
    const doctor = await run(['doctor'], env)
    expect(doctor.stdout).toContain('payments by contracts have to be claimed')
    await anvil.mine(8)
    await shop.until(invoice.id, (view) => view.state === 'paid')
    expect((await run(['verify'], env)).status).toBe(0)

    const refused = await run(['claim', invoice.id, 'nonsense'], env)
    expect(refused.status).toBe(1)
    expect(refused.stderr).toMatch(/not a transaction hash/)
  })

  it('resumes a halted chain, and is told when there is nothing to resume', async () => {
    const idle = await run(['chains', 'resume', 'local'], env)
    expect([idle.status, idle.stderr]).toEqual([1, expect.stringContaining('local is not halted')])
    await shop.till.db.commit([{ sql: "UPDATE chain_cursor SET halted = 'a deep fork'", args: [] }])
    const listed = await run(['chains', 'list'], env)
    expect(listed.stdout).toContain('HALTED: a deep fork')
    const wrong = await run(['chains', 'resume', 'local', '--from', 'x'], env)
    expect([wrong.status, wrong.stderr]).toEqual([1, expect.stringContaining('must be a block height')])
    expect(await answerOf(['chains', 'resume', 'local'], env)).toMatchObject({
      chain: 'local',
      forked: false,
    })
    const [cursor] = await shop.till.db.query('SELECT halted FROM chain_cursor')
    expect(cursor).toEqual({ halted: null })
  })
})
