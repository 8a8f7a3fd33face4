/** A Bitcoin Core node: its JSON-RPC with failover. User and password stand in the URL. */
import { BursarError } from '../../errors.ts'
import type { Runtime } from '../../runtime.ts'
import { openRpc, type Rpc } from '../rpc.ts'
import type { Preset } from './presets.ts'

export interface BitcoinEndpoints {
  readonly chain: string
  readonly preset: Preset
  readonly urls: readonly string[]
  readonly runtime: Runtime
}

/**
 * Endpoints that must be of the configured network before anything else is asked of them: by its genesis block;
 * on regtest by name only, because descendants of Bitcoin Core have another genesis block there.
 */
export function openBitcoinRpc({ chain, preset, urls, runtime }: BitcoinEndpoints): Rpc {
  return openRpc({
    chain,
    urls,
    runtime,
    async identify(call, signal) {
      const info = await call('getblockchaininfo', [], signal)
      const name = typeof info === 'object' && info !== null ? (info as { chain?: unknown }).chain : undefined
      const local = preset.coreName === 'regtest'
      const genesis = local ? preset.genesis : await call('getblockhash', [0], signal)
      if (name === preset.coreName && genesis === preset.genesis) return
      const known = typeof name === 'string' && /^[a-z0-9]{1,20}$/.test(name) ? `"${name}"` : 'unknown'
      throw new BursarError(
        'invalid_config',
        `An endpoint in chains.${chain}.rpc is of the network ${known}, or of another coin; expected ${preset.title}.`,
        { remedy: `Give the URL of a node of ${preset.title}, or correct chains.${chain}.network.` },
      )
    },
  })
}
