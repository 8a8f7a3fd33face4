/** How many confirmations credit a payment: a table by the payment's value, per chain. */
import type { BitcoinChainConfig, EvmChainConfig } from '../config-schema.ts'
import { BursarError } from '../errors.ts'
import { formatUsd, type MicroUsd, parseUsd } from '../money.ts'

export type ConfirmationRows = NonNullable<(EvmChainConfig | BitcoinChainConfig)['confirmations']>

/**
 * The number of blocks, from the payment's own to the tip, both counted, that credit a payment of this value: the
 * first row that covers it, the last row if none does.
 */
export function confirmationsFor(rows: ConfirmationRows, usd: MicroUsd): number {
  const row =
    rows.find(({ up_to_usd }) => up_to_usd === undefined || usd <= parseUsd(up_to_usd)) ?? rows.at(-1)
  if (!row) throw new TypeError('a confirmation table has at least one row')
  return row.blocks
}

/** @throws {BursarError} invalid_config: the rows are not in order, so that some of them could never apply */
export function checkConfirmations(rows: ConfirmationRows, field: string): void {
  let last: MicroUsd = -1n
  let blocks = 0
  for (const row of rows) {
    const limit = row.up_to_usd === undefined ? null : parseUsd(row.up_to_usd, `${field}.up_to_usd`)
    if ((limit !== null && limit <= last) || row.blocks < blocks) {
      throw new BursarError(
        'invalid_config',
        `${field} is out of order: a higher value needs a higher up_to_usd and no fewer blocks (after $${formatUsd(last < 0n ? 0n : last)}).`,
        { remedy: 'Sort the rows by value; larger payments wait for more confirmations.' },
      )
    }
    last = limit ?? last
    blocks = row.blocks
  }
}
