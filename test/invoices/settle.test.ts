import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { statement } from '../../src/db/db.ts'
import { acquireLease } from '../../src/db/lease.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { settle } from '../../src/invoices/settle.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import {
  ask,
  at,
  book,
  CREDIT,
  close,
  LOCK_END,
  lease,
  market,
  open,
  pay,
  rates,
  snapshot,
  T0,
  take,
  till,
  view,
} from './counter.ts'
import { blockAt, NOWHERE, openTill, stepTo, transferTo } from './till.ts'

beforeEach(() => open())
afterEach(close)

describe('a payment', () => {
  it('is detected, confirms, and is credited once, with events in order', async () => {
    const invoice = await ask()
    await at({ height: 101, transfers: [pay(invoice, 101)] })
    expect(await view(invoice.id)).toMatchObject({
      state: 'processing',
      missing: '0',
      credits_granted: '0.000000',
      payments: [
        { state: 'confirming', block: 101, confirmations: 1, confirmations_needed: 3, credits: '0.000000' },
      ],
    })
    await at({ height: 102 })
    expect(await till.available('acc')).toBe(0n)
    await at({ height: 103 })
    expect(await view(invoice.id)).toMatchObject({
      state: 'paid',
      flags: [],
      credits_granted: '100.000000',
      payments: [
        { state: 'credited', confirmations: 3, credits: '100.000000', rail: 'local:ETH', txid: '0xaa' },
      ],
    })
    await at({ height: 110 })
    expect(await till.available('acc')).toBe(100n * CREDIT)
    expect(await till.posted()).toEqual({ grant: 100n * CREDIT })
    expect(await till.events()).toEqual(['invoice.detected', 'invoice.paid'])
  })

  it('is credited when the chain calls its block final, however few blocks that took', async () => {
    const invoice = await ask()
    await at({ height: 101, transfers: [pay(invoice, 101)], finalized: 100 })
    expect(await till.available('acc')).toBe(0n)
    await at({ height: 102, finalized: 101 })
    expect(await till.available('acc')).toBe(100n * CREDIT)
  })

  it('counts confirmations to where the chain has been read, not to its tip', async () => {
    const invoice = await ask()
    const step = stepTo({ height: 101, transfers: [pay(invoice, 101)], caughtUp: false })
    await book({ ...step, tip: blockAt(500, T0) })
    expect((await view(invoice.id)).payments[0]).toMatchObject({ state: 'confirming', confirmations: 1 })
  })

  it('booked twice changes nothing, at any point of its life', async () => {
    const invoice = await ask({ credits: undefined, pack: 'sale' })
    const steps = [
      stepTo({ height: 101, transfers: [pay(invoice, 101)] }),
      stepTo({ height: 103 }),
      stepTo({ height: 102, branch: 'b', forkedAt: 100 }),
      stepTo({
        height: 106,
        branch: 'b',
        transfers: [pay(invoice, 103, { block: blockAt(103, T0 + 5, 'b') })],
      }),
    ]
    for (const step of steps) {
      await book(step)
      const before = await snapshot()
      till.clock.now += 1_000
      await expect(book(step)).resolves.toEqual({ changed: false, halted: false })
      expect(await snapshot()).toEqual(before)
    }
    expect(await till.available('acc')).toBe(100n * CREDIT)
  })

  it('to an address without an invoice is kept, and credited to nobody', async () => {
    const used = till.chain('local').recipient(0).address
    await createInvoice(
      { ...till.ctx, hasHistory: async (_, address) => address === used },
      { account: 'acc', rail: 'local:ETH', credits: '100' },
    )
    await at({ height: 101, transfers: [transferTo(used, 5n * 10n ** 15n, { block: blockAt(101, T0) })] })
    await at({ height: 120 })
    const rows = await till.db.query('SELECT invoice, state, amount FROM payment')
    expect(rows).toEqual([{ invoice: null, state: 'confirming', amount: '5000000000000000' }])
    expect(await till.posted()).toEqual({})
    expect(await till.events()).toEqual([])
  })

  it('needs as many confirmations as its value asks for, the most when it cannot be valued', async () => {
    await close()
    await open({
      config: {
        chains: {
          local: {
            rpc: [NOWHERE],
            chain_id: 31337,
            assets: ['ETH', 'USDC'],
            tokens: { USDC: { contract: `0x${'5'.repeat(40)}`, decimals: 6 } },
            confirmations: [{ up_to_usd: '5', blocks: 1 }, { up_to_usd: '50', blocks: 4 }, { blocks: 9 }],
            finality_blocks: 20,
          },
        },
      },
    })
    const invoice = await ask()
    const eth = (txid: string, amount: bigint) => pay(invoice, 101, { txid }, amount)
    await at({
      height: 101,
      transfers: [eth('0x1', 2n * 10n ** 15n), eth('0x2', 4n * 10n ** 15n), eth('0x3', 10n ** 17n)],
    })
    market.eth = null
    await at({ height: 102, transfers: [pay(invoice, 102, { txid: '0x4', symbol: 'USDC' }, 1_000_000n)] })
    const { payments } = await view(invoice.id)
    expect(payments.map((payment) => payment.confirmations_needed)).toEqual([1, 4, 9, 9])
  })
})

