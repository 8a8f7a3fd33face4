/**
 * Payments by contracts that a fork has moved. They are found in block traces only, and not every endpoint offers those
 * at every moment: that a step does not list one says nothing then. Its transaction is asked for, as when it is claimed.
 * One that is mined only after the step is taken back, and can be claimed.
 */
import { type Block, type Chain, isInternal, isUntraced, type Step, type Transfer } from '../chains/chain.ts'
import { unavailable } from '../chains/rpc.ts'
import type { Db } from '../db/db.ts'
import { type PaymentRecord, paymentsAbove } from './records.ts'
import { isLive } from './state.ts'

/**
 * The step, with such payments where they are now.
 * @throws {BursarError} chain_unavailable: nobody can tell, or the endpoints do not agree on it
 */
export async function withMoved(db: Db, chain: Chain, step: Step): Promise<Step> {
  const { forkedAt, transfers } = step
  if (forkedAt === null || !chain.paidBy) return step
  const listed = new Set(transfers.map(({ key }) => key))
  const missing = (await paymentsAbove(db, chain.id, forkedAt)).filter(
    ({ key, state }) => isLive(state) && isInternal(key) && !isUntraced(key) && !listed.has(key),
  )
  const found: Found[] = []
  for (const payment of missing) {
    const shown = shownBy(payment, await chain.paidBy(payment.txid, payment.address), step)
    if (shown) found.push({ payment, ...shown })
  }
  const moved = found.filter((one) => isCovered(one, found)).map(transferOf)
  const vouched = await chain.vouch(moved)
  if (moved.every(({ key }) => vouched.has(key))) return { ...step, transfers: [...transfers, ...moved] }
  const what = 'its endpoints do not agree on a payment that a fork has moved.'
  throw unavailable(chain.id, what, undefined, 'endpoints_disagree')
}

interface Shown {
  readonly block: Block
  /** What contracts paid to the address in that block, all together; null: traces show this payment itself. */
  readonly gained: bigint | null
}

interface Found extends Shown {
  readonly payment: PaymentRecord
}

/** Where a transaction that was looked up shows the payment, within the blocks of the step. */
function shownBy(payment: PaymentRecord, paid: readonly Transfer[], step: Step): Shown | null {
  const traced = paid.find(({ key, amount }) => key === payment.key && amount === payment.amount)
  const shown = traced ?? paid.find(({ key }) => isUntraced(key))
  const block = shown?.block ?? null
  if (!shown || block === null || block.height > step.cursor.height) return null
  return { block, gained: traced ? null : shown.amount }
}

/** What the address gained covers every payment that is said to be part of it. */
function isCovered({ payment, block, gained }: Found, all: readonly Found[]): boolean {
  if (gained === null) return true
  const beside = all.filter((one) => one.payment.address === payment.address && one.block.hash === block.hash)
  return beside.reduce((sum, one) => sum + one.payment.amount, 0n) <= gained
}

function transferOf({ payment, block }: Found): Transfer {
  const { key, chain, symbol, address: to, amount, txid } = payment
  return { key, chain, symbol, to, amount, txid, block }
}
