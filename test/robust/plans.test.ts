/**
 * What a till asks its database, all day, must not grow with all that it has ever sold: everything that a purchase, a
 * poll, a call and the upkeep ask is recorded, and SQLite says how it would look for it.
 */
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Arg, Db } from '../../src/db/db.ts'
import { awaitPayment } from '../../src/invoices/await.ts'
import type { InvoiceContext } from '../../src/invoices/context.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { readHalts } from '../../src/invoices/cursor.ts'
import { settle } from '../../src/invoices/settle.ts'
import { watchedAddresses } from '../../src/invoices/watched.ts'
import { createAgent, listAgents } from '../../src/ledger/agents.ts'
import { balanceView } from '../../src/ledger/balance.ts'
import { expireCredits } from '../../src/ledger/expire.ts'
import { hold } from '../../src/ledger/hold.ts'
import { createKey, keyring } from '../../src/ledger/keys.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { createSealer } from '../../src/ledger/sealer.ts'
import { forgetOperations } from '../../src/ledger/upkeep.ts'
import { listUsage } from '../../src/models/usage.ts'
import { takeReadings } from '../../src/readings.ts'
import { blockAt, openTill, stepTo, type Till, transferTo } from '../invoices/till.ts'

const T0 = Date.UTC(2026, 10, 1)

let till: Till
let ctx: InvoiceContext
let ledger: Ledger
/** By its text. */
let asked: Map<string, readonly Arg[]>

beforeEach(async () => {
  till = await openTill({ at: T0 })
  await till.account('acc')
  await till.seedCursor('local')
  asked = new Map()
  const db: Db = {
    ...till.db,
    query: (sql, args = []) => {
      asked.set(sql, args)
      return till.db.query(sql, args)
    },
    commit: (statements) => {
      for (const { sql, args } of statements) asked.set(sql, args)
      return till.db.commit(statements)
    },
  }
  ctx = { ...till.ctx, db, maxOpen: 10 }
  ledger = openLedger({ db, runtime: ctx.runtime })
})
afterEach(() => till.close())

/** Tables that have a row for a chain, a key of the seller's, a setting or a restore, and so stay small. */
const SMALL = /\b(?:chain_cursor|c|deriving_key|k|deployment|restore)\b/
/** A table or its alias, read from its first row to its last; no list of values, and no query within the query. */
const SCAN = /^SCAN (?!CONSTANT|\()(?!.*VIRTUAL TABLE)/
/** Read from the end, as far as one row. */
const LAST_SEAL = /FROM seal ORDER BY number DESC LIMIT 1/
/** Steps of a recursive query, made of rows that were found by an index. */
const STEPS = /^SCAN (?:due|d|walk|w|next)\b/

async function scans(): Promise<string[]> {
  const found: string[] = []
  for (const [sql, args] of asked) {
    const plan = await till.db.query<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`, args)
    for (const { detail } of plan) {
      if (!SCAN.test(detail) || SMALL.test(detail) || STEPS.test(detail)) continue
      if (/^SCAN seal\b/.test(detail) && LAST_SEAL.test(sql)) continue
      found.push(`${detail}: ${sql.trim().replaceAll(/\s+/g, ' ')}`)
    }
  }
  return found
}

async function buy(): Promise<void> {
  const invoice = await createInvoice(ctx, {
    account: 'acc',
    rail: 'local:ETH',
    credits: '100',
    idempotencyKey: 'k',
  })
  const lease = await till.lease('local')
  const watched = watchedAddresses(ctx.db, 'evm')
  await watched.refresh()
  await watched.refresh()
  const paid = transferTo(invoice.address, BigInt(invoice.amount), { block: blockAt(101, T0) })
  await settle(ctx, till.chain('local'), stepTo({ height: 101, transfers: [paid] }), lease)
  await awaitPayment(ctx, { account: 'acc', invoice: invoice.id, timeoutMs: 0 })
  await settle(ctx, till.chain('local'), stepTo({ height: 105 }), lease)
  await settle(ctx, till.chain('local'), stepTo({ height: 106, branch: 'b', forkedAt: 104 }), lease)
  await readHalts(ctx.db)
}

async function call(): Promise<void> {
  const agent = await createAgent(ledger, { account: 'acc', name: 'coder', allowance: { perDay: 10_000n } })
  const { key } = await createKey(ledger, { scope: 'agent', account: 'acc', agent: agent.id, name: 'k' })
  const keys = keyring(ledger)
  await keys.authenticate(key)
  await keys.close()
  const taken = await hold(ledger, {
    account: 'acc',
    agent: agent.id,
    amount: 100n,
    lifetimeMs: 1_000,
    receipt: { route: 'chat', model: 'm', upstream: 'u', price: '{}' },
    idempotency: { route: 'chat', key: 'k', bodyHash: 'x' },
  })
  if (taken.kind !== 'held') throw new Error(taken.kind)
  await taken.hold.capture(40n, { response: '{}' })
  await balanceView(ledger, 'acc', agent.id)
  const { calls } = await listUsage(ctx.db, 'acc', { since: '2020-01-01' })
  expect(calls).toHaveLength(1)
  await listAgents(ledger, { account: 'acc', limit: 10 })
}

async function tidy(): Promise<void> {
  const sealer = createSealer(ledger)
  await sealer.step()
  await sealer.close()
  await lapseHolds(ledger)
  await expireCredits(ledger)
  await forgetOperations(ledger)
}

it('a purchase, a poll, a call and the upkeep look things up, and read no table from end to end', async () => {
  await buy()
  await call()
  await tidy()
  const readings = new Set(asked.keys())
  await takeReadings(ctx)
  for (const sql of asked.keys()) {
    // Counting what is open is what the gauges are for.
    if (!readings.has(sql) && /count\(\*\) AS n, sum\(amount\)/.test(sql)) asked.delete(sql)
  }
  expect(asked.size).toBeGreaterThan(50)
  expect(await scans()).toEqual([])
})

it('accounts whose credits lapse, agents of an account, and the calls of a day are found by what they are looked up by', async () => {
  await expireCredits(ledger)
  await listAgents(ledger, { account: 'acc', limit: 10 })
  await listUsage(ctx.db, 'acc', { since: '2026-11-01' })
  const plans = await Promise.all(
    [...asked].map(([sql, args]) => till.db.query<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`, args)),
  )
  const first = plans.map(([row]) => row?.detail)
  expect(first[0]).toContain('INDEX account_by_next_expiry')
  expect(first[1]).toContain('(account=?)')
  expect(first[2]).toContain('(account=? AND id>? AND id<?)')
})
