/** A rail that the seller takes out of the configuration while its payments can still leave the chain. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { resumeChain } from '../../src/invoices/resume.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { deployToken } from '../support/token.ts'
import { openShop, type Shop } from './shop.ts'

const CREDIT = 1_000_000n

let anvil: Anvil
let dir: string
let token: string
let shop: Shop | undefined
beforeEach(async () => {
  anvil = await startAnvil()
  token = (await deployToken(anvil)).address
  dir = mkdtempSync(join(tmpdir(), 'bursar-removed-'))
})
afterEach(async () => {
  await shop?.close()
  await anvil.stop()
  rmSync(dir, { recursive: true })
})

/** A till on the same database that accepts these; it does not watch yet. */
async function reopen(...assets: string[]): Promise<Shop> {
  await shop?.close()
  const tokens = { USDC: { contract: token, decimals: 6 } }
  shop = await openShop({ anvil, dir, chain: { assets, tokens } })
  return shop
}

async function restart(...assets: string[]): Promise<Shop> {
  const opened = await reopen(...assets)
  await opened.watch()
  return opened
}

const resume = ({ till }: Shop) => resumeChain(till.ctx, till.chain('local'))
const states = async ({ till }: Shop) =>
  (await till.db.query<{ state: string }>('SELECT state FROM payment')).map(({ state }) => state)

describe('a coin that is taken out of the configuration', () => {
  it('keeps its credits in a fork: what cannot be seen any more has not left the chain', async () => {
    const before = await restart('ETH', 'USDC')
    const invoice = await before.ask()
    const txid = await anvil.send({ to: invoice.address, value: BigInt(invoice.amount) })
    await anvil.mine(2)
    await before.until(invoice.id, (view) => view.state === 'paid')

    const without = await restart('USDC')
    await without.caughtUp()
    const raw = await anvil.rawTransaction(txid)
    await anvil.reorg(3)
    await anvil.sendRaw(raw)
    await anvil.mine(4)
    expect(await without.said('chain_halted')).toMatchObject({
      facts: { reason: expect.stringMatching(/payments in ETH/) },
    })
    expect(await states(without)).toEqual(['credited'])
    expect(await without.till.available('acc')).toBe(100n * CREDIT)

    const again = await reopen('ETH', 'USDC')
    await resume(again)
    await again.watch()
    await again.caughtUp()
    expect(await states(again)).toEqual(['credited'])
    expect(await again.till.available('acc')).toBe(100n * CREDIT)
    expect(await again.till.posted()).toEqual({ grant: 100n * CREDIT })
  })

  it('credits a payment that was seen before as soon as it is back, and says until then what it waits for', async () => {
    const before = await restart('ETH', 'USDC')
    const invoice = await before.ask()
    await anvil.send({ to: invoice.address, value: BigInt(invoice.amount) })
    await before.until(invoice.id, (view) => view.payments.length > 0)
    const without = await restart('USDC')
    await anvil.mine(4)
    await without.caughtUp()
    expect(
      await without.till.db.query('SELECT state, (SELECT reason FROM waiting) AS reason FROM payment'),
    ).toEqual([{ state: 'confirming', reason: 'asset' }])
    const again = await restart('ETH', 'USDC')
    await again.until(invoice.id, (view) => view.state === 'paid')
    expect(await again.till.db.query('SELECT * FROM waiting')).toEqual([])
  })
})
