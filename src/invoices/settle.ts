/**
 * Books one step along a chain: payments, credits, reversals, outbox rows and the chain's cursor, all in one commit
 * that only the holder of the chain's lease can make. The same step booked twice changes nothing.
 */
import type { Chain, Step, Transfer } from '../chains/chain.ts'
import { guard, type Statement } from '../db/db.ts'
import type { Lease } from '../db/lease.ts'
import { BursarError } from '../errors.ts'
import type { Quote } from '../money.ts'
import type { InvoiceContext } from './context.ts'
import { creditInvoice, isConfirmed, isStalled } from './crediting.ts'
import { haltChain, moveCursor, readCursor, type StoredCursor } from './cursor.ts'
import { eventsOf, insertEvent } from './events.ts'
import { withMoved } from './moved.ts'
import { neededFor } from './needed.ts'
import { invoiceStatements, paymentStatements, samePayment } from './postings.ts'
import {
  type InvoiceRecord,
  invoicesBy,
  invoicesExpiring,
  openPayments,
  type PaymentRecord,
  type PaymentWait,
  paymentsAbove,
  paymentsBy,
} from './records.ts'
import { isLive } from './state.ts'
import { observe } from './transitions.ts'
import { type ChainStates, chainWaits, paymentWaits, readChainStates } from './waiting.ts'

const MAX_ROUNDS = 5
/** A cursor is written this often even when nothing happens: that is how others see that the chain is watched. */
const HEARTBEAT_MS = 30_000
/** One that was further ahead than this was wrong, and is not followed. */
const CLOCKS_DIFFER_MS = 60_000

const WAITS: Readonly<Record<Exclude<PaymentWait, 'endpoints'>, string>> = {
  rate: 'there is no current rate',
  too_large: 'it is worth more than one grant can be',
  asset: 'its asset is not in the configuration any more',
}

export interface SettledStep {
  /** Something was written. */
  readonly changed: boolean
  /** The chain does not credit any more until a human has looked. */
  readonly halted: boolean
}

/**
 * @throws {BursarError} conflict: the lease was lost, or the step was read from an older cursor;
 *   chain_unavailable: no endpoint could be asked about what is to be credited; database_unavailable. Nothing was
 *   written: read on from the stored cursor.
 */
export async function settle(
  ctx: InvoiceContext,
  chain: Chain,
  read: Step,
  lease: Lease,
): Promise<SettledStep> {
  const step = await withMoved(ctx.db, chain, read)
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const stored = await readCursor(ctx.db, chain.id)
    if (!stored) throw new BursarError('internal', `The cursor of ${chain.id} has disappeared.`)
    if (stored.halted !== null) return { changed: false, halted: true }
    const problem = depthProblem(chain, stored, step) ?? (await unseenProblem(ctx, chain, step))
    if (problem !== null) {
      await halt(ctx, chain, lease, problem)
      return { changed: true, halted: true }
    }
    const plan = await planStep(ctx, chain, step, stored)
    if (!plan.changed) return { changed: false, halted: false }
    const raced = new BursarError('conflict', 'Another writer changed a payment of the same invoice.')
    try {
      await ctx.db.commit([lease.check(), ...plan.guards(raced), ...plan.statements])
    } catch (thrown) {
      if (thrown === raced) continue
      throw thrown
    }
    for (const invoice of plan.invoices) ctx.changes.notify(invoice)
    return { changed: true, halted: false }
  }
  throw new BursarError('conflict', `The payments of ${chain.id} keep changing under this step.`)
}

/** Stops crediting on a chain, durably; only a human clears it. */
export async function halt(ctx: InvoiceContext, chain: Chain, lease: Lease, reason: string): Promise<void> {
  await ctx.db.commit([lease.check(), haltChain(chain.id, reason)])
  ctx.runtime.log.error(
    { event: 'chain_halted', chain: chain.id, reason },
    'crediting on this chain is halted until a human has looked',
  )
}

