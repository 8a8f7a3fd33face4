/** Rows of invoices and payments as values. Amounts are bigint, times Unix milliseconds. */
import type { PaymentState } from '../bursar.ts'
import { splitRail } from '../chains/chain.ts'
import type { Db } from '../db/db.ts'
import type { Atomic, MicroCredits, MicroUsd, PriceE8 } from '../money.ts'
import type { Pricing } from './pricing.ts'

export interface InvoiceRecord {
  readonly id: string
  readonly account: string
  /** The two halves of its rail. */
  readonly chain: string
  readonly symbol: string
  readonly pack: string | null
  readonly amount: Atomic
  readonly usd: MicroUsd
  /** All credits, the discount included. */
  readonly credits: MicroCredits
  readonly discount: MicroCredits
  readonly usdPerCredit: MicroUsd
  /** How long its credits last, or null: forever. */
  readonly lotLifetimeMs: number | null
  readonly priceE8: PriceE8
  readonly priceSource: string
  readonly priceAt: number
  readonly address: string
  readonly signed: string
  readonly signature: string
  readonly createdAt: number
  readonly expiresAt: number
  /** Times its discount has been granted. */
  readonly discountEpoch: number
}

/**
 * Of a payment that is deep enough: no second endpoint shows it; there is no current rate to price it with; it is worth
 * more than one grant can be; the seller has taken its asset out of the configuration.
 */
export type PaymentWait = 'endpoints' | 'rate' | 'too_large' | 'asset'

export interface PaymentRecord {
  readonly key: string
  readonly chain: string
  readonly symbol: string
  readonly txid: string
  readonly address: string
  readonly amount: Atomic
  /** null: nobody's. */
  readonly invoice: string | null
  readonly state: PaymentState
  readonly epoch: number
  /** Confirmations that credit it. */
  readonly needed: number
  readonly height: number | null
  readonly blockHash: string | null
  readonly blockTime: number | null
  readonly seenAt: number
  readonly creditedAt: number | null
  /** What the current epoch granted. */
  readonly credits: MicroCredits
  readonly pricing: Pricing | null
  /** What it waits for although it is deep enough; kept apart from the payment itself. */
  readonly waiting: PaymentWait | null
}

type Cells = Readonly<Record<string, bigint | string | null>>

const INVOICES = `SELECT id, account, rail, pack, amount, usd, credits, discount, usd_per_credit, lot_lifetime, price_e8,
  price_source, price_at, address, signed, signature, created_at, expires_at, discount_epoch FROM invoice`
const PAYMENTS = `SELECT key, chain, symbol, txid, address, amount, invoice, state, epoch, needed, height, block_hash,
  block_time, seen_at, credited_at, credits, pricing,
  (SELECT reason FROM waiting WHERE subject = 'payment:' || key) AS waiting FROM payment`

export async function findInvoice(db: Db, id: string): Promise<InvoiceRecord | null> {
  const [row] = await db.query<Cells>(`${INVOICES} WHERE id = ?`, [id])
  return row ? invoiceOf(row) : null
}

/** `values` is matched against one column; it may be of any size. */
export async function invoicesBy(
  db: Db,
  column: 'id' | 'address',
  values: Iterable<string>,
): Promise<InvoiceRecord[]> {
  const list = [...values]
  if (list.length === 0) return []
  const rows = await db.query<Cells>(
    `${INVOICES} WHERE ${column} IN (SELECT value FROM json_each(?)) ORDER BY id`,
    [JSON.stringify(list)],
  )
  return rows.map(invoiceOf)
}

/** Invoices of a chain whose lock ended after `from`, up to and with `to`. */
export async function invoicesExpiring(
  db: Db,
  { chain, from, to }: { readonly chain: string; readonly from: number; readonly to: number },
): Promise<InvoiceRecord[]> {
  const rows = await db.query<Cells>(
    `${INVOICES} WHERE expires_at > ? AND expires_at <= ? AND substr(rail, 1, ?) = ? ORDER BY expires_at, id`,
    [BigInt(from), BigInt(to), BigInt(chain.length + 1), `${chain}:`],
  )
  return rows.map(invoiceOf)
}

/** In the order in which they were first seen. `values` may be of any size. */
export async function paymentsBy(
  db: Db,
  column: 'key' | 'invoice',
  values: Iterable<string>,
): Promise<PaymentRecord[]> {
  const list = [...values]
  if (list.length === 0) return []
  const rows = await db.query<Cells>(
    `${PAYMENTS} WHERE ${column} IN (SELECT value FROM json_each(?)) ORDER BY seen_at, key`,
    [JSON.stringify(list)],
  )
  return rows.map(paymentOf)
}

/** Payments of a chain that may still change: unmined, or waiting for confirmations. */
export async function openPayments(db: Db, chain: string): Promise<PaymentRecord[]> {
  const rows = await db.query<Cells>(`${PAYMENTS} WHERE chain = ? AND state IN ('seen', 'confirming')`, [
    chain,
  ])
  return rows.map(paymentOf)
}

