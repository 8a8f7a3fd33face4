/**
 * Payments that belong to no invoice: to an address that was skipped, or whose invoice was lost with a database. They
 * are kept, and a human who has found out whose they are assigns them. That makes an invoice at their address, whose
 * lock ended before they came, and leaves the rest to the chain's watcher: confirmations, the lower of two rates, the
 * grant, and its reversal should the payment leave the chain.
 */
import type { InvoiceView } from '../bursar.ts'
import { plainSale } from '../credits/packs.ts'
import { type Db, guard, type Statement } from '../db/db.ts'
import { BursarError, invalid } from '../errors.ts'
import { accountExists } from '../ledger/accounts.ts'
import { notRestored } from '../ledger/restored.ts'
import { atomicToUsd, formatDecimal, MAX_MICRO, usdToAtomic, usdToCredits } from '../money.ts'
import { saleablePrice } from '../rates/rates.ts'
import { type InvoiceContext, railNamed } from './context.ts'
import { insertInvoice } from './create.ts'
import { stillBound } from './deployment.ts'
import { eventsOf, insertEvent } from './events.ts'
import { paymentStatements } from './postings.ts'
import { isDust } from './pricing.ts'
import {
  findInvoice,
  type InvoiceRecord,
  invoicesBy,
  type PaymentRecord,
  unassignedPayments,
} from './records.ts'
import { isLive } from './state.ts'
import { viewOf } from './view.ts'
import { readChainStates } from './waiting.ts'
import { endWatch } from './watch-lease.ts'

export interface UnassignedPayment {
  /** What `bursar unassigned assign` takes. */
  readonly payment: string
  readonly rail: string
  /** Atomic units, an integer as text. */
  readonly amount: string
  /** For people; null: the asset is not configured any more. */
  readonly amount_display: string | null
  readonly address: string
  /** Where the extended key has it; null: unknown. */
  readonly path: string | null
  readonly txid: string
  readonly block: number | null
  readonly seen_at: string
}

/** Those that are on their chain, in the order in which they were seen. */
export async function listUnassigned(
  ctx: Pick<InvoiceContext, 'db' | 'chains'>,
): Promise<UnassignedPayment[]> {
  const payments = (await unassignedPayments(ctx.db)).filter(({ state }) => isLive(state))
  const rows = await ctx.db.query<{ address: string; path: string }>(
    'SELECT address, path FROM address WHERE address IN (SELECT value FROM json_each(?))',
    [JSON.stringify(payments.map(({ address }) => address))],
  )
  const paths = new Map(rows.map(({ address, path }) => [address, path]))
  return payments.map(({ key, chain, symbol, amount, address, txid, height, seenAt }) => {
    const asset = ctx.chains.get(chain)?.assets.find((one) => one.symbol === symbol)
    return {
      payment: key,
      rail: `${chain}:${symbol}`,
      amount: amount.toString(),
      amount_display: asset ? `${formatDecimal(amount, asset.decimals)} ${symbol}` : null,
      address,
      path: paths.get(address) ?? null,
      txid,
      block: height,
      seen_at: new Date(seenAt).toISOString(),
    }
  })
}

export interface AssignPayment {
  /** Its key, or the hash of its transaction where that made only one such payment. */
  readonly payment: string
  readonly account: string
}

/**
 * Gives a payment to an account; credited as every payment is, once it is deep enough. Safe to repeat. Whatever else
 * comes to the same address belongs to that account from then on.
 *
 * @throws {BursarError} not_found: no such unassigned payment, or account; conflict: it is somebody else's, or has left
 *   the chain; invalid_request: dust; rate_unavailable; frozen: the till was restored and is not confirmed
 */
export async function assignPayment(ctx: InvoiceContext, input: AssignPayment): Promise<InvoiceView> {
  const payment = await findPayment(ctx.db, input.payment)
  if (payment.invoice !== null) return assigned(ctx, payment.invoice, input.account)
  if (!isLive(payment.state)) {
    throw new BursarError('conflict', `This payment is ${payment.state}: it is not on its chain.`, {
      remedy: 'It can be assigned when it comes back.',
    })
  }
  const [standing] = await invoicesBy(ctx.db, 'address', [payment.address])
  if (standing && standing.account !== input.account) throw belongsTo(standing)
  const raced = new BursarError('conflict', 'This payment has just changed.', { remedy: 'Try again.' })
  const { invoice, statements } = standing
    ? { invoice: standing, statements: [] }
    : await newInvoice(ctx, payment, input.account, raced)
  const after = { ...payment, invoice: invoice.id }
  const now = ctx.runtime.now()
  const states = await readChainStates(ctx.db)
  const change = { invoice, before: [], after: [after], beforeAt: now, now, states }
  await ctx.db.commit([
    notRestored(),
    accountExists(input.account),
    guard(
      'EXISTS (SELECT 1 FROM payment WHERE key = ? AND invoice IS NULL AND state = ? AND epoch = ?)',
      [payment.key, payment.state, BigInt(payment.epoch)],
      () => raced,
    ),
    ...statements,
    ...paymentStatements(payment, after, new Map([[invoice.id, invoice]]), now),
    ...eventsOf(ctx, change).map((event) => insertEvent(invoice.id, event, now)),
    // Whoever watches has to take the lease anew: a step that was read before would take the payment away again.
    endWatch(payment.chain),
  ])
  ctx.runtime.log.warn(
    { event: 'payment_assigned', payment: payment.key, account: input.account, invoice: invoice.id },
    'A human assigned a payment.',
  )
  ctx.changes.notify(invoice.id)
  return viewOf(ctx, invoice)
}

