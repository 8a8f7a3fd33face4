/**
 * Statements that bring the stored rows from what they were to what they are. What is posted to the ledger follows
 * from that difference alone: a payment whose epoch is no longer credited is reversed, a new epoch is granted.
 */
import { type Statement, statement } from '../db/db.ts'
import { grantStatements, reverseStatements } from '../ledger/grant.ts'
import { type InvoiceRecord, type PaymentRecord, pricingText } from './records.ts'
import { discountIsDue } from './view.ts'

/** Key of the posting that grants a payment's credits for the `epoch`-th time. */
export function paymentRef(key: string, epoch: number): string {
  return `pay:${key}:${epoch}`
}

export function discountRef(invoice: string, epoch: number): string {
  return `discount:${invoice}:${epoch}`
}

export function paymentStatements(
  was: PaymentRecord | null,
  is: PaymentRecord,
  invoices: ReadonlyMap<string, InvoiceRecord>,
  at: number,
): Statement[] {
  const statements = [upsertPayment(is)]
  if (was?.state === 'credited' && (is.state !== 'credited' || is.epoch !== was.epoch)) {
    statements.push(...reverseStatements({ ref: paymentRef(was.key, was.epoch), at }))
  }
  const invoice = is.invoice === null ? undefined : invoices.get(is.invoice)
  if (is.state === 'credited' && is.epoch !== (was?.epoch ?? 0) && invoice) {
    statements.push(
      ...grantStatements({
        ref: paymentRef(is.key, is.epoch),
        account: invoice.account,
        credits: is.credits,
        kind: 'grant',
        expiresAt: expiryOf(invoice, at),
        at,
      }),
    )
  }
  return statements
}

/** The discount of a pack, granted when its price has arrived in time, taken back when it has not any more. */
export function invoiceStatements(
  invoice: InvoiceRecord,
  was: readonly PaymentRecord[],
  is: readonly PaymentRecord[],
  at: number,
): Statement[] {
  const open = discountIsDue(invoice, was)
  const due = discountIsDue(invoice, is)
  if (open === due) return []
  if (!due) return reverseStatements({ ref: discountRef(invoice.id, invoice.discountEpoch), at })
  const epoch = invoice.discountEpoch + 1
  return [
    statement('UPDATE invoice SET discount_epoch = ? WHERE id = ?', [BigInt(epoch), invoice.id]),
    ...grantStatements({
      ref: discountRef(invoice.id, epoch),
      account: invoice.account,
      credits: invoice.discount,
      kind: 'discount',
      expiresAt: expiryOf(invoice, at),
      at,
    }),
  ]
}

export function samePayment(a: PaymentRecord, b: PaymentRecord): boolean {
  return contentOf(a) === contentOf(b)
}

function contentOf(payment: PaymentRecord): string {
  return JSON.stringify(cellsOf(payment), (_, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  )
}

function upsertPayment(payment: PaymentRecord): Statement {
  return statement(
    `INSERT INTO payment (key, chain, symbol, txid, address, amount, invoice, state, epoch, needed, height, block_hash,
       block_time, seen_at, credited_at, credits, pricing)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (key) DO UPDATE SET symbol = excluded.symbol, txid = excluded.txid, address = excluded.address,
       amount = excluded.amount, invoice = excluded.invoice, state = excluded.state, epoch = excluded.epoch,
       needed = excluded.needed, height = excluded.height, block_hash = excluded.block_hash,
       block_time = excluded.block_time, credited_at = excluded.credited_at, credits = excluded.credits,
       pricing = excluded.pricing`,
    cellsOf(payment),
  )
}

function cellsOf(payment: PaymentRecord): (string | bigint | null)[] {
  return [
    payment.key,
    payment.chain,
    payment.symbol,
    payment.txid,
    payment.address,
    payment.amount.toString(),
    payment.invoice,
    payment.state,
    BigInt(payment.epoch),
    BigInt(payment.needed),
    integerOrNull(payment.height),
    payment.blockHash,
    integerOrNull(payment.blockTime),
    BigInt(payment.seenAt),
    integerOrNull(payment.creditedAt),
    payment.credits,
    payment.pricing ? pricingText(payment.pricing) : null,
  ]
}

function integerOrNull(value: number | null): bigint | null {
  return value === null ? null : BigInt(value)
}

function expiryOf(invoice: InvoiceRecord, at: number): number | null {
  return invoice.lotLifetimeMs === null ? null : at + invoice.lotLifetimeMs
}
