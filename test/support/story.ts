/**
 * A database with something of everything in it: invoices paid, reversed and paid again, a discount, holds with every
 * outcome, credits that lapsed, receipts, idempotency keys, and several seals with a few postings after the last.
 */
import type { InvoiceView } from '../../src/bursar.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { settle } from '../../src/invoices/settle.ts'
import { createAgent } from '../../src/ledger/agents.ts'
import { expireCredits } from '../../src/ledger/expire.ts'
import { hold } from '../../src/ledger/hold.ts'
import { createKey } from '../../src/ledger/keys.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import type { Hold, Ledger } from '../../src/ledger/ledger.ts'
import { openLedger } from '../../src/ledger/open.ts'
import type { Seal } from '../../src/ledger/seal.ts'
import { createSealer, type Sealer } from '../../src/ledger/sealer.ts'
import { blockAt, openTill, type StepParts, stepTo, type Till, transferTo } from '../invoices/till.ts'

const T0 = Date.UTC(2026, 10, 1)
const CREDIT = 1_000_000n

export interface Story {
  readonly till: Till
  readonly ledger: Ledger
  readonly sealer: Sealer
  /** Those that the story made, oldest first. */
  readonly seals: readonly Seal[]
  /** The account whose story it is; it has 200 credits and more. */
  readonly account: string
  close(): Promise<void>
}

export async function tellStory(): Promise<Story> {
  const till = await openTill({ at: T0 })
  const { db, clock, ctx } = till
  const ledger = openLedger({ db, runtime: ctx.runtime })
  const sealer = createSealer(ledger)
  const seals: Seal[] = []
  const sealNow = async () => {
    const seal = await sealer.step()
    if (seal) seals.push(seal)
  }
  const account = await till.account('acc_story')
  const other = await till.account('acc_other')
  const { id: agent } = await createAgent(ledger, { account, name: 'agent' })
  await createKey(ledger, { scope: 'agent', account, agent, name: 'laptop' })
  await till.seedCursor('local')
  const lease = await till.lease('local')
  const at = (parts: StepParts) => settle(ctx, till.chain('local'), stepTo(parts), lease)
  const invoiceFor = (owner: string, key?: string) =>
    createInvoice(ctx, {
      account: owner,
      rail: 'local:ETH',
      pack: 'sale',
      ...(key ? { idempotencyKey: key } : {}),
    })
  const pay = ({ address, amount }: InvoiceView, height: number, txid: string, branch = 'main') =>
    transferTo(address, BigInt(amount), { txid, block: blockAt(height, T0 + 1_000, branch) })
  const call = async (key: string): Promise<Hold> => {
    const result = await hold(ledger, {
      account,
      agent,
      amount: 4n * CREDIT,
      lapseCharge: key === 'lost' ? CREDIT : 0n,
      lifetimeMs: 600_000,
      idempotency: { route: 'call_model', key, bodyHash: 'ab'.repeat(32) },
      receipt: { route: 'call_model', model: 'small', upstream: 'local', price: '{}' },
    })
    if (result.kind !== 'held') throw new Error(result.kind)
    return result.hold
  }

  const first = await invoiceFor(account, 'first')
  await at({ height: 103, transfers: [pay(first, 101, '0x01')] })
  await sealNow()
  await (await call('one')).capture(1_250_000n, { usage: '{"input_tokens":3}', response: '{"text":"hello"}' })
  await (await call('two')).release({ response: '{"error":"the upstream was down"}' })
  await call('lost')
  clock.now += 600_000
  await lapseHolds(ledger)
  await sealNow()
  const second = await invoiceFor(other)
  clock.now += 1_000
  await at({ height: 107, transfers: [pay(second, 104, '0x02')] })
  await at({ height: 107, branch: 'b', forkedAt: 103 })
  await at({ height: 111, branch: 'b', transfers: [pay(second, 108, '0x02', 'b')] })
  const third = await invoiceFor(other)
  await at({ height: 115, branch: 'b', transfers: [pay(third, 112, '0x03', 'b')] })
  await at({ height: 115, branch: 'c', forkedAt: 111 })
  await sealNow()
  clock.now = T0 + 366 * 86_400_000
  await expireCredits(ledger)
  const fourth = await invoiceFor(account)
  const late = transferTo(fourth.address, BigInt(fourth.amount) * 2n, {
    txid: '0x04',
    block: blockAt(116, clock.now, 'c'),
  })
  await at({ height: 120, branch: 'c', transfers: [late] })
  await (await call('three')).capture(2n * CREDIT)
  await sealNow()
  await call('open')
  await (await call('five')).capture(CREDIT)
  return {
    till,
    ledger,
    sealer,
    seals,
    account,
    async close() {
      await ledger.changes.idle()
      await till.close()
    },
  }
}
