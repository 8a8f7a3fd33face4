/**
 * Before anything is signed: has this wallet paid already what the database does not know of? A database that was put
 * back from a copy has forgotten what was paid since, and a payment that it remembers as reserved may have been sent.
 */
import type { Address } from 'viem'
import { BursarError } from '../errors.ts'
import { ask } from './ask.ts'
import { readBalance } from './balance.ts'
import { giveBack, type Payment, step } from './payment.ts'
import type { Network, Order, Purse } from './purse.ts'

/**
 * The nonces that the chain has seen this wallet use, those in its queue included. To be asked before the recipient is
 * looked at: what waits now may be mined by then.
 *
 * @throws {BursarError} payment_unresolved: a transaction of this wallet waits that this purse did not make, or does not
 *   remember; chain_unavailable
 */
export async function countedNonce(purse: Purse, network: Network): Promise<number> {
  const { address } = purse.wallet
  const [mined, queued] = await ask(network, (client) =>
    Promise.all([
      client.getTransactionCount({ address, blockTag: 'latest' }),
      client.getTransactionCount({ address, blockTag: 'pending' }),
    ]),
  )
  // Behind one URL there may be nodes that lag: what one has seen mined is used up, whatever the queue of another says.
  if (queued <= mined) return mined
  const [ours] = await purse.db.query<{ count: bigint }>(
    `SELECT count(DISTINCT nonce) AS count FROM payment
       WHERE network = ? AND wallet = ? AND nonce >= ? AND nonce < ?`,
    [network.caip2, address, BigInt(mined), BigInt(queued)],
  )
  if (ours?.count === BigInt(queued - mined)) return queued
  throw new BursarError(
    'payment_unresolved',
    `The wallet has a transaction waiting on ${network.id} that this purse does not know of.`,
    {
      remedy: `Wait until it is mined, then pay again. Nobody else should use ${address} while its purse runs.`,
      details: { network: network.caip2, address, reason: 'unknown_transaction' },
    },
  )
}

/** Who is to get how much of what. */
export interface Due {
  readonly recipient: Address
  /** Atomic units. */
  readonly amount: bigint
  readonly asset: Order['asset']
}

export function dueOf({ recipient, amount, symbol, decimals, contract }: Payment): Due {
  const asset = { symbol, decimals: Number(decimals), ...(contract === null ? {} : { contract }) }
  return { recipient: recipient as Address, amount: BigInt(amount), asset }
}

/**
 * The recipient holds the amount, or has spent already: an invoice's address gets one payment.
 *
 * @param block the height at which both are read; a node that has not come so far refuses. By default the latest.
 * @throws {BursarError} chain_unavailable
 */
export async function mayBePaid(network: Network, due: Due, block?: bigint): Promise<boolean> {
  const { recipient: address, amount, asset } = due
  if ((await readBalance(network, address, asset, block)) >= amount) return true
  const at = block === undefined ? {} : { blockNumber: block }
  return (await ask(network, (client) => client.getTransactionCount({ address, ...at }))) > 0
}

/** @throws {BursarError} invoice_not_payable: its recipient has the money already; chain_unavailable */
export async function requireUnpaid(network: Network, order: Order): Promise<void> {
  if (!(await mayBePaid(network, order))) return
  throw new BursarError(
    'invoice_not_payable',
    `The recipient of invoice ${order.invoice} has received its amount already, or has paid from its address.`,
    {
      remedy:
        'Look at the invoice with get_invoice. If it stays open, create a new one, and tell the seller.',
      details: { reason: 'paid_before' },
    },
  )
}

/**
 * Ends a payment that was never sent as far as this database remembers, and gives its money back to the budget. Not
 * where the recipient has the money: then the database has forgotten, and what was reserved was spent.
 *
 * @throws {BursarError} chain_unavailable: it stays as it is, with its reservation
 */
export async function endUnsent(
  purse: Purse,
  network: Network,
  payment: Payment,
  reason: 'expired' | 'withdrawn',
): Promise<Payment> {
  const ended = await endIfPaid(purse, network, payment)
  return ended.state === 'failed' ? ended : giveBack(purse.db, purse.runtime.now(), payment, reason)
}

/** In the database from which this one was copied it may have been paid. */
export async function endIfPaid(purse: Purse, network: Network, payment: Payment): Promise<Payment> {
  if (!(await mayBePaid(network, dueOf(payment)))) return payment
  return step(purse.db, purse.runtime.now(), payment, { state: 'failed', reason: 'paid_before' })
}
