/**
 * Invoices against what the till signed, payments against how they were priced, and discounts against what has been
 * paid: arithmetic that does not fit 64 bits, from the stored terms alone. The decimals of an asset are not stored:
 * they are those that fit everything that was sold for it, and something is wrong where none do.
 */
import { z } from 'zod'
import type { Snapshot } from '../../db/snapshot.ts'
import { BursarError } from '../../errors.ts'
import { creditsToUsd, MICRO, max, usdToAtomic, usdToCredits } from '../../money.ts'
import { type SignedPayload, verifyInvoice } from '../../signed-invoice.ts'
import type { Finding, FindingKind, Findings } from './finding.ts'
import { pages } from './replay.ts'

interface InvoiceRow {
  readonly key: string
  readonly rail: string
  readonly amount: string
  readonly usd: bigint
  readonly credits: bigint
  readonly discount: bigint
  readonly usd_per_credit: bigint
  readonly price_e8: string
  readonly address: string
  readonly signed: string
  readonly signature: string
  readonly expires_at: bigint
  /** Its discount is granted now: 0 or 1. */
  readonly discount_open: bigint
  /** JSON: its credited payments. */
  readonly credited: string
}

const INVOICES = `
  SELECT CAST(i.id AS BLOB) AS key, CAST(rail AS BLOB) AS rail, CAST(amount AS BLOB) AS amount, usd, credits, discount,
    usd_per_credit, CAST(price_e8 AS BLOB) AS price_e8, CAST(address AS BLOB) AS address, CAST(signed AS BLOB) AS signed,
    CAST(signature AS BLOB) AS signature, expires_at,
    EXISTS (SELECT 1 FROM posting p WHERE p.ref = 'discount:' || i.id || ':' || i.discount_epoch AND p.phase = 0
      AND NOT EXISTS (SELECT 1 FROM posting c WHERE c.ref = p.ref AND c.phase = 1)) AS discount_open,
    (SELECT CAST(json_group_array(json_array(y.key, y.chain || ':' || y.symbol, y.amount, CAST(y.credits AS TEXT), y.pricing)) AS BLOB)
      FROM payment y WHERE y.invoice = i.id AND y.state = 'credited') AS credited
  FROM invoice i WHERE i.id > ? ORDER BY i.id LIMIT ?`

const integer = z
  .string()
  .regex(/^\d{1,100}$/)
  .transform(BigInt)
const pricingSchema = z.object({
  locked: integer,
  locked_price_e8: integer,
  rest: integer,
  rest_price_e8: integer.nullable(),
  usd_micro: integer,
})
type Pricing = z.output<typeof pricingSchema>

interface Credited {
  readonly key: string
  readonly rail: string
  readonly amount: bigint
  readonly credits: bigint
  /** null: there is none, or it cannot be read. */
  readonly pricing: Pricing | null
}

/** Decimals that an asset can have. */
const DECIMALS: readonly number[] = Array.from({ length: 37 }, (_, decimals) => decimals)
/** Those that fit so far, by network and contract. */
type Fitting = Map<string, readonly number[]>

/** @param onInvoice called after each. @throws the driver's error, for `readable` */
export async function checkInvoices(
  snapshot: Snapshot,
  findings: Findings,
  onInvoice: () => Promise<void>,
): Promise<void> {
  const fitting: Fitting = new Map()
  for await (const invoice of pages<InvoiceRow>(snapshot, INVOICES)) {
    const about = (kind: FindingKind, why: string): Finding => ({
      kind,
      table: 'invoice',
      row: invoice.key,
      message: `Invoice ${invoice.key} ${why}.`,
    })
    const signed = signedPart(invoice)
    const altered = typeof signed === 'string' ? signed : termsProblem(invoice, signed, fitting)
    if (altered !== null) findings.add(about('invoice_altered', altered))
    const decimals = typeof signed === 'string' ? DECIMALS : fitting.get(assetOf(signed))
    const credited = creditedOf(invoice)
    for (const payment of credited) {
      const problem = valueProblem(invoice, payment, decimals ?? DECIMALS)
      if (problem === null) continue
      findings.add({
        kind: 'payment_value',
        table: 'payment',
        row: payment.key,
        message: `Payment ${payment.key} ${problem}.`,
      })
    }
    const discount = discountProblem(invoice, credited)
    if (discount !== null) findings.add(about('discount_mismatch', discount))
    await onInvoice()
  }
}

