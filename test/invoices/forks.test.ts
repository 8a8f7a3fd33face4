/**
 * Invariant 3 against random histories: whatever forks, returns, restarts and repeats a chain goes through, in the end
 * the credits are those of the payments on its best chain, each epoch posted once and closed at most once.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { InvoiceView } from '../../src/bursar.ts'
import type { Block, Step, Transfer } from '../../src/chains/chain.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { readCursor } from '../../src/invoices/cursor.ts'
import { DUST_USD } from '../../src/invoices/pricing.ts'
import { settle } from '../../src/invoices/settle.ts'
import { getInvoice } from '../../src/invoices/view.ts'
import { verifyDatabase } from '../../src/ledger/verify/verify.ts'
import { openTill, type Till, transferTo } from './till.ts'

const T0 = Date.UTC(2026, 10, 1)
const LOCK_END = T0 + 900_000
const START = 100

interface Mined extends Block {
  readonly transfers: readonly Transfer[]
}

/** A chain that forks, as a node would show it. */
function createChain() {
  const blocks = new Map<number, Mined>()
  let tip = START
  let serial = 0
  for (let height = 0; height <= START; height++) {
    blocks.set(height, { height, hash: `${height}:main`, time: T0, transfers: [] })
  }
  const at = (height: number): Mined => {
    const block = blocks.get(height)
    if (!block) throw new Error(`no block ${height}`)
    return block
  }
  return {
    /** Transactions of dropped blocks; each may be mined again. */
    dropped: [] as Transfer[],
    mine(transfers: readonly Transfer[], time: number) {
      tip++
      serial++
      const block = { height: tip, hash: `${tip}:${serial}`, time }
      blocks.set(tip, { ...block, transfers: transfers.map((transfer) => ({ ...transfer, block })) })
    },
    drop(depth: number) {
      for (let i = 0; i < depth && tip > START; i++, tip--) {
        this.dropped.push(...at(tip).transfers)
        blocks.delete(tip)
      }
    },
    all: () => [...blocks.values()].flatMap((block) => block.transfers),
    step(cursor: Step['cursor'], maxBlocks: number): Step | null {
      const stands = cursor.recent.filter(([height, hash]) => blocks.get(height)?.hash === hash)
      const ancestor = stands.at(-1)
      if (!ancestor) throw new Error('forked below what the cursor remembers')
      const forked = ancestor[0] < cursor.height
      // A node that is merely behind.
      if (forked && ancestor[0] === tip) return null
      const to = Math.min(tip, Math.max(ancestor[0] + maxBlocks, cursor.height))
      const read = Array.from({ length: to - ancestor[0] }, (_, i) => at(ancestor[0] + 1 + i))
      const recent = [...stands, ...read.map((block) => [block.height, block.hash] as const)].slice(-13)
      const { height, hash } = at(to)
      return {
        cursor: { height, hash, recent },
        tip: at(tip),
        finalized: null,
        forkedAt: forked ? ancestor[0] : null,
        transfers: read.flatMap((block) => block.transfers),
        pending: [],
        pendingWhole: to === tip,
        caughtUp: to === tip,
      }
    },
  }
}

type Op =
  | { readonly do: 'pay'; readonly invoice: number; readonly share: number; readonly late: boolean }
  | { readonly do: 'mine'; readonly blocks: number }
  | { readonly do: 'fork'; readonly depth: number; readonly again: number; readonly late: boolean }
  | { readonly do: 'read'; readonly maxBlocks: number; readonly repeats: number }
  | { readonly do: 'restart' }

