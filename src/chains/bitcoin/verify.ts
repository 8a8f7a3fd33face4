/** Asks Bitcoin nodes whether they are of the configured network, and whether our addresses are addresses there. */
import { BursarError } from '../../errors.ts'
import { type Endpoint, type Rpc, unavailable } from '../rpc.ts'
import type { Preset } from './presets.ts'

export interface VerifyBitcoin {
  readonly chain: string
  readonly preset: Preset
  readonly rpc: Rpc
  /** Any address that we would hand out. */
  readonly address: string
  readonly signal: AbortSignal | undefined
}

/**
 * @throws {BursarError} chain_unavailable (also while every node is still downloading the chain); invalid_config
 *   (another network, another coin, another address prefix)
 */
export async function verifyBitcoin({ chain, preset, rpc, address, signal }: VerifyBitcoin): Promise<void> {
  await rpc.check(signal)
  // A local chain whose last block is a day old says the same of itself for ever.
  if (preset.coreName !== 'regtest') await refuseWhileDownloading(chain, rpc, signal)
  const answer = (await rpc.call('validateaddress', [address], signal)) as { isvalid?: unknown } | null
  if (answer?.isvalid === true) return
  throw new BursarError(
    'invalid_config',
    `The node in chains.${chain}.rpc does not know addresses such as ${address}: nobody could pay them.`,
    { remedy: `Correct chains.${chain}.bech32, the address prefix of that network, or leave it out.` },
  )
}

/** What is paid now would be found only when the download gets there: in hours, or days. */
async function refuseWhileDownloading(
  chain: string,
  { endpoints }: Rpc,
  signal: AbortSignal | undefined,
): Promise<void> {
  const answers = await Promise.all(endpoints.map((endpoint) => isDownloading(endpoint, signal)))
  signal?.throwIfAborted()
  if (answers.includes(true) && !answers.includes(false)) {
    throw unavailable(chain, 'its node is still downloading the chain.')
  }
}

/** null: it does not answer. */
async function isDownloading({ call }: Endpoint, signal: AbortSignal | undefined): Promise<boolean | null> {
  try {
    const info = (await call('getblockchaininfo', [], signal)) as { initialblockdownload?: unknown } | null
    return info?.initialblockdownload === true
  } catch {
    return null
  }
}
