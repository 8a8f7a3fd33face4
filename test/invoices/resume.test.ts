/** A chain that forked below finality: it halts, a human looks, it goes on with the right credits. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { reportChain, resumeChain } from '../../src/invoices/resume.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { openShop, type Shop } from './shop.ts'

const CREDIT = 1_000_000n

let anvil: Anvil
let shop: Shop
beforeEach(async () => {
  anvil = await startAnvil()
  await anvil.mine(3)
  shop = await openShop({ anvil })
  await shop.watch()
})
afterEach(async () => {
  await shop?.close()
  await anvil?.stop()
})

const resume = (from?: number) =>
  resumeChain(shop.till.ctx, shop.till.chain('local'), from === undefined ? {} : { from })
const halted = () => shop.said('chain_halted')

async function paid(): Promise<{ id: string; raw: string; height: number }> {
  const invoice = await shop.ask()
  const txid = await anvil.send({ to: invoice.address, value: BigInt(invoice.amount) })
  const { blockNumber } = await anvil.mined(txid)
  await anvil.mine(2)
  await shop.until(invoice.id, (view) => view.state === 'paid')
  return { id: invoice.id, raw: await anvil.rawTransaction(txid), height: Number(blockNumber) }
}

describe('a chain that forked below finality', () => {
  it('goes on from a block that a human vouches for: what moved stays, what left is taken back', async () => {
    const kept = await paid()
    const moved = await paid()
    const gone = await paid()
    await anvil.mine(8)
    await shop.caughtUp()
    await anvil.reorg((await anvil.height()) - kept.height - 2)
    await anvil.sendRaw(moved.raw)
    await anvil.mine(12)
    await halted()
    expect(await shop.till.available('acc')).toBe(300n * CREDIT)
    await expect(shop.ask()).rejects.toMatchObject({ code: 'chain_unavailable' })

    await expect(resume()).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(/still forked below/),
    })
    await expect(resume(1_000)).rejects.toMatchObject({ code: 'invalid_request' })
    // Too high: a payment below it has moved.
    await expect(resume(gone.height)).rejects.toMatchObject({ code: 'invalid_request' })
    expect(await resume(kept.height)).toMatchObject({ height: kept.height, forked: true })
    await expect(resume(kept.height)).rejects.toMatchObject({ code: 'conflict' })
    // Whoever watched until now starts anew, without waiting for its next look.
    await shop.unwatch()
    await shop.watch()
    await shop.until(gone.id, (view) => view.state === 'reversed')
    expect(await shop.till.available('acc')).toBe(200n * CREDIT)
    expect((await shop.view(kept.id)).state).toBe('paid')
    expect((await shop.view(moved.id)).state).toBe('paid')
    expect(await shop.till.posted()).toEqual({ grant: 300n * CREDIT, reverse: -100n * CREDIT })

    await anvil.sendRaw(gone.raw)
    await anvil.mine(2)
    await shop.until(gone.id, (view) => view.state === 'paid')
    expect(await shop.till.available('acc')).toBe(300n * CREDIT)
  })

  it('goes on where it was when the fork turns out to be none', async () => {
    const before = await paid()
    await shop.unwatch()
    const snapshot = await anvil.snapshot()
    await anvil.mine()
    await shop.till.db.commit([{ sql: "UPDATE chain_cursor SET halted = 'a deep fork'", args: [] }])
    await anvil.revert(snapshot)
    expect(await resume()).toMatchObject({ forked: false })
    await shop.watch()
    const after = await paid()
    expect([before, after].every(({ id }) => id !== '')).toBe(true)
    expect(await shop.till.available('acc')).toBe(200n * CREDIT)
  })

  it('fences whoever had the lease before', async () => {
    const [before] = await shop.till.db.query<{ fence: bigint }>('SELECT fence FROM lease')
    await shop.unwatch()
    await shop.till.db.commit([{ sql: "UPDATE chain_cursor SET halted = 'a deep fork'", args: [] }])
    await resume()
    const [after] = await shop.till.db.query<{ fence: bigint }>('SELECT fence FROM lease')
    expect(after?.fence).toBe((before?.fence ?? 0n) + 1n)
  })

  it('is not resumed unless it is halted, or was ever watched', async () => {
    await expect(resume()).rejects.toMatchObject({ code: 'conflict' })
    const other = await openShop({ anvil })
    await expect(resumeChain(other.till.ctx, other.till.chain('local'))).rejects.toMatchObject({
      code: 'not_found',
    })
    await other.close()
  })

  it('is reported as it is', async () => {
    const invoice = await shop.ask()
    await anvil.mined(await anvil.send({ to: invoice.address, value: 5n * 10n ** 15n }))
    await shop.until(invoice.id, ({ payments }) => payments.length === 1)
    const report = await reportChain(shop.till.ctx, shop.till.chain('local'))
    expect(report).toMatchObject({
      chain: 'local',
      height: await anvil.height(),
      halted: null,
      waiting: 1,
      stalled: false,
      endpoints: [{ height: await anvil.height(), internal: 'traced' }],
    })
  })
})
