/**
 * Sets the cost of a payment aside, before anything is signed: the amount plus the highest network fee, at the
 * purse's own prices. The row, the invoice's uniqueness and the budget are one commit.
 */
import { type Arg, guard, type Statement, statement } from '../db/db.ts'
import { BursarError } from '../errors.ts'
import { atomicToUsdCeil, type MicroUsd, type Quote } from '../money.ts'
import { budgetPrice } from '../rates/rates.ts'
import { budgetGuards, checkBudget, type Period, periodOf, readUse } from './budget.ts'
import { findPayment, type Payment } from './payment.ts'
import type { Order, Purse } from './purse.ts'
import type { FeeBound } from './transaction.ts'

/**
 * Reserves, or finds the payment that was reserved for the same invoice meanwhile.
 *
 * @throws {BursarError} budget_exceeded, idempotency_conflict, rate_unavailable, database_unavailable
 */
export async function reserve(
  purse: Purse,
  order: Order,
  fee: FeeBound,
  idempotencyKey: string | undefined,
): Promise<Payment> {
  const price = await priceOf(purse, order, fee)
  for (;;) {
    const now = purse.runtime.now()
    const period = periodOf(now)
    const use = await readUse(purse.db, period)
    checkBudget(purse.budget, period, use, price.amountUsd + price.feeUsd)
    const id = purse.runtime.id('pay')
    try {
      await purse.db.commit([
        guard(
          'NOT EXISTS (SELECT 1 FROM payment WHERE payee = ? AND invoice = ?)',
          [order.payee.key, order.invoice],
          meanwhile,
        ),
        insert(row(purse, order, fee, price, { id, now, period })),
        ...budgetGuards(purse.budget, period, meanwhile),
        ...(idempotencyKey === undefined ? [] : bindKey(idempotencyKey, id)),
      ])
    } catch (error) {
      // Something else took the invoice or the room between the look and the commit: look again.
      if (!(error instanceof BursarError) || error.code !== 'conflict') throw error
    }
    const payment = await findPayment(purse.db, order.payee.key, order.invoice)
    if (payment) return payment
  }
}

/**
 * Lets a repeat of an idempotency key find its payment; to be committed.
 * Guards with idempotency_conflict: the key belongs to the payment of another invoice.
 */
export function bindKey(key: string, payment: string): Statement[] {
  return [
    guard('NOT EXISTS (SELECT 1 FROM idempotency WHERE key = ? AND payment <> ?)', [key, payment], keyTaken),
    statement('INSERT INTO idempotency (key, payment) VALUES (?, ?) ON CONFLICT DO NOTHING', [key, payment]),
  ]
}

interface Price {
  readonly amountUsd: MicroUsd
  readonly feeUsd: MicroUsd
  readonly quotes: readonly [asset: Quote, native: Quote]
}

async function priceOf(purse: Purse, { asset, amount, network }: Order, fee: FeeBound): Promise<Price> {
  const { native } = network
  const quote = await budgetQuote(purse, asset.symbol)
  const nativeQuote = native.symbol === asset.symbol ? quote : await budgetQuote(purse, native.symbol)
  return {
    amountUsd: atomicToUsdCeil(amount, quote.priceE8, asset.decimals),
    feeUsd: atomicToUsdCeil(fee.maxFee, nativeQuote.priceE8, native.decimals),
    quotes: [quote, nativeQuote],
  }
}

async function budgetQuote({ rates }: Purse, symbol: string): Promise<Quote> {
  const quote = await rates.quote(symbol)
  return { ...quote, priceE8: budgetPrice(symbol, quote.priceE8) }
}

function row(
  purse: Purse,
  order: Order,
  fee: FeeBound,
  price: Price,
  { id, now, period }: { id: string; now: number; period: Period },
): Record<string, Arg> {
  const { network, asset, payee } = order
  return {
    id,
    payee: payee.key,
    payee_name: payee.name,
    invoice: order.invoice,
    payload: order.payload,
    signature: order.signature,
    rail: order.rail,
    network: network.caip2,
    symbol: asset.symbol,
    decimals: BigInt(asset.decimals),
    contract: asset.contract ?? null,
    recipient: order.recipient,
    amount: order.amount.toString(),
    expires_at: BigInt(order.expiresAt),
    usd: price.amountUsd + price.feeUsd,
    amount_usd: price.amountUsd,
    fee_usd: price.feeUsd,
    native_price_e8: price.quotes[1].priceE8.toString(),
    native_decimals: BigInt(network.native.decimals),
    quotes: JSON.stringify(price.quotes.map((quote) => ({ ...quote, priceE8: quote.priceE8.toString() }))),
    day: period.day,
    month: period.month,
    wallet: purse.wallet.address,
    gas: fee.gas,
    max_fee_per_gas: fee.maxFeePerGas.toString(),
    max_priority_fee_per_gas: fee.maxPriorityFeePerGas.toString(),
    max_fee: fee.maxFee.toString(),
    state: 'reserved',
    created_at: BigInt(now),
    updated_at: BigInt(now),
  }
}

function insert(values: Record<string, Arg>): Statement {
  const columns = Object.keys(values)
  return statement(
    `INSERT INTO payment (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
    Object.values(values),
  )
}

function meanwhile(): BursarError {
  return new BursarError('conflict', 'Another payment took the room or the invoice meanwhile.')
}

export function keyTaken(): BursarError {
  return new BursarError(
    'idempotency_conflict',
    'This idempotency key belongs to the payment of another invoice.',
    {
      remedy: 'Use a new key for a new invoice; repeat the old invoice to ask about its payment.',
    },
  )
}
