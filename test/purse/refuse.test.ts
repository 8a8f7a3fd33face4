import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { payInvoice } from '../../src/purse/pay.ts'
import type { Purse } from '../../src/purse/purse.ts'
import { now as clock, freshAddress, makeInvoice, makeTill } from './support/fixture.ts'
import { ETHER, startWorld, type World } from './support/world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world.stop())

/** By the length of what a token is asked: decimals() is 6, balanceOf(owner) what the owner has in wei, the rest 0. */
const FALSE = '366004146006023660241460043531020160005260206000f3'
/** The same, but transfer(to, value) stops without an answer: 7 bytes that jump behind the others. */
const NOTHING = `3660441460${(7 + FALSE.length / 2).toString(16)}57${FALSE}5b00`

async function tokenAnswering(code: string): Promise<`0x${string}`> {
  const token = freshAddress()
  await world.anvil.rpc('anvil_setCode', [token, `0x${code}`])
  return token
}

describe('a refusal', () => {
  let purse: Purse
  beforeEach(async () => {
    purse = await world.makePurse({ budget: { per_payment: '3', per_day: '4', per_month: '6' } })
  })
  const nothingHappened = async () => {
    expect(await world.sentBy(purse)).toBe(0)
    expect(await purse.db.query('SELECT id FROM payment')).toEqual([])
  }

  it('by the budget for one payment counts the fee', async () => {
    // Exactly $3, and the fee comes on top.
    const amount = ((3n * ETHER) / 2_000n).toString()
    await expect(payInvoice(purse, { signed: makeInvoice(world.till, { amount }) })).rejects.toMatchObject({
      code: 'budget_exceeded',
      details: { limit: 'per_payment', limit_usd: '3.00', required_usd: expect.stringMatching(/^3\.\d+$/) },
    })
    await nothingHappened()
  })
  it('by the day names what is reserved', async () => {
    await world.payAndMine(purse, { signed: makeInvoice(world.till) })
    const error = await payInvoice(purse, { signed: makeInvoice(world.till) }).catch(
      (thrown: unknown) => thrown,
    )
    expect(error).toMatchObject({
      code: 'budget_exceeded',
      remedy: expect.stringContaining('purse.budget.per_day'),
      details: { limit: 'per_day', spent_usd: '0.00', reserved_usd: expect.stringMatching(/^2\.\d+$/) },
    })
    expect(await world.sentBy(purse)).toBe(1)
  })
  it('by the month holds the next day, and ends with the month', async () => {
    let now = Date.UTC(2026, 10, 29, 12)
    const far = { expires_at: Date.UTC(2027, 5, 1) }
    purse = await world.makePurse({
      budget: { per_payment: '3', per_day: '3', per_month: '5' },
      now: () => now,
    })
    const spend = () => payInvoice(purse, { signed: makeInvoice(world.till, far) })
    await spend()
    await expect(spend()).rejects.toMatchObject({
      details: { limit: 'per_day', resets_at: '2026-11-30T00:00:00.000Z' },
    })
    now = Date.UTC(2026, 10, 30)
    await spend()
    await expect(spend()).rejects.toMatchObject({
      details: { limit: 'per_month', resets_at: '2026-12-01T00:00:00.000Z' },
    })
    now = Date.UTC(2026, 11, 1)
    await expect(spend()).resolves.toMatchObject({ state: 'broadcast' })
  })
  it('of an expired invoice', async () => {
    const signed = makeInvoice(world.till, { expires_at: clock() - 1 })
    await expect(payInvoice(purse, { signed })).rejects.toMatchObject({
      code: 'invoice_not_payable',
      details: { reason: 'expired' },
    })
    await nothingHappened()
  })
  it('of an unknown payee', async () => {
    await expect(payInvoice(purse, { signed: makeInvoice(makeTill()) })).rejects.toMatchObject({
      code: 'unknown_payee',
    })
    await nothingHappened()
  })
  it('for lack of tokens says how many are missing and where to send them', async () => {
    await world.mint(purse.wallet.address, 500_000n)
    await expect(payInvoice(purse, { signed: world.usdcInvoice() })).rejects.toMatchObject({
      code: 'insufficient_funds',
      message: expect.stringMatching(/needs 2 USDC, and ETH for the network fee\.$/),
      remedy: expect.stringContaining(`1.5 USDC to ${purse.wallet.address}`),
      details: { asset: 'USDC', available_atomic: '500000', required_atomic: '2000000' },
    })
    await nothingHappened()
  })
  it('for lack of coin counts the fee', async () => {
    purse = await world.makePurse({ ether: 1_000_000_000_000_000n })
    await expect(payInvoice(purse, { signed: makeInvoice(world.till) })).rejects.toMatchObject({
      code: 'insufficient_funds',
      message: expect.stringMatching(/ETH, network fee included\.$/),
      details: { asset: 'ETH', available_atomic: '1000000000000000' },
    })
    await nothingHappened()
  })
  it('for lack of coin to move a token', async () => {
    purse = await world.makePurse({ ether: 0n })
    await world.mint(purse.wallet.address, 5_000_000n)
    await expect(payInvoice(purse, { signed: world.usdcInvoice() })).rejects.toMatchObject({
      code: 'insufficient_funds',
      message: expect.stringMatching(/ETH for the network fee\.$/),
      details: { asset: 'ETH', available_atomic: '0' },
    })
    await nothingHappened()
  })
  it('counts what payments that wait to be mined will take', async () => {
    purse = await world.makePurse({
      ether: 2_500_000_000_000_000n,
      budget: { per_payment: '10', per_day: '100', per_month: '100' },
    })
    await world.anvil.automine(false)
    try {
      await payInvoice(purse, { signed: makeInvoice(world.till) })
      await payInvoice(purse, { signed: makeInvoice(world.till) })
      await expect(payInvoice(purse, { signed: makeInvoice(world.till) })).rejects.toMatchObject({
        code: 'insufficient_funds',
      })
    } finally {
      await world.anvil.automine(true)
      await world.anvil.mine()
    }
  })
  it('of a token that answers false and moves nothing', async () => {
    const usdc = await tokenAnswering(FALSE)
    purse = await world.makePurse({ usdc })
    const signed = world.usdcInvoice({ contract: usdc })
    await expect(payInvoice(purse, { signed })).rejects.toMatchObject({
      code: 'invoice_not_payable',
      details: { reason: 'refused_by_token' },
    })
    await nothingHappened()
  })
  it('not of a token that answers nothing, as USDT on Ethereum does', async () => {
    const usdc = await tokenAnswering(NOTHING)
    purse = await world.makePurse({ usdc })
    const signed = world.usdcInvoice({ contract: usdc })
    expect(await world.payAndMine(purse, { signed })).toMatchObject({ state: 'broadcast' })
  })
  it('for lack of a price', async () => {
    const chain = { assets: ['ETH', 'EUR'], tokens: { EUR: { contract: world.token.address, decimals: 6 } } }
    purse = await world.makePurse({ chain })
    await world.mint(purse.wallet.address, 5_000_000n)
    await expect(
      payInvoice(purse, { signed: world.usdcInvoice({ rail: 'local:EUR' }) }),
    ).rejects.toMatchObject({
      code: 'rate_unavailable',
    })
    await nothingHappened()
  })
})