async function findPayment(db: Db, named: string): Promise<PaymentRecord> {
  const found = await unassignedPayments(db, named)
  const exact = found.find(({ key }) => key === named)
  const free = found.filter(({ invoice, state }) => invoice === null && isLive(state))
  const payment = exact ?? (free.length > 0 ? free : found).at(0)
  if (!payment) {
    throw new BursarError('not_found', `There is no payment ${JSON.stringify(named).slice(0, 200)}.`, {
      remedy: 'See: bursar unassigned',
    })
  }
  if (exact || free.length <= 1) return payment
  throw new BursarError('conflict', `This transaction made ${free.length} payments to no invoice.`, {
    remedy: `Name one of them: ${free.map(({ key }) => key).join(', ')}`,
  })
}

async function assigned(ctx: InvoiceContext, id: string, account: string): Promise<InvoiceView> {
  const invoice = await findInvoice(ctx.db, id)
  if (!invoice) throw new BursarError('internal', `The invoice ${id} has disappeared.`)
  if (invoice.account !== account) throw belongsTo(invoice)
  return viewOf(ctx, invoice)
}

function belongsTo(invoice: InvoiceRecord): BursarError {
  return new BursarError(
    'conflict',
    `This payment belongs to invoice ${invoice.id} of account ${invoice.account}.`,
    { remedy: 'Nothing was changed.', details: { invoice: invoice.id, account: invoice.account } },
  )
}

interface NewInvoice {
  readonly invoice: InvoiceRecord
  readonly statements: readonly Statement[]
}

/** When the first payment to an address came, whoever it is for: a lock that ends then covers none of them. */
async function firstArrival(db: Db, address: string): Promise<number> {
  const [row] = await db.query<{ at: bigint }>(
    'SELECT min(min(coalesce(block_time, seen_at), seen_at)) AS at FROM payment WHERE address = ?',
    [address],
  )
  if (!row) throw new BursarError('internal', 'A payment has disappeared.')
  return Number(row.at)
}

/** For what the payment is worth now, with a lock that ended before it came. */
async function newInvoice(
  ctx: InvoiceContext,
  payment: PaymentRecord,
  account: string,
  raced: BursarError,
): Promise<NewInvoice> {
  const rail = railNamed(ctx.chains, `${payment.chain}:${payment.symbol}`)
  const { chain, asset } = rail
  const { usdPerCredit } = ctx.catalogue
  const quoted = await ctx.rates.quote(asset.symbol)
  const quote = { ...quoted, priceE8: saleablePrice(asset.symbol, quoted.priceE8) }
  const worth = atomicToUsd(payment.amount, quote.priceE8, asset.decimals)
  const credits = usdToCredits(worth, usdPerCredit)
  if (isDust(chain.family, { amount: payment.amount, usd: worth }) || credits === 0n)
    throw invalid('This payment is dust: it costs more to collect than it is worth.')
  if (credits > MAX_MICRO) throw invalid('This payment is worth more credits than the ledger can hold.')
  const sale = plainSale(credits, usdPerCredit)
  const createdAt = ctx.runtime.now()
  const expiresAt = await firstArrival(ctx.db, payment.address)
  const amount = usdToAtomic(sale.usd, quote.priceE8, asset.decimals)
  const id = ctx.runtime.id('inv')
  const draft = { id, account, rail, sale, quote, amount, createdAt, expiresAt, claim: null }
  const { invoice, insert } = insertInvoice(ctx, draft, payment.address)
  return {
    invoice,
    statements: [
      stillBound(chain, usdPerCredit),
      guard('NOT EXISTS (SELECT 1 FROM invoice WHERE address = ?)', [payment.address], () => raced),
      insert,
    ],
  }
}
