import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Db } from '../../src/db/db.ts'
import { tallyInvoices } from '../../src/invoices/tally.ts'
import { takeReadings } from '../../src/readings.ts'
import { ask, at, book, close, LOCK_END, open, pay, T0, till } from './counter.ts'
import { blockAt, stepTo } from './till.ts'

const DAY = 86_400_000

beforeEach(() => open())
afterEach(close)

it('counts invoices by their state now, those that ended a week ago no more, and says how far chains are read', async () => {
  const [paid, part, waiting, undone] = [await ask(), await ask(), await ask(), await ask()]
  await ask()
  await at({
    height: 101,
    transfers: [
      pay(paid, 101, { txid: '0x01' }),
      pay(part, 101, { txid: '0x02' }, BigInt(part.amount) / 2n),
      pay(undone, 101, { txid: '0x03' }),
    ],
  })
  await at({ height: 104, transfers: [pay(waiting, 104, { txid: '0x04' })] })
  // What was credited in block 101 leaves with it; the first payment is mined again.
  await at({
    height: 105,
    branch: 'b',
    forkedAt: 100,
    transfers: [
      pay(paid, 101, { txid: '0x01', block: blockAt(101, T0 + 101, 'b') }),
      pay(waiting, 104, { txid: '0x04', block: blockAt(104, T0 + 104, 'b') }),
    ],
  })
  const counts = { open: 1, partial: 0, processing: 1, paid: 1, expired: 0, reversed: 2 }
  expect((await takeReadings(till.ctx)).invoices).toEqual(counts)
  till.clock.now = LOCK_END
  const { invoices, holds, chains } = await takeReadings(till.ctx)
  expect(invoices).toEqual({ ...counts, open: 0, expired: 1 })
  expect(holds).toEqual({ open: 0, micro: 0n })
  expect(chains.find(({ chain }) => chain === 'local')).toEqual({
    chain: 'local',
    blocksBehind: 0,
    readSecondsAgo: 900,
    halted: false,
  })
  await book({ ...stepTo({ height: 106, branch: 'b', caughtUp: false }), tip: blockAt(130, T0, 'b') })
  expect((await takeReadings(till.ctx)).chains).toContainEqual({
    chain: 'local',
    blocksBehind: 24,
    readSecondsAgo: 0,
    halted: false,
  })
  till.clock.now = LOCK_END + 7 * DAY
  expect((await takeReadings(till.ctx)).invoices).toEqual({
    open: 0,
    partial: 0,
    processing: 0,
    paid: 0,
    expired: 0,
    reversed: 0,
  })
})

it('counts them page by page, and those of a server in one', async () => {
  const paid = await ask()
  for (let more = 0; more < 130; more++) await ask()
  await at({ height: 103, transfers: [pay(paid, 101)] })
  const asked = async (overlaps: boolean) => {
    let pages = 0
    const query: Db['query'] = (sql, args) => {
      if (sql.includes('FROM invoice i')) pages++
      return till.db.query(sql, args)
    }
    const { invoices } = await takeReadings({ ...till.ctx, db: { ...till.db, overlaps, query } })
    expect(invoices).toMatchObject({ open: 130, paid: 1 })
    return pages
  }
  expect(await asked(true)).toBe(2)
  expect(await asked(false)).toBe(1)
})

it('reads those that were paid a part at a time, also of a server', async () => {
  const ids = Array.from({ length: 3_000 }, (_, n) => `inv_${n}`)
  const sizes: number[] = []
  let pages = 0
  const query = async (sql: string, [given]: readonly unknown[] = []): Promise<unknown[]> => {
    if (!sql.includes('FROM invoice i')) {
      sizes.push((JSON.parse(String(given)) as string[]).length)
      return []
    }
    return pages++ === 0 ? ids.map((id) => ({ id, expires_at: BigInt(T0), is_touched: 1n })) : []
  }
  const db: Db = { ...till.db, overlaps: false, query: query as Db['query'] }
  await tallyInvoices({ ...till.ctx, db })
  // Each part twice: the invoices, and what was paid to them.
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(2 * ids.length)
  expect(Math.max(...sizes)).toBeLessThanOrEqual(1_024)
})