describe('amounts', () => {
  it('too little is partial, the rest makes it paid', async () => {
    const invoice = await ask()
    const half = BigInt(invoice.amount) / 2n
    await at({ height: 103, transfers: [pay(invoice, 101, {}, half)] })
    expect(await view(invoice.id)).toMatchObject({
      state: 'partial',
      flags: ['under'],
      missing: half.toString(),
      credits_granted: '50.000000',
      payment_uri: expect.stringContaining(`value=${half}`),
    })
    await at({ height: 110, transfers: [pay(invoice, 104, { txid: '0xbb' }, half)] })
    expect(await view(invoice.id)).toMatchObject({
      state: 'paid',
      missing: '0',
      credits_granted: '100.000000',
    })
    expect(await till.events()).toEqual([
      'invoice.detected',
      'invoice.partial',
      'invoice.detected',
      'invoice.paid',
    ])
  })

  it('too much is credited too, the excess at the lower rate', async () => {
    const invoice = await ask()
    market.eth = 1250
    await at({ height: 105, transfers: [pay(invoice, 101, {}, 2n * BigInt(invoice.amount))] })
    expect(await view(invoice.id)).toMatchObject({
      state: 'paid',
      flags: ['over'],
      credits_granted: '150.000000',
    })
    expect(await till.events()).toEqual(['invoice.detected', 'invoice.paid', 'invoice.overpaid'])
  })

  it('dust is kept, never credited, and does not become a problem after a fork', async () => {
    const invoice = await ask()
    await at({ height: 105, transfers: [pay(invoice, 101, {}, 1_000n)] })
    expect(await view(invoice.id)).toMatchObject({
      state: 'open',
      missing: invoice.amount,
      payments: [{ state: 'failed', amount: '1000', credits: '0.000000' }],
    })
    await at({ height: 106, branch: 'b', forkedAt: 100 })
    expect((await view(invoice.id)).payments[0]?.state).toBe('orphaned')
    expect(await till.posted()).toEqual({})
  })

  it('what is missing is never less than what would be credited', async () => {
    const invoice = await ask()
    const cent = 4_000_000_000_000n
    await at({ height: 103, transfers: [pay(invoice, 101, {}, BigInt(invoice.amount) - cent / 2n)] })
    expect(await view(invoice.id)).toMatchObject({ state: 'partial', missing: `${cent}` })
    await at({ height: 110, transfers: [pay(invoice, 104, { txid: '0xbb' }, cent)] })
    expect(await view(invoice.id)).toMatchObject({ state: 'paid', missing: '0' })
  })

  it('in time is not late because another one comes afterwards', async () => {
    const invoice = await ask()
    await at({ height: 101, transfers: [pay(invoice, 101)] })
    till.clock.now = LOCK_END + 1_000
    await take('local')
    await at({
      height: 102,
      transfers: [pay(invoice, 102, { txid: '0xbb', block: blockAt(102, LOCK_END + 1_000) })],
    })
    await at({ height: 103 })
    expect(await view(invoice.id)).toMatchObject({ state: 'paid', flags: ['late', 'over'] })
    await at({ height: 104 })
    expect(await till.events()).toEqual([
      'invoice.detected',
      'invoice.detected',
      'invoice.paid',
      'invoice.overpaid',
    ])
  })

  it('a pack grants its price undiscounted and its discount by itself', async () => {
    const invoice = await ask({ credits: undefined, pack: 'sale' })
    const half = BigInt(invoice.amount) / 2n
    await at({ height: 103, transfers: [pay(invoice, 101, {}, half)] })
    expect(await till.posted()).toEqual({ grant: 40n * CREDIT })
    await at({ height: 110, transfers: [pay(invoice, 104, { txid: '0xbb' }, half)] })
    expect(await till.posted()).toEqual({ grant: 80n * CREDIT, discount: 20n * CREDIT })
    expect((await view(invoice.id)).credits_granted).toBe('100.000000')
  })
})