function depthProblem(chain: Chain, { cursor }: StoredCursor, step: Step): string | null {
  if (step.forkedAt === null) {
    if (step.cursor.height >= cursor.height) return null
    throw new BursarError('conflict', `This step along ${chain.id} was read from an older cursor.`)
  }
  const depth = cursor.height - step.forkedAt
  // A human who has looked may have vouched for an older block: it is remembered then.
  const remembered = cursor.recent[0]?.[0] ?? cursor.height
  if (depth <= chain.finalityDepth || step.forkedAt >= remembered) return null
  return `a reorganisation of ${depth} blocks, deeper than the finality depth of ${chain.finalityDepth}`
}

/**
 * What is not in the configuration any more is not looked for: that a step does not list it says nothing. A fork that
 * reaches such payments would take back credits that were paid for, or keep those that were not.
 */
async function unseenProblem(ctx: InvoiceContext, chain: Chain, step: Step): Promise<string | null> {
  if (step.forkedAt === null) return null
  const reached = await paymentsAbove(ctx.db, chain.id, step.forkedAt)
  const unseen = reached.filter((payment) => isLive(payment.state) && !isAccepted(chain, payment.symbol))
  if (unseen.length === 0) return null
  const symbols = [...new Set(unseen.map(({ symbol }) => symbol))].join(', ')
  return `a reorganisation reaches payments in ${symbols}, which is not in chains.${chain.id}.assets any more: put it back until they are final`
}

function isAccepted(chain: Pick<Chain, 'assets'>, symbol: string): boolean {
  return chain.assets.some((asset) => asset.symbol === symbol)
}

interface Plan {
  readonly changed: boolean
  readonly guards: (raced: BursarError) => Statement[]
  readonly statements: readonly Statement[]
  /** Whoever waits for these looks again. */
  readonly invoices: ReadonlySet<string>
}

async function planStep(ctx: InvoiceContext, chain: Chain, step: Step, stored: StoredCursor): Promise<Plan> {
  const now = notBefore(stored.updatedAt, ctx.runtime.now())
  const found = await load(ctx, chain, step, { from: stored.updatedAt, to: now })
  const quotes = await currentQuotes(ctx, found.symbols)
  const observed = observe({
    chain,
    step,
    known: found.known,
    invoiceAt: found.invoiceAt,
    needed: neededFor({ chain, step, invoiceAt: found.invoiceAt, quotes }),
    now,
  })
  const before = new Map(found.stored.map((payment) => [payment.key, payment]))
  const after = new Map([...found.stored, ...observed].map((payment) => [payment.key, payment]))
  await creditAll(ctx, { chain, step, invoices: found.invoices, payments: after, quotes, now })
  const { states, statements } = await waitsOf(ctx, chain, step, now)
  for (const [key, payment] of after) {
    const earlier = before.get(key) ?? null
    if (!earlier || !samePayment(earlier, payment)) {
      statements.push(...paymentStatements(earlier, payment, found.byId, now))
    }
    statements.push(...paymentWaits(key, earlier?.waiting ?? null, payment.waiting, now))
  }
  const earlier = byInvoice(before)
  const later = byInvoice(after)
  for (const invoice of found.invoices) {
    const was = earlier.get(invoice.id) ?? []
    const is = later.get(invoice.id) ?? []
    statements.push(...invoiceStatements(invoice, was, is, now))
    // Only its own chain lets an invoice expire, so that it does so once.
    const beforeAt = invoice.chain === chain.id ? stored.updatedAt : now
    const change = { invoice, before: was, after: is, beforeAt, now, states }
    for (const event of eventsOf(ctx, change)) statements.push(insertEvent(invoice.id, event, now))
  }
  const { cursor } = step
  const moved = cursor.hash !== stored.cursor.hash || cursor.height !== stored.cursor.height
  const changed = moved || statements.length > 0 || now - stored.updatedAt >= HEARTBEAT_MS
  statements.push(moveCursor(chain.id, { cursor, tipHeight: step.tip.height, at: now }))
  return {
    changed,
    guards: (raced) =>
      found.invoices.map((invoice) => unchanged(invoice, earlier.get(invoice.id) ?? [], raced)),
    statements,
    invoices: new Set(found.invoices.map((invoice) => invoice.id)),
  }
}

