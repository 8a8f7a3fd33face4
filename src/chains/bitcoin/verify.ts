/** Asks Bitcoin nodes whether they are of the configured network, and whether our addresses are addresses there. */
import { BursarError } from '../../errors.ts'
import type { Rpc } from '../rpc.ts'

export interface VerifyBitcoin {
  readonly chain: string
  readonly rpc: Rpc
  /** Any address that we would hand out. */
  readonly address: string
  readonly signal: AbortSignal | undefined
}

/** @throws {BursarError} chain_unavailable; invalid_config (another network, another coin, another address prefix) */
export async function verifyBitcoin({ chain, rpc, address, signal }: VerifyBitcoin): Promise<void> {
  await rpc.check(signal)
  const answer = (await rpc.call('validateaddress', [address], signal)) as { isvalid?: unknown } | null
  if (answer?.isvalid === true) return
  throw new BursarError(
    'invalid_config',
    `The node in chains.${chain}.rpc does not know addresses such as ${address}: nobody could pay them.`,
    { remedy: `Correct chains.${chain}.bech32, the address prefix of that network, or leave it out.` },
  )
}