/** Payments mined above a height: what a fork there may have undone. */
export async function paymentsAbove(db: Db, chain: string, height: number): Promise<PaymentRecord[]> {
  const rows = await db.query<Cells>(`${PAYMENTS} WHERE chain = ? AND height > ?`, [chain, BigInt(height)])
  return rows.map(paymentOf)
}

/** Payments without an invoice; with a key or a transaction's hash, those that it names, whosever they are. */
export async function unassignedPayments(db: Db, named?: string): Promise<PaymentRecord[]> {
  const rows = await db.query<Cells>(
    `${PAYMENTS} WHERE ${named === undefined ? 'invoice IS NULL' : '(key = ?1 OR txid = ?1)'} ORDER BY seen_at, key`,
    named === undefined ? [] : [named],
  )
  return rows.map(paymentOf)
}

function invoiceOf(row: Cells): InvoiceRecord {
  const { chain, symbol } = splitRail(text(row, 'rail'))
  return {
    id: text(row, 'id'),
    account: text(row, 'account'),
    chain,
    symbol,
    pack: textOrNull(row, 'pack'),
    amount: BigInt(text(row, 'amount')),
    usd: integer(row, 'usd'),
    credits: integer(row, 'credits'),
    discount: integer(row, 'discount'),
    usdPerCredit: integer(row, 'usd_per_credit'),
    lotLifetimeMs: numberOrNull(row, 'lot_lifetime'),
    priceE8: BigInt(text(row, 'price_e8')),
    priceSource: text(row, 'price_source'),
    priceAt: Number(integer(row, 'price_at')),
    address: text(row, 'address'),
    signed: text(row, 'signed'),
    signature: text(row, 'signature'),
    createdAt: Number(integer(row, 'created_at')),
    expiresAt: Number(integer(row, 'expires_at')),
    discountEpoch: Number(integer(row, 'discount_epoch')),
  }
}

function paymentOf(row: Cells): PaymentRecord {
  const pricing = textOrNull(row, 'pricing')
  return {
    key: text(row, 'key'),
    chain: text(row, 'chain'),
    symbol: text(row, 'symbol'),
    txid: text(row, 'txid'),
    address: text(row, 'address'),
    amount: BigInt(text(row, 'amount')),
    invoice: textOrNull(row, 'invoice'),
    // The column's CHECK allows these states only.
    state: text(row, 'state') as PaymentState,
    epoch: Number(integer(row, 'epoch')),
    needed: Number(integer(row, 'needed')),
    height: numberOrNull(row, 'height'),
    blockHash: textOrNull(row, 'block_hash'),
    blockTime: numberOrNull(row, 'block_time'),
    seenAt: Number(integer(row, 'seen_at')),
    creditedAt: numberOrNull(row, 'credited_at'),
    credits: integer(row, 'credits'),
    pricing: pricing === null ? null : parsePricing(pricing),
    waiting: textOrNull(row, 'waiting') as PaymentWait | null,
  }
}

/** The stored form of a valuation: integers as text, since JSON numbers lose digits. */
export function pricingText(pricing: Pricing): string {
  return JSON.stringify({
    in_time: pricing.inTime,
    locked: pricing.locked.toString(),
    locked_price_e8: pricing.lockedPriceE8.toString(),
    rest: pricing.rest.toString(),
    rest_price_e8: pricing.restPriceE8?.toString() ?? null,
    source: pricing.source,
    at: pricing.at,
    usd_micro: pricing.usd.toString(),
  })
}

interface StoredPricing {
  readonly in_time: boolean
  readonly locked: string
  readonly locked_price_e8: string
  readonly rest: string
  readonly rest_price_e8: string | null
  readonly source: string | null
  readonly at: number | null
  readonly usd_micro: string
}

function parsePricing(stored: string): Pricing {
  const value = JSON.parse(stored) as StoredPricing
  return {
    inTime: value.in_time,
    locked: BigInt(value.locked),
    lockedPriceE8: BigInt(value.locked_price_e8),
    rest: BigInt(value.rest),
    restPriceE8: value.rest_price_e8 === null ? null : BigInt(value.rest_price_e8),
    source: value.source,
    at: value.at,
    usd: BigInt(value.usd_micro),
  }
}

function text(row: Cells, column: string): string {
  const value = row[column]
  if (typeof value === 'string') return value
  throw new TypeError(`column ${column} holds no text`)
}

function textOrNull(row: Cells, column: string): string | null {
  return row[column] === null ? null : text(row, column)
}

function integer(row: Cells, column: string): bigint {
  const value = row[column]
  if (typeof value === 'bigint') return value
  throw new TypeError(`column ${column} holds no integer`)
}

function numberOrNull(row: Cells, column: string): number | null {
  return row[column] === null ? null : Number(integer(row, column))
}