/** A lock must end once, though clocks are set back a little, and differ between processes. */
function notBefore(earlier: number, now: number): number {
  return earlier - now < CLOCKS_DIFFER_MS ? Math.max(earlier, now) : now
}

interface CreditAll {
  readonly chain: Chain
  readonly step: Step
  readonly invoices: readonly InvoiceRecord[]
  /** All payments of the invoices, by key; brought to what they are after the step. */
  readonly payments: Map<string, PaymentRecord>
  readonly quotes: ReadonlyMap<string, Quote>
  readonly now: number
}

/** Credits what is deep enough, and says of the rest why it is not credited. */
async function creditAll(ctx: InvoiceContext, given: CreditAll): Promise<void> {
  const { chain, step, invoices, payments, quotes, now } = given
  const confirmed = [...payments.values()].filter((payment) => isReady(payment, chain, step))
  const { ready = [], removed = [] } = Object.groupBy(confirmed, ({ symbol }) =>
    isAccepted(chain, symbol) ? 'ready' : 'removed',
  )
  const vouched = await vouchedFor(chain, ready)
  const waits = new Map<string, PaymentWait>()
  for (const { key } of removed) waits.set(key, 'asset')
  for (const { key } of ready) if (!vouched.has(key)) waits.set(key, 'endpoints')
  const known = byInvoice(payments)
  for (const invoice of invoices) {
    const credited = creditInvoice({
      invoice,
      payments: known.get(invoice.id) ?? [],
      chain,
      vouched,
      chains: ctx.chains,
      quotes,
      now,
    })
    for (const payment of credited.payments) payments.set(payment.key, payment)
    for (const [key, why] of credited.waiting) waits.set(key, why)
  }
  for (const [key, payment] of payments) {
    // Another chain's payments are left to their own watcher.
    if (payment.chain !== chain.id) continue
    const waiting = waits.get(key) ?? null
    payments.set(key, { ...payment, waiting })
    // Disagreement is said by whoever found it.
    if (waiting === null || waiting === 'endpoints' || waiting === payment.waiting) continue
    const text = `Confirmed, but ${WAITS[waiting]}: it waits.`
    ctx.runtime.log.warn({ event: 'payment_waits', payment: key }, text)
  }
}

/** What the chain waits for from now on: the rows that say so, and the states to make views with. */
async function waitsOf(
  ctx: InvoiceContext,
  chain: Chain,
  step: Step,
  now: number,
): Promise<{ states: ChainStates; statements: Statement[] }> {
  const states = new Map(await readChainStates(ctx.db))
  const was = states.get(chain.id)?.wait ?? null
  const reason = isStalled(chain, step) ? ('finality' as const) : null
  const since = was?.reason === reason ? was.since : now
  const wait = reason === null ? null : { reason, since }
  states.set(chain.id, { height: step.cursor.height, settledAt: now, halted: null, wait })
  return { states, statements: chainWaits(chain.id, was?.reason ?? null, reason, now) }
}

function isReady(payment: PaymentRecord, chain: Chain, step: Step): boolean {
  return payment.chain === chain.id && payment.invoice !== null && isConfirmed(payment, chain, step)
}

/** The keys of those that the endpoints show as they are stored. */
function vouchedFor(chain: Chain, ready: readonly PaymentRecord[]): Promise<ReadonlySet<string>> {
  const transfers = ready.flatMap((payment): Transfer[] => {
    const { key, symbol, address: to, amount, txid, height, blockHash, blockTime } = payment
    if (height === null || blockHash === null || blockTime === null) return []
    return [
      { key, chain: chain.id, symbol, to, amount, txid, block: { height, hash: blockHash, time: blockTime } },
    ]
  })
  return chain.vouch(transfers)
}

