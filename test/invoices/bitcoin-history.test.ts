/**
 * Invariants 3 and 10 against random histories of a real node: payments that are replaced, dropped, mined, mined again in
 * other blocks and at other times, read whenever. In the end what the books say is what the best chain says.
 */
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { InvoiceView } from '../../src/bursar.ts'
import { type PaymentRecord, paymentsBy } from '../../src/invoices/records.ts'
import { verifyDatabase } from '../../src/ledger/verify/verify.ts'
import { noBitcoin } from '../chains/worlds.ts'
import { type BitcoinNode, bitcoinNode, type Sent, startBitcoin } from '../support/litecoind.ts'
import { type BitcoinShop, openBitcoinShop } from './bitcoin-shop.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const DUST_SATS = 546n
/** More blocks than one history has. */
const DEEP = 60

type Op =
  | { readonly do: 'pay'; readonly to: readonly { invoice: number; share: number }[] }
  | { readonly do: 'replace'; readonly which: number; readonly invoice: number; readonly share: number }
  | { readonly do: 'mine'; readonly blocks: number }
  | { readonly do: 'skip' }
  | { readonly do: 'fork'; readonly depth: number; readonly empty: number }
  | { readonly do: 'read'; readonly times: number }
  | { readonly do: 'restart' }
  | { readonly do: 'wait'; readonly minutes: number }