const late = fc.boolean()
const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('pay' as const),
      invoice: fc.nat(1),
      share: fc.integer({ min: 0, max: 15 }),
      late,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('mine' as const), blocks: fc.integer({ min: 1, max: 4 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('fork' as const),
      depth: fc.integer({ min: 1, max: 6 }),
      again: fc.nat(3),
      late,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('read' as const),
      maxBlocks: fc.integer({ min: 1, max: 5 }),
      repeats: fc.nat(1),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
)

async function play(ops: readonly Op[]): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'bursar-forks-'))
  let till = await openTill({ at: T0, dir })
  try {
    await till.account('acc')
    await till.seedCursor('local', START)
    const ask = (pack: string) => createInvoice(till.ctx, { account: 'acc', rail: 'local:ETH', pack })
    const invoices = [await ask('small'), await ask('sale')]
    const chain = createChain()
    let lease = await till.lease('local')
    let serial = 0

    const read = async (maxBlocks: number, repeats: number): Promise<boolean> => {
      const stored = await readCursor(till.db, 'local')
      const step = stored && chain.step(stored.cursor, maxBlocks)
      if (!step) return true
      for (let i = 0; i <= repeats; i++) {
        const { changed } = await settle(till.ctx, till.chain('local'), step, lease)
        if (i > 0) expect(changed).toBe(false)
      }
      return step.caughtUp
    }

    for (const each of ops) {
      till.clock.now += 1_000
      if (each.do === 'pay') {
        const invoice = invoices[each.invoice] as InvoiceView
        const amount = (BigInt(invoice.amount) * BigInt(each.share)) / 10n + 1n
        const transfer = transferTo(invoice.address, amount, { txid: `0x${serial++}`, block: null })
        chain.mine([transfer], each.late ? LOCK_END : T0)
      } else if (each.do === 'mine') {
        for (let i = 0; i < each.blocks; i++) chain.mine([], T0)
      } else if (each.do === 'fork') {
        chain.drop(each.depth)
        const back = chain.dropped.splice(0, each.again)
        chain.mine(back, each.late ? LOCK_END : T0)
        for (let i = 0; i < each.depth; i++) chain.mine([], T0)
      } else if (each.do === 'read') {
        await read(each.maxBlocks, each.repeats)
      } else {
        await till.close()
        till = await openTill({ at: till.clock.now, dir })
        lease = await till.lease('local')
      }
      // A watcher that keeps up: deeper forks halt, and that has a test of its own.
      if (each.do === 'fork') await read(10, 0)
    }
    for (let i = 0; i < 3; i++) chain.mine([], T0)
    while (!(await read(5, 1)));
    await check(till, invoices, chain.all())
    const { findings } = await verifyDatabase({ url: till.url, runtime: till.ctx.runtime })
    expect(findings).toEqual([])
  } finally {
    await till.close()
    rmSync(dir, { recursive: true, force: true })
  }
}

/** At a fixed market, which equals the locked rate, a payment is worth its own value whatever came before it. */
async function check(
  till: Till,
  invoices: readonly InvoiceView[],
  mined: readonly Transfer[],
): Promise<void> {
  let total = 0n
  for (const invoice of invoices) {
    const paid = mined.filter((transfer) => transfer.to === invoice.address)
    // $2,500 for 10^18 wei, $0.10 a credit: a micro-credit is 40,000,000 wei.
    const worth = paid.map(({ amount }) => (usdOf(amount) < DUST_USD ? 0n : amount / 40_000_000n))
    const inTime = paid.filter((transfer, i) => transfer.block?.time === T0 && worth[i] !== 0n)
    const filled = inTime.reduce((sum, { amount }) => sum + amount, 0n) >= BigInt(invoice.amount)
    const discount = invoice.usd === '8.00' && filled ? 20_000_000n : 0n
    const expected = worth.reduce((sum, credits) => sum + credits, 0n) + discount
    const now = await getInvoice(till.ctx, { account: 'acc', id: invoice.id })
    expect(BigInt(now.credits_granted.replace('.', ''))).toBe(expected)
    total += expected
  }
  expect(await till.available('acc')).toBe(total)
  const open = await till.db.query<{ ref: string; n: bigint; sum: bigint }>(
    'SELECT ref, count(*) AS n, sum(available) AS sum FROM posting GROUP BY ref',
  )
  for (const { n, sum } of open) expect(n === 1n ? sum > 0n : n === 2n && sum === 0n).toBe(true)
}

function usdOf(wei: bigint): bigint {
  return (wei * 2500n) / 10n ** 12n
}

describe('random forks', () => {
  it('leave exactly the credits of the best chain', async () => {
    await fc.assert(fc.asyncProperty(fc.array(op, { minLength: 5, maxLength: 30 }), play), { numRuns: 60 })
  })
})
