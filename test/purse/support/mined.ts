import { expect, vi } from 'vitest'
import type { Anvil } from '../../support/anvil.ts'
import { PATIENCE_MS } from '../../support/patience.ts'

/** Anvil answers before it mines: resolves when a block holds the transaction. */
export async function mined(anvil: Anvil, txid: string | null): Promise<void> {
  await vi.waitFor(async () => expect(await anvil.rpc('eth_getTransactionReceipt', [txid])).not.toBeNull(), {
    timeout: PATIENCE_MS,
    interval: 10,
  })
}

/** Sends ether from anvil's own account and waits until it is there. */
export async function fund(anvil: Anvil, to: string, value = 10n ** 18n): Promise<void> {
  await mined(anvil, await anvil.send({ to, value }))
}
