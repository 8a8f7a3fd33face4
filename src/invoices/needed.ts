/** How many confirmations a payment needs. Pure. */
import type { Chain, Step, Transfer } from '../chains/chain.ts'
import { atomicToUsd, type MicroUsd, type Quote } from '../money.ts'
import type { InvoiceRecord } from './records.ts'

/** More than any payment: asks for the deepest confirmation. */
const WORTH_THE_MOST: MicroUsd = 2n ** 62n

export interface Needed {
  readonly chain: Pick<Chain, 'assets' | 'confirmationsNeeded'>
  readonly step: Pick<Step, 'transfers' | 'pending'>
  readonly invoiceAt: (address: string) => InvoiceRecord | null
  readonly quotes: ReadonlyMap<string, Quote>
}

/**
 * Confirmations for each transfer of a step: by the value of all that its transaction pays to invoices, because a fork
 * that takes one of these takes all, and splitting a sum into small outputs must not make it count sooner. Valued at the
 * locked rate, or the current one; what cannot be valued waits for the deepest confirmation.
 */
export function neededFor(given: Needed): (transfer: Transfer) => number {
  const { step, invoiceAt, chain } = given
  const listed = new Map([...step.pending, ...step.transfers].map((transfer) => [transfer.key, transfer]))
  const together = Map.groupBy(
    [...listed.values()].filter(({ to }) => invoiceAt(to) !== null),
    ({ txid }) => txid,
  )
  return (transfer) => {
    const beside = (together.get(transfer.txid) ?? []).filter(({ key }) => key !== transfer.key)
    const value = [transfer, ...beside].reduce((sum, each) => sum + valueOf(given, each), 0n)
    const byValue = chain.confirmationsNeeded(value < WORTH_THE_MOST ? value : WORTH_THE_MOST)
    return Math.max(byValue, transfer.maturity ?? 0)
  }
}

function valueOf({ chain, invoiceAt, quotes }: Needed, { symbol, to, amount }: Transfer): MicroUsd {
  const asset = chain.assets.find((each) => each.symbol === symbol)
  const invoice = invoiceAt(to)
  const priceE8 = invoice?.symbol === symbol ? invoice.priceE8 : quotes.get(symbol)?.priceE8
  return asset && priceE8 !== undefined ? atomicToUsd(amount, priceE8, asset.decimals) : WORTH_THE_MOST
}