interface Found {
  readonly known: readonly PaymentRecord[]
  /** `known`, and all other payments of the invoices concerned. */
  readonly stored: readonly PaymentRecord[]
  readonly invoices: readonly InvoiceRecord[]
  readonly byId: ReadonlyMap<string, InvoiceRecord>
  readonly invoiceAt: (address: string) => InvoiceRecord | null
  /** Assets that have to be priced. */
  readonly symbols: ReadonlySet<string>
}

async function load(
  ctx: InvoiceContext,
  chain: Chain,
  step: Step,
  lockEnds: { readonly from: number; readonly to: number },
): Promise<Found> {
  const transfers = [...step.transfers, ...step.pending]
  const [listed, open, above, expiring] = await Promise.all([
    paymentsBy(ctx.db, 'key', new Set(transfers.map((transfer) => transfer.key))),
    openPayments(ctx.db, chain.id),
    step.forkedAt === null ? [] : paymentsAbove(ctx.db, chain.id, step.forkedAt),
    invoicesExpiring(ctx.db, { chain: chain.id, ...lockEnds }),
  ])
  const known = byKey([...listed, ...open, ...above])
  const [atAddress, named] = await Promise.all([
    invoicesBy(
      ctx.db,
      'address',
      new Set([...transfers.map((each) => each.to), ...known.map((each) => each.address)]),
    ),
    invoicesBy(ctx.db, 'id', new Set(known.flatMap((payment) => payment.invoice ?? []))),
  ])
  const invoices = [...new Map([...atAddress, ...named, ...expiring].map((each) => [each.id, each])).values()]
  const byId = new Map(invoices.map((invoice) => [invoice.id, invoice]))
  const addresses = new Map(invoices.map((invoice) => [invoice.address, invoice]))
  const siblings = await paymentsBy(ctx.db, 'invoice', byId.keys())
  const unknown = transfers.filter((transfer) => addresses.has(transfer.to))
  const waiting = known.filter((payment) => payment.invoice !== null && isConfirmed(payment, chain, step))
  return {
    known,
    stored: byKey([...known, ...siblings]),
    invoices,
    byId,
    invoiceAt: (address) => addresses.get(address) ?? null,
    symbols: new Set([...unknown, ...waiting].map((each) => each.symbol)),
  }
}

/** Rates that can be had; a payment that needs another one waits. */
async function currentQuotes(ctx: InvoiceContext, symbols: ReadonlySet<string>): Promise<Map<string, Quote>> {
  const quotes = new Map<string, Quote>()
  for (const symbol of symbols) {
    try {
      quotes.set(symbol, await ctx.rates.quote(symbol))
    } catch (thrown) {
      if (!(thrown instanceof BursarError) || thrown.code !== 'rate_unavailable') throw thrown
    }
  }
  return quotes
}

/** Fails when the payments of an invoice are not as they were read: another chain's watcher came between. */
function unchanged(
  invoice: InvoiceRecord,
  payments: readonly PaymentRecord[],
  raced: BursarError,
): Statement {
  const epochs = payments.reduce((sum, payment) => sum + payment.epoch, 0)
  const credited = payments.filter((payment) => payment.state === 'credited').length
  return guard(
    `(SELECT count(*) = ? AND coalesce(sum(epoch), 0) = ? AND coalesce(sum(state = 'credited'), 0) = ?
      FROM payment WHERE invoice = ?)`,
    [BigInt(payments.length), BigInt(epochs), BigInt(credited), invoice.id],
    () => raced,
  )
}

/** Once for all of them: thousands may be paid, or expire, in one step. */
function byInvoice(all: ReadonlyMap<string, PaymentRecord>): Map<string | null, PaymentRecord[]> {
  return Map.groupBy(all.values(), ({ invoice }) => invoice)
}

function byKey(payments: readonly PaymentRecord[]): PaymentRecord[] {
  return [...new Map(payments.map((payment) => [payment.key, payment])).values()]
}
