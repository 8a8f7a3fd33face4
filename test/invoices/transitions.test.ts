/** The table of src/invoices/transitions.ts, every cell: what a payment was, and what a step says about it. */
import { describe, expect, it } from 'vitest'
import type { PaymentState } from '../../src/bursar.ts'
import type { Step, Transfer } from '../../src/chains/chain.ts'
import type { PaymentRecord } from '../../src/invoices/records.ts'
import { observe } from '../../src/invoices/transitions.ts'
import { blockAt, type StepParts, stepTo, transferTo } from './till.ts'

const NOW = 5_000
/** The block that a mined payment was in. */
const BLOCK = blockAt(101, 1_000)

const MINED: ReadonlySet<PaymentState> = new Set(['confirming', 'credited', 'failed'])
const PRICING = {
  inTime: true,
  locked: 10n,
  lockedPriceE8: 1n,
  rest: 0n,
  restPriceE8: null,
  source: null,
  at: null,
  usd: 1n,
}

/** A payment in a state, as it would be stored; credited and reversed ones have had their first epoch. */
function payment(state: PaymentState): PaymentRecord {
  const mined = MINED.has(state)
  const credited = state === 'credited'
  return {
    key: 'bitcoin:aa:0',
    chain: 'bitcoin',
    symbol: 'BTC',
    txid: 'aa',
    address: 'addr',
    amount: 10n,
    invoice: null,
    state,
    epoch: credited || state === 'reversed' ? 1 : 0,
    needed: 2,
    height: mined ? BLOCK.height : null,
    blockHash: mined ? BLOCK.hash : null,
    blockTime: mined ? BLOCK.time : null,
    seenAt: 1,
    creditedAt: credited ? 2 : null,
    credits: credited ? 100n : 0n,
    waiting: null,
    pricing: credited ? { ...PRICING, inTime: false } : null,
  }
}

const listed = (parts: Partial<Transfer> & Pick<Transfer, 'block'>): Transfer =>
  transferTo('addr', parts.amount ?? 10n, {
    key: 'bitcoin:aa:0',
    chain: 'bitcoin',
    symbol: 'BTC',
    txid: 'aa',
    ...parts,
  })

const step = (parts: StepParts): Step => stepTo(parts)
const fork = { height: 105, branch: 'b', forkedAt: 100 } as const

/** What a step can say about one payment. */
const SAYS = {
  'nothing, at the tip': step({ height: 105 }),
  'nothing, on the way there': step({ height: 105, caughtUp: false }),
  'in the mempool': step({ height: 105, pending: [listed({ block: null })] }),
  'mined, in its block': step({ height: 105, transfers: [listed({ block: BLOCK })] }),
  'forked off': step(fork),
  'forked off, in the mempool': step({ ...fork, pending: [listed({ block: null })] }),
  'forked off, mined again': step({ ...fork, transfers: [listed({ block: blockAt(102, 1_000, 'b') })] }),
  'forked off, mined again as another': step({
    ...fork,
    transfers: [listed({ block: blockAt(102, 1_000, 'b'), amount: 7n })],
  }),
} as const
type Says = keyof typeof SAYS

const keep = null
const TABLE: Readonly<
  Record<PaymentState | 'unknown', Readonly<Record<Says, PaymentState | 'none' | null>>>
> = {
  unknown: {
    'nothing, at the tip': 'none',
    'nothing, on the way there': 'none',
    'in the mempool': 'seen',
    'mined, in its block': 'confirming',
    'forked off': 'none',
    'forked off, in the mempool': 'seen',
    'forked off, mined again': 'confirming',
    'forked off, mined again as another': 'confirming',
  },
  seen: {
    'nothing, at the tip': 'replaced',
    'nothing, on the way there': keep,
    'in the mempool': keep,
    'mined, in its block': 'confirming',
    'forked off': 'replaced',
    'forked off, in the mempool': keep,
    'forked off, mined again': 'confirming',
    'forked off, mined again as another': 'confirming',
  },
  confirming: {
    'nothing, at the tip': keep,
    'nothing, on the way there': keep,
    'in the mempool': keep,
    'mined, in its block': keep,
    'forked off': 'orphaned',
    'forked off, in the mempool': 'seen',
    'forked off, mined again': 'confirming',
    'forked off, mined again as another': 'confirming',
  },
  credited: {
    'nothing, at the tip': keep,
    'nothing, on the way there': keep,
    'in the mempool': keep,
    'mined, in its block': keep,
    'forked off': 'reversed',
    'forked off, in the mempool': 'seen',
    'forked off, mined again': 'credited',
    'forked off, mined again as another': 'confirming',
  },
  // Dust, and nobody's: kept, and followed like the others.
  failed: {
    'nothing, at the tip': keep,
    'nothing, on the way there': keep,
    'in the mempool': keep,
    'mined, in its block': keep,
    'forked off': 'orphaned',
    'forked off, in the mempool': 'seen',
    'forked off, mined again': 'confirming',
    'forked off, mined again as another': 'confirming',
  },
  replaced: {
    'nothing, at the tip': keep,
    'nothing, on the way there': keep,
    'in the mempool': 'seen',
    'mined, in its block': 'confirming',
    'forked off': keep,
    'forked off, in the mempool': 'seen',
    'forked off, mined again': 'confirming',
    'forked off, mined again as another': 'confirming',
  },
  orphaned: {
    'nothing, at the tip': keep,
    'nothing, on the way there': keep,
    'in the mempool': 'seen',
    'mined, in its block': 'confirming',
    'forked off': keep,
    'forked off, in the mempool': 'seen',
    'forked off, mined again': 'confirming',
    'forked off, mined again as another': 'confirming',
  },
  reversed: {
    'nothing, at the tip': keep,
    'nothing, on the way there': keep,
    'in the mempool': 'seen',
    'mined, in its block': 'confirming',
    'forked off': keep,
    'forked off, in the mempool': 'seen',
    'forked off, mined again': 'confirming',
    'forked off, mined again as another': 'confirming',
  },
}

const cells = Object.entries(TABLE).flatMap(([was, row]) =>
  Object.entries(row).map(([says, becomes]) => [was, says, becomes] as const),
)

describe('a payment', () => {
  it.each(cells)('that was %s and is %s becomes %s', (was, says, becomes) => {
    const before = was === 'unknown' ? null : payment(was as PaymentState)
    const [after, ...others] = observe({
      chain: { id: 'bitcoin', family: 'bitcoin' },
      step: SAYS[says as Says],
      known: before ? [before] : [],
      invoiceAt: () => null,
      needed: () => 2,
      now: NOW,
    })
    expect(others).toEqual([])
    if (becomes === 'none') {
      expect(after).toBeUndefined()
      return
    }
    if (becomes === null) {
      expect(after).toEqual(before)
      return
    }
    if (!after) throw new Error('the payment is gone')
    expect(after.state).toBe(becomes)
    // A place exactly while it is in a block; what it granted exactly while it is credited; its epochs for good.
    expect(after.height === null).toBe(!MINED.has(becomes))
    expect([after.blockHash === null, after.blockTime === null]).toEqual(Array(2).fill(after.height === null))
    expect(after.credits).toBe(becomes === 'credited' ? 100n : 0n)
    expect(after.pricing === null).toBe(becomes !== 'credited')
    expect(after.epoch).toBe(before?.epoch ?? 0)
    expect(after.seenAt).toBe(before ? 1 : NOW)
    expect(after.amount).toBe(says === 'forked off, mined again as another' ? 7n : 10n)
  })
})