/** What was signed for an invoice, or what is wrong with that. */
function signedPart(invoice: InvoiceRow): SignedPayload | string {
  const { key, rail, amount, address, signed: payload, signature, expires_at: expiresAt } = invoice
  try {
    const signed = verifyInvoice({ payload, signature, payee: payeeIn(payload) })
    const differs =
      signed.invoice !== key ||
      signed.rail !== rail ||
      signed.recipient !== address ||
      signed.amount !== amount ||
      BigInt(signed.expires_at) !== expiresAt
    return differs ? 'differs from what was signed for it' : signed
  } catch (thrown) {
    if (!(thrown instanceof BursarError)) throw thrown
    return 'does not carry a valid signature of its payee'
  }
}

function payeeIn(payload: string): string {
  try {
    return z.object({ payee: z.string() }).parse(JSON.parse(payload)).payee
  } catch {
    return ''
  }
}

/** The signed amount follows from the price in USD and the rate; discount and credits from the price of a credit. */
function termsProblem(
  { amount, usd, credits, discount, usd_per_credit: perCredit, price_e8: price }: InvoiceRow,
  signed: SignedPayload,
  fitting: Fitting,
): string | null {
  if (!/^\d+$/.test(price) || BigInt(price) === 0n || perCredit <= 0n || usd <= 0n || credits <= 0n)
    return 'has terms that cannot be'
  const asset = assetOf(signed)
  const fits = (fitting.get(asset) ?? DECIMALS).filter(
    (decimals) => usdToAtomic(usd, BigInt(price), decimals) === BigInt(amount),
  )
  if (fits.length > 0) fitting.set(asset, fits)
  else return `asks for ${amount} atomic units, which its price of ${usd} micro-USD is not at its rate`
  const given = max(0n, credits - usdToCredits(usd, perCredit))
  if (discount !== given || usd > creditsToUsd(credits, perCredit))
    return `sells ${credits} micro-credits for ${usd} micro-USD with a discount of ${discount}, where ${given} fits`
  return null
}

function assetOf({ network, contract }: SignedPayload): string {
  return `${network} ${contract ?? ''}`
}

function creditedOf({ credited }: InvoiceRow): Credited[] {
  const rows = JSON.parse(credited) as [string, string, string, string, string | null][]
  return rows.map(([key, rail, amount, credits, pricing]) => ({
    key,
    rail,
    amount: /^\d+$/.test(amount) ? BigInt(amount) : -1n,
    credits: BigInt(credits),
    pricing: pricingOf(pricing),
  }))
}

function pricingOf(text: string | null): Pricing | null {
  try {
    return pricingSchema.parse(JSON.parse(text ?? ''))
  } catch {
    return null
  }
}

/** Locked part at the locked price, the rest at its own, one division rounding down. */
function valueProblem(
  invoice: InvoiceRow,
  { rail, amount, credits, pricing }: Credited,
  ofInvoice: readonly number[],
): string | null {
  if (!pricing) return 'is credited without a valuation that can be read'
  const { locked, rest } = pricing
  if (locked + rest !== amount) return `of ${amount} atomic units was valued as ${locked + rest}`
  if (String(pricing.locked_price_e8) !== invoice.price_e8)
    return `was valued at another locked price than that of invoice ${invoice.key}`
  if (locked > 0n && rail !== invoice.rail) return `used the lock of invoice ${invoice.key} from another rail`
  const value = locked * pricing.locked_price_e8 + rest * (pricing.rest_price_e8 ?? 0n)
  const perCredit = invoice.usd_per_credit
  const fits =
    perCredit > 0n &&
    (rail === invoice.rail ? ofInvoice : DECIMALS).some((decimals) => {
      const unit = 100n * 10n ** BigInt(decimals)
      return value / unit === pricing.usd_micro && (value * MICRO) / (unit * perCredit) === credits
    })
  return fits ? null : `was credited ${credits} micro-credits, which its valuation does not give`
}

/** The discount stands exactly while in-time payments fill the lock. */
function discountProblem(invoice: InvoiceRow, credited: readonly Credited[]): string | null {
  const locked = credited.reduce((sum, { pricing }) => sum + (pricing?.locked ?? 0n), 0n)
  const amount = /^\d+$/.test(invoice.amount) ? BigInt(invoice.amount) : 0n
  if (locked > amount) return `asks for ${amount} atomic units, but its lock covered ${locked}`
  const due = invoice.discount > 0n && locked >= amount
  if (due === (invoice.discount_open === 1n)) return null
  return due
    ? 'is paid in time, but its discount is not granted'
    : 'is not paid in time, but its discount stands'
}