describe('time', () => {
  it('a late payment counts at the lower rate and earns no discount', async () => {
    const invoice = await ask({ credits: undefined, pack: 'sale' })
    till.clock.now = LOCK_END + 60_000
    market.eth = 1250
    await at({ height: 101 })
    expect((await view(invoice.id)).state).toBe('expired')
    await at({ height: 110, transfers: [pay(invoice, 102, { block: blockAt(102, LOCK_END) })] })
    expect(await view(invoice.id)).toMatchObject({
      state: 'paid',
      flags: ['late'],
      credits_granted: '40.000000',
    })
    expect(await till.posted()).toEqual({ grant: 40n * CREDIT })
    expect(await till.events()).toEqual(['invoice.expired', 'invoice.detected', 'invoice.paid_late'])
  })

  it('what counts is the block, not when we read it', async () => {
    const invoice = await ask({ credits: undefined, pack: 'sale' })
    till.clock.now = LOCK_END + 3_600_000
    market.eth = 1250
    await at({ height: 110, transfers: [pay(invoice, 102, { block: blockAt(102, LOCK_END - 1) })] })
    expect(await view(invoice.id)).toMatchObject({ state: 'paid', flags: [], credits_granted: '100.000000' })
  })

  it('an invoice expires once, whatever happens around that moment', async () => {
    const invoice = await ask()
    await at({ height: 101 })
    till.clock.now = LOCK_END - 1
    await at({ height: 102 })
    expect(await till.events()).toEqual([])
    till.clock.now = LOCK_END
    // No new block: the lock ends all the same.
    await at({ height: 102 })
    await at({ height: 102 })
    await at({ height: 103 })
    // Another chain, last settled long before, looks at the same invoice.
    await take('side')
    const little = pay(invoice, 101, { chain: 'side' }, 10n ** 15n)
    await book(stepTo({ height: 101, transfers: [little] }), 'side')
    expect(await till.events()).toEqual(['invoice.expired', 'invoice.detected'])
    expect((await view(invoice.id)).state).toBe('expired')
  })

  it('an invoice expires once, though the clock is set back, or is behind in the process that takes over', async () => {
    const invoice = await ask()
    till.clock.now = LOCK_END + 5_000
    await at({ height: 101 })
    till.clock.now = LOCK_END - 5_000
    await at({ height: 102 })
    till.clock.now = LOCK_END + 7_000
    await at({ height: 103 })
    expect(await till.events()).toEqual(['invoice.expired'])
    expect((await view(invoice.id)).state).toBe('expired')
  })

  it('a confirmed payment that needs a current rate waits for one', async () => {
    const invoice = await ask()
    const twice = 2n * BigInt(invoice.amount)
    await at({ height: 101, transfers: [pay(invoice, 101, {}, twice)] })
    market.eth = null
    await at({ height: 110 })
    expect((await view(invoice.id)).payments[0]?.state).toBe('confirming')
    market.eth = 2500
    await at({ height: 110 })
    expect(await view(invoice.id)).toMatchObject({ state: 'paid', credits_granted: '200.000000' })
  })
})

describe('the wrong coin or chain', () => {
  it('another coin of the chain counts at its current rate', async () => {
    const invoice = await ask()
    await at({ height: 110, transfers: [pay(invoice, 101, { symbol: 'USDC' }, 10_000_000n)] })
    expect(await view(invoice.id)).toMatchObject({
      state: 'paid',
      credits_granted: '100.000000',
      payments: [{ rail: 'local:USDC', credits: '100.000000' }],
    })
    expect(await till.events()).toEqual(['invoice.detected', 'invoice.paid'])
  })

  it('the same address on another chain counts too, and halves on two chains make one whole', async () => {
    const invoice = await ask()
    const half = BigInt(invoice.amount) / 2n
    await at({ height: 110, transfers: [pay(invoice, 101, {}, half)] })
    await take('side')
    market.eth = 5000
    const elsewhere = pay(invoice, 101, { chain: 'side', txid: '0xcc' }, half)
    await book(stepTo({ height: 110, transfers: [elsewhere] }), 'side')
    // Dearer ETH does not make the other chain the better one to pay on.
    expect(await view(invoice.id)).toMatchObject({ state: 'paid', flags: [], credits_granted: '100.000000' })
    expect(await till.events()).toEqual([
      'invoice.detected',
      'invoice.partial',
      'invoice.detected',
      'invoice.paid',
    ])
  })
})

