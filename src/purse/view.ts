/** A payment and a purse as their callers see them: money as text, times and keys left out. */
import type { PursePayment, PurseStatus } from '../bursar.ts'
import { BursarError } from '../errors.ts'
import { formatDecimal, formatUsd } from '../money.ts'
import { readBalance } from './balance.ts'
import { budgetLeft, periodOf, readUse } from './budget.ts'
import type { Payment, Reason } from './payment.ts'
import type { Purse } from './purse.ts'

const NOTES: Record<Reason, string> = {
  no_answer:
    'No node has answered for it yet. The same transaction is sent again by itself, never a second one.',
  refused_funds:
    'The node refuses it because the wallet lacks the funds. It is sent again by itself once they are there.',
  refused_fee:
    'The node refuses it because network fees have risen above its ceiling. It is sent again by itself when they fall.',
  refused: 'The node refuses it. The same transaction is sent again by itself, never a second one.',
  expired: 'The invoice ended before the transaction was sent: nothing was paid. Create a new invoice.',
  withdrawn:
    'It was never sent, and what the human who owns the purse allows has changed since it was reserved: nothing was paid.',
  paid_before:
    'Its recipient has the money already, by a payment that this purse does not remember: it was not paid again. Look at the invoice; its budget stays taken.',
  displaced:
    'Another transaction of this wallet took its place: nothing was paid. Create a new invoice; use the wallet for nothing else.',
  replaced:
    'Another transaction of this wallet has its nonce, and the recipient has the money: it may be paid. Look at the invoice before paying again; its budget stays reserved.',
  reverted: 'The chain refused the transfer; only the network fee is gone.',
}

export async function viewOf(purse: Purse, payment: Payment, replayed: boolean): Promise<PursePayment> {
  const decimals = Number(payment.decimals)
  return {
    id: payment.id,
    invoice: payment.invoice,
    payee: payment.payee_name,
    state: payment.state,
    note: payment.reason === null ? null : NOTES[payment.reason],
    rail: payment.rail,
    network: payment.network,
    recipient: payment.recipient,
    amount: payment.amount,
    amount_display: `${formatDecimal(BigInt(payment.amount), decimals)} ${payment.symbol}`,
    usd: formatUsd(payment.amount_usd),
    fee_usd: formatUsd(payment.fee_usd),
    charged_usd: formatUsd(payment.usd),
    txid: payment.txid,
    block: payment.block === null ? null : Number(payment.block),
    budget_left: await leftOf(purse),
    replayed,
  }
}

/** Address, budget, payees and balances; an endpoint that does not answer leaves its balances null. */
export async function statusOf(purse: Purse): Promise<PurseStatus> {
  return {
    address: purse.wallet.address,
    per_payment_usd: formatUsd(purse.budget.perPayment),
    budget_left: await leftOf(purse),
    payees: purse.payees.map(({ name, key }) => ({ name, key })),
    balances: await balancesOf(purse),
  }
}

export async function balancesOf({
  networks,
  wallet,
}: Pick<Purse, 'networks' | 'wallet'>): Promise<PurseStatus['balances']> {
  return Promise.all(
    networks.flatMap((network) =>
      // The native coin is shown even where nothing is priced in it: it pays the fees.
      [...new Set([...network.assets, network.native])].map(async (asset) => {
        const amount = await readBalance(network, wallet.address, asset).catch((error: unknown) => {
          if (error instanceof BursarError) return null
          throw error
        })
        return {
          rail: `${network.id}:${asset.symbol}`,
          network: network.caip2,
          amount: amount === null ? null : amount.toString(),
          amount_display: amount === null ? null : `${formatDecimal(amount, asset.decimals)} ${asset.symbol}`,
        }
      }),
    ),
  )
}

async function leftOf(purse: Purse): Promise<PursePayment['budget_left']> {
  const left = budgetLeft(purse.budget, await readUse(purse.db, periodOf(purse.runtime.now())))
  return { day_usd: formatUsd(left.day), month_usd: formatUsd(left.month) }
}
