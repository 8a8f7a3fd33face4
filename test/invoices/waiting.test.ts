/** What a payment waits for, as every process that shares the database tells it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { statement } from '../../src/db/db.ts'
import { settle } from '../../src/invoices/settle.ts'
import { ask, at, close, LOCK_END, lease, market, open, pay, T0, till, view } from './counter.ts'
import { blockAt, stepTo } from './till.ts'

beforeEach(() => open())
afterEach(close)

const waits = async (id: string) => (await view(id)).payments.map(({ waiting_for }) => waiting_for)
const rows = () => till.db.query('SELECT subject, reason, since FROM waiting')
const late = { block: blockAt(101, LOCK_END + 1_000) }

describe('a payment waits for', () => {
  it('its block, then its confirmations, then nothing', async () => {
    const invoice = await ask()
    await at({ height: 100, pending: [pay(invoice, 101, { block: null })] })
    expect(await waits(invoice.id)).toEqual(['a block: it is not mined yet'])
    await at({ height: 101, transfers: [pay(invoice, 101)] })
    expect(await waits(invoice.id)).toEqual(['1 of 3 confirmations'])
    await at({ height: 103 })
    expect(await waits(invoice.id)).toEqual([null])
    expect(await rows()).toEqual([])
  })

  it('a rate, once it is deep enough and there is none', async () => {
    const invoice = await ask()
    till.clock.now = LOCK_END + 5_000
    market.eth = null
    await at({ height: 101, transfers: [pay(invoice, 101, late)] })
    await at({ height: 112 })
    expect(await waits(invoice.id)).toEqual(['a current rate of ETH'])
    const since = await rows()
    till.clock.now += 30_000
    await at({ height: 113 })
    expect(await rows(), 'written once').toEqual(since)
    market.eth = 2500
    await at({ height: 114 })
    expect(await waits(invoice.id)).toEqual([null])
    expect(await rows()).toEqual([])
  })

  it('the seller, when it is worth more than the ledger takes at once; others are credited', async () => {
    const [huge, small] = [await ask(), await ask()]
    const billions = pay(huge, 101, {}, 10n ** 24n)
    await at({
      height: 101,
      transfers: [billions, pay(small, 101, { key: 'local:0xbb:trace:', txid: '0xbb' })],
    })
    await at({ height: 130 })
    expect(await waits(huge.id)).toEqual(['the seller: it is worth more credits than one grant can be'])
    expect(await waits(small.id)).toEqual([null])
    expect(await till.posted()).toEqual({ grant: 100_000_000n })
  })

  it('a second endpoint, until it shows it or the payment has gone', async () => {
    const chain = { ...till.chain('local'), vouch: () => Promise.resolve(new Set<string>()) }
    const invoice = await ask()
    await at({ height: 101, transfers: [pay(invoice, 101)] })
    await settle(till.ctx, chain, stepTo({ height: 104 }), lease)
    expect(await waits(invoice.id)).toEqual([
      'a second endpoint of local that shows it: they disagree about it',
    ])
    await at({ height: 105, branch: 'other', forkedAt: 100 })
    expect(await waits(invoice.id)).toEqual([null])
    expect(await rows()).toEqual([])
  })

  it('the seller, when its chain is halted or the till was restored', async () => {
    const invoice = await ask()
    await at({ height: 101, transfers: [pay(invoice, 101)] })
    await till.db.commit([statement("UPDATE chain_cursor SET halted = 'a deep fork' WHERE chain = 'local'")])
    expect(await waits(invoice.id)).toEqual([
      'the seller, who has to look at local: it is halted (a deep fork)',
    ])
    await till.db.commit([
      statement('UPDATE chain_cursor SET halted = NULL'),
      statement("INSERT INTO restore (id, backup_at) VALUES ('b', 1)"),
    ])
    expect((await waits(invoice.id))[0]).toMatch(/halted \(the till was restored from a backup/)
  })

  it('whoever should be reading its chain, and is not', async () => {
    const invoice = await ask()
    await at({ height: 101, transfers: [pay(invoice, 101)] })
    till.clock.now += 119_000
    expect(await waits(invoice.id)).toEqual(['1 of 3 confirmations'])
    till.clock.now += 2_000
    expect(await waits(invoice.id)).toEqual([
      `local to be read: it was last read at ${new Date(T0).toISOString()}`,
    ])
  })

  it('what another process has left word of', async () => {
    const invoice = await ask()
    await at({ height: 101, transfers: [pay(invoice, 101)] })
    const leave = (reason: string) =>
      till.db.commit([
        statement('REPLACE INTO waiting VALUES (?, ?, ?)', ['chain:local', reason, BigInt(T0)]),
      ])
    const since = new Date(T0).toISOString()
    await leave('endpoints')
    expect(await waits(invoice.id)).toEqual([`the endpoints of local to agree: they disagree since ${since}`])
    await leave('unreachable')
    expect(await waits(invoice.id)).toEqual([
      `local to be readable: none of its endpoints answers since ${since}`,
    ])
    await leave('finality')
    expect(await waits(invoice.id)).toEqual([`a final block: finality of local has stalled since ${since}`])
    await at({ height: 102 })
    expect(await waits(invoice.id), 'the next step that works ends it').toEqual(['2 of 3 confirmations'])
  })
})