const invoice = fc.nat(2)
const share = fc.constantFrom(20, 50, 100, 100, 130)
const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('pay' as const),
      to: fc.array(fc.record({ invoice, share }), { minLength: 1, maxLength: 3 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('replace' as const), which: fc.nat(9), invoice, share }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('mine' as const), blocks: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('skip' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('fork' as const),
      depth: fc.integer({ min: 1, max: 4 }),
      empty: fc.integer({ min: 0, max: 5 }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('read' as const), times: fc.integer({ min: 1, max: 2 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('wait' as const), minutes: fc.integer({ min: 1, max: 50 }) }),
  },
)

describe.skipIf(noBitcoin() !== null)('whatever happens to Bitcoin payments', () => {
  let node: BitcoinNode
  /** The node's clock: it may only go on. */
  let clock = Date.now()
  let account = 1

  beforeAll(async () => {
    const found = bitcoinNode()
    if ('missing' in found) throw new Error(found.missing)
    node = await startBitcoin(found)
  })
  afterAll(() => node?.stop())

  it('the books end as the best chain does', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(op, { minLength: 5, maxLength: 30 }), async (ops) => {
        const shop = await openBitcoinShop({ node, account, chain: { finality_blocks: 100 } })
        account += 1
        shop.till.clock.now = clock
        try {
          await run(shop, ops)
        } finally {
          clock = shop.till.clock.now + HOUR_MS
          await shop.close()
        }
      }),
      { numRuns: 10 },
    )
  })

  async function run(shop: BitcoinShop, ops: readonly Op[]): Promise<void> {
    const { till } = shop
    const invoices = [
      await shop.ask({ credits: undefined, pack: 'sale' }),
      await shop.ask({ credits: '30' }),
      await shop.ask({ credits: '5000' }),
    ]
    const seen = new Map<string, number>()
    const sent: Sent[] = []
    await setClock(till.clock.now)
    for (const each of ops) await apply(shop, each, { invoices, seen, sent })
    await node.mine(1)
    await node.mineEmpty(7)
    await readAll(shop, seen)
    await check(shop, invoices, seen)
  }

  async function setClock(now: number): Promise<void> {
    await node.rpc('setmocktime', Math.floor(now / 1000))
  }

  async function apply(
    shop: BitcoinShop,
    op: Op,
    { invoices, seen, sent }: { invoices: readonly InvoiceView[]; seen: Map<string, number>; sent: Sent[] },
  ): Promise<void> {
    const output = (to: { invoice: number; share: number }) => {
      const paid = invoices[to.invoice]
      if (!paid) throw new Error('no such invoice')
      return { address: paid.address, sats: (BigInt(paid.amount) * BigInt(to.share)) / 100n }
    }
    switch (op.do) {
      case 'pay':
        sent.push(await node.send(op.to.map(output)))
        return
      case 'replace': {
        const earlier = sent[op.which % Math.max(1, sent.length)]
        const waiting = await node.rpc<string[]>('getrawmempool')
        if (!earlier || !waiting.includes(earlier.txid)) return
        const { fees } = await node.rpc<{ fees: { base: number } }>('getmempoolentry', earlier.txid)
        const feeSats = BigInt(Math.round(fees.base * 1e8)) + 5_000n
        sent.push(await node.send([output(op)], { spend: earlier.spent, feeSats }))
        return
      }
      case 'mine':
        await node.mine(op.blocks)
        return
      case 'skip':
        await node.mineEmpty()
        return
      case 'fork':
        await node.shorten(op.depth)
        if (op.empty > 0) await node.mineEmpty(op.empty)
        return
      case 'read':
        for (let i = 0; i < op.times; i += 1) await read(shop, seen)
        return
      case 'restart':
        shop.restart()
        return
      case 'wait':
        shop.till.clock.now += op.minutes * MINUTE_MS
        await setClock(shop.till.clock.now)
    }
  }

  /** Notes what the node shows, as the till could see it at this moment. */
  async function read(shop: BitcoinShop, seen: Map<string, number>): Promise<void> {
    await shop.read()
    const [row] = await shop.till.db.query<{ height: bigint }>('SELECT height FROM chain_cursor')
    const [tip, to] = [await node.height(), Number(row?.height)]
    const waiting = to === tip ? await node.rpc<string[]>('getrawmempool') : []
    const mined = (await newestBlocks()).filter(({ height }) => height <= to)
    for (const txid of [...waiting, ...mined.flatMap(({ tx }) => tx.map(({ txid }) => txid))])
      if (!seen.has(txid)) seen.set(txid, shop.till.clock.now)
  }

  async function readAll(shop: BitcoinShop, seen: Map<string, number>): Promise<void> {
    const tip = await node.height()
    for (let round = 0; round < 10; round += 1) {
      await read(shop, seen)
      const [row] = await shop.till.db.query<{ height: bigint; halted: string | null }>(
        'SELECT height, halted FROM chain_cursor WHERE chain = ?',
        ['bitcoin'],
      )
      if (row?.halted) throw new Error(row.halted)
      if (Number(row?.height) === tip) return
    }
    throw new Error('the till does not get to the tip')
  }

  async function check(
    shop: BitcoinShop,
    invoices: readonly InvoiceView[],
    seen: ReadonlyMap<string, number>,
  ): Promise<void> {
    const { till } = shop
    const payments = await paymentsBy(
      till.db,
      'invoice',
      invoices.map(({ id }) => id),
    )
    const credited = payments.filter(({ state }) => state === 'credited')
    const onChain = await outputsTo(new Map(invoices.map(({ address, id }) => [address, id])))
    const line = (one: { key: string; invoice: string | null; amount: bigint; height: number | null }) =>
      `${one.key} ${one.invoice} ${one.amount} ${one.height}`
    expect(credited.map(line).sort()).toEqual(
      onChain
        .filter(({ amount }) => amount >= DUST_SATS)
        .map(line)
        .sort(),
    )
    for (const view of invoices) {
      const own = credited.filter((payment) => payment.invoice === view.id)
      const ends = Date.parse(view.expires_at)
      for (const payment of own) expect(payment.pricing?.inTime).toBe(isInTime(payment, ends, seen))
      const inTime = own
        .filter(({ pricing }) => pricing?.inTime)
        .reduce((sum, { amount }) => sum + amount, 0n)
      const locked = own.reduce((sum, { pricing }) => sum + (pricing?.locked ?? 0n), 0n)
      expect(locked).toBe(inTime < BigInt(view.amount) ? inTime : BigInt(view.amount))
      const now = await shop.view(view.id)
      const all = own.reduce((sum, { amount }) => sum + amount, 0n)
      expect(now.state === 'paid').toBe(all >= BigInt(view.amount))
    }
    const views = await Promise.all(invoices.map(({ id }) => shop.view(id)))
    const granted = views.reduce((sum, view) => sum + BigInt(view.credits_granted.replace('.', '')), 0n)
    expect(await till.available('acc')).toBe(granted)
    const verdict = await verifyDatabase({ url: till.url, runtime: till.ctx.runtime })
    expect(verdict).toMatchObject({ findings: [] })
  }

  function isInTime(payment: PaymentRecord, ends: number, seen: ReadonlyMap<string, number>): boolean {
    const mined = payment.blockTime ?? Number.POSITIVE_INFINITY
    const at = seen.get(payment.txid) ?? Number.POSITIVE_INFINITY
    return mined < ends || (at < ends && mined <= at + HOUR_MS)
  }

  interface Block {
    readonly height: number
    readonly previousblockhash?: string
    readonly tx: readonly {
      txid: string
      vout: readonly { value: number; n: number; scriptPubKey: { address?: string; addresses?: string[] } }[]
    }[]
  }

  /** By hash. */
  const known = new Map<string, Block>()

  /** The best chain from its tip down. What a block holds is asked for once. */
  async function newestBlocks(): Promise<Block[]> {
    const blocks: Block[] = []
    let hash: string | undefined = await node.rpc<string>('getbestblockhash')
    while (hash !== undefined && blocks.length <= DEEP) {
      const block: Block = known.get(hash) ?? (await node.rpc<Block>('getblock', hash, 2))
      known.set(hash, block)
      blocks.push(block)
      hash = block.previousblockhash
    }
    return blocks
  }

  async function outputsTo(
    addresses: ReadonlyMap<string, string>,
  ): Promise<{ key: string; invoice: string | null; amount: bigint; height: number }[]> {
    const found = []
    for (const { height, tx } of await newestBlocks()) {
      for (const { txid, vout } of tx) {
        for (const { value, n, scriptPubKey } of vout) {
          const invoice = addresses.get(scriptPubKey.address ?? scriptPubKey.addresses?.[0] ?? '')
          if (invoice === undefined) continue
          found.push({
            key: `bitcoin:${txid}:${n}`,
            invoice,
            amount: BigInt(Math.round(value * 1e8)),
            height,
          })
        }
      }
    }
    return found
  }
})
