/** An invoice as buyers, agents and webhooks see it. */
import type { InvoiceView, PaymentView } from '../bursar.ts'
import { BursarError } from '../errors.ts'
import { formatCredits, formatDecimal, formatPrice, formatUsd, max } from '../money.ts'
import type { SignedPayload } from '../signed-invoice.ts'
import { isoTime } from '../time.ts'
import { type InvoiceContext, railNamed } from './context.ts'
import { arrivedInTime, leastPayable, lockIsFilled, onRail } from './pricing.ts'
import { findInvoice, type InvoiceRecord, type PaymentRecord, paymentsBy } from './records.ts'
import { type Counted, countedAmount, type Derived, deriveState } from './state.ts'
import { type ChainStates, readChainStates, waitingFor } from './waiting.ts'

export interface BuildView {
  readonly invoice: InvoiceRecord
  /** All payments to the invoice. */
  readonly payments: readonly PaymentRecord[]
  readonly states: ChainStates
  readonly now: number
}

type ViewContext = Pick<InvoiceContext, 'chains'>

/**
 * The view of an invoice of this account.
 *
 * @throws {BursarError} not_found: no such invoice, or another account's; or its chain is no longer configured.
 */
export async function getInvoice(
  ctx: Pick<InvoiceContext, 'db' | 'runtime' | 'chains'>,
  { account, id }: { readonly account: string; readonly id: string },
): Promise<InvoiceView> {
  const invoice = await findInvoice(ctx.db, id)
  // Another account's invoice must not be told apart from one that does not exist.
  if (!invoice || invoice.account !== account) throw unknownInvoice(id)
  return viewOf(ctx, invoice)
}

export async function viewOf(
  ctx: Pick<InvoiceContext, 'db' | 'runtime' | 'chains'>,
  invoice: InvoiceRecord,
): Promise<InvoiceView> {
  const [payments, states] = await Promise.all([
    paymentsBy(ctx.db, 'invoice', [invoice.id]),
    readChainStates(ctx.db),
  ])
  return buildView(ctx, { invoice, payments, states, now: ctx.runtime.now() })
}

/** Pure. @throws {BursarError} not_found: the invoice's chain is no longer configured. */
export function buildView(ctx: ViewContext, { invoice, payments, states, now }: BuildView): InvoiceView {
  const { chain, asset } = railNamed(ctx.chains, `${invoice.chain}:${invoice.symbol}`)
  const derived = deriveInvoice(ctx, invoice, payments, now)
  // A rest that would be dust could not be paid by itself.
  const least = leastPayable({ family: chain.family, decimals: asset.decimals }, invoice)
  const missing = derived.missing > 0n ? max(derived.missing, least) : 0n
  const { payee } = JSON.parse(invoice.signed) as SignedPayload
  return {
    id: invoice.id,
    state: derived.state,
    flags: derived.flags,
    rail: `${invoice.chain}:${invoice.symbol}`,
    asset: asset.symbol,
    decimals: asset.decimals,
    amount: invoice.amount.toString(),
    amount_display: `${formatDecimal(invoice.amount, asset.decimals)} ${asset.symbol}`,
    usd: formatUsd(invoice.usd),
    credits: formatCredits(invoice.credits),
    address: invoice.address,
    payment_uri: chain.uri({
      address: invoice.address,
      symbol: asset.symbol,
      amount: missing > 0n ? missing : invoice.amount,
    }),
    rate: {
      usd: formatPrice(invoice.priceE8),
      source: invoice.priceSource,
      at: isoTime(invoice.priceAt),
    },
    created_at: isoTime(invoice.createdAt),
    expires_at: isoTime(invoice.expiresAt),
    payments: payments.map((payment) => paymentView(payment, states, now)),
    missing: missing.toString(),
    credits_granted: formatCredits(creditsGranted(invoice, payments)),
    signed: { payload: invoice.signed, signature: invoice.signature, payee },
  }
}

/** The state of an invoice from its rows. Pure. */
export function deriveInvoice(
  ctx: ViewContext,
  invoice: InvoiceRecord,
  payments: readonly PaymentRecord[],
  now: number,
): Derived {
  const counted = payments.map(
    (payment): Counted => ({
      state: payment.state,
      epoch: payment.epoch,
      counts: countedAmount(invoice, payment),
      late: isLate(ctx, invoice, payment),
    }),
  )
  return deriveState(invoice, counted, now)
}

export function paymentView(payment: PaymentRecord, states: ChainStates, now: number): PaymentView {
  const tip = states.get(payment.chain)?.height
  const mined = payment.height !== null && tip !== undefined ? tip - payment.height + 1 : 0
  return {
    state: payment.state,
    rail: `${payment.chain}:${payment.symbol}`,
    amount: payment.amount.toString(),
    txid: payment.txid,
    block: payment.height,
    confirmations: Math.max(0, mined),
    confirmations_needed: payment.needed,
    credits: formatCredits(payment.state === 'credited' ? payment.credits : 0n),
    waiting_for: waitingFor(payment, states, now),
  }
}

/** The in-time payments that are credited fill the lock: the discount of the invoice is open. */
export function discountIsDue(invoice: InvoiceRecord, payments: readonly PaymentRecord[]): boolean {
  if (invoice.discount === 0n) return false
  const credited = payments.filter((payment) => payment.state === 'credited' && onRail(invoice, payment))
  return lockIsFilled(
    invoice,
    credited.flatMap((payment) => payment.pricing ?? []),
  )
}

function creditsGranted(invoice: InvoiceRecord, payments: readonly PaymentRecord[]): bigint {
  const paid = payments
    .filter((payment) => payment.state === 'credited')
    .reduce((sum, payment) => sum + payment.credits, 0n)
  return paid + (discountIsDue(invoice, payments) ? invoice.discount : 0n)
}

/** Provisional while it is not mined: then the moment we saw it counts. */
function isLate(ctx: ViewContext, invoice: InvoiceRecord, payment: PaymentRecord): boolean {
  if (payment.blockTime === null) return payment.seenAt >= invoice.expiresAt
  const family = ctx.chains.get(payment.chain)?.family ?? 'evm'
  return !arrivedInTime(invoice, { family, blockTime: payment.blockTime, seenAt: payment.seenAt })
}

export function unknownInvoice(id: string): BursarError {
  return new BursarError('not_found', `There is no invoice ${JSON.stringify(id).slice(0, 80)}.`, {
    remedy: 'Use the id that create_invoice returned.',
  })
}