describe('two chains at once', () => {
  it('see each other: what both pay together is paid once', async () => {
    const sideLease = await till.lease('side')
    for (let i = 0; i < 5; i++) {
      const invoice = await ask()
      const half = BigInt(invoice.amount) / 2n
      const [txid, height] = [`0x${i}`, 110 + i]
      const here = stepTo({ height, transfers: [pay(invoice, height - 5, { txid }, half)] })
      const there = stepTo({ height, transfers: [pay(invoice, height - 5, { chain: 'side', txid }, half)] })
      await Promise.all([
        settle(till.ctx, till.chain('local'), here, lease),
        settle(till.ctx, till.chain('side'), there, sideLease),
      ])
      expect((await view(invoice.id)).state).toBe('paid')
      expect((await till.events()).filter((type) => type === 'invoice.paid')).toHaveLength(i + 1)
    }
  })
})

describe('the commit', () => {
  it('is refused when another process has the lease, and leaves no trace', async () => {
    const invoice = await ask()
    const [stale] = [lease]
    await till.db.commit([statement("UPDATE lease SET expires_at = 0 WHERE name = 'watch:local'")])
    const other = await acquireLease(till.ctx, { name: 'watch:local', holder: 'other', ttlMs: 1_000 })
    expect(other?.fence).toBe(stale.fence + 1n)
    const before = await snapshot()
    await expect(at({ height: 105, transfers: [pay(invoice, 101)] })).rejects.toMatchObject({
      code: 'conflict',
    })
    expect(await snapshot()).toEqual(before)
  })

  it('is whole or not at all: a crash in between books nothing, and the same step books it all', async () => {
    const invoice = await ask({ credits: undefined, pack: 'sale' })
    const before = await snapshot()
    const broken = {
      ...till.db,
      commit: (statements: Parameters<typeof till.db.commit>[0]) =>
        till.db.commit([...statements, statement('INSERT INTO guard VALUES (1)')]),
    }
    const step = stepTo({ height: 105, transfers: [pay(invoice, 101)] })
    await expect(settle({ ...till.ctx, db: broken }, till.chain('local'), step, lease)).rejects.toThrow()
    expect(await snapshot()).toEqual(before)
    await book(step)
    expect(await till.available('acc')).toBe(100n * CREDIT)
  })

  it('refuses a step that was read from an older cursor', async () => {
    await at({ height: 105 })
    await expect(at({ height: 104 })).rejects.toMatchObject({ code: 'conflict' })
  })

  it('goes on after a restart from what is stored', async () => {
    const invoice = await ask()
    await at({ height: 101, transfers: [pay(invoice, 101)] })
    const again = await openTill({ at: T0, dir: till.dir, rates: () => rates })
    await settle(again.ctx, again.chain('local'), stepTo({ height: 104 }), lease)
    await again.close()
    expect((await view(invoice.id)).state).toBe('paid')
  })

  it('is made from time to time on a quiet chain, as a sign of life', async () => {
    const step = stepTo({ height: 100 })
    till.clock.now += 29_999
    await expect(book(step)).resolves.toEqual({ changed: false, halted: false })
    till.clock.now += 1
    await expect(book(step)).resolves.toEqual({ changed: true, halted: false })
    const [row] = await till.db.query("SELECT updated_at FROM chain_cursor WHERE chain = 'local'")
    expect(row).toEqual({ updated_at: BigInt(T0 + 30_000) })
  })

  it('tells waiters of this process', async () => {
    const invoice = await ask()
    const told = till.ctx.changes.wait(invoice.id, AbortSignal.timeout(PATIENCE_MS))
    await at({ height: 101, transfers: [pay(invoice, 101)] })
    await expect(told).resolves.toBeUndefined()
  })

  it('writes events that carry the invoice as it is after the commit', async () => {
    const invoice = await ask()
    await at({ height: 105, transfers: [pay(invoice, 101)] })
    const rows = await till.db.query<{ subject: string; payload: string }>(
      'SELECT subject, payload FROM outbox ORDER BY id',
    )
    expect(rows.map((row) => row.subject)).toEqual([invoice.id, invoice.id])
    expect(JSON.parse(rows[1]?.payload ?? '')).toEqual({
      type: 'invoice.paid',
      timestamp: '2026-11-01T00:00:00.000Z',
      data: { account: 'acc', invoice: await view(invoice.id) },
    })
  })
})
