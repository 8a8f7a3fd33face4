/**
 * The registry: a chain family is a folder and a line here. Opening asks nothing of the network; `verify()` on
 * each chain does.
 */
import type { BitcoinChainConfig, ConfigFile, EvmChainConfig } from '../config-schema.ts'
import { BursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import { bitcoinChain } from './bitcoin/index.ts'
import { PRESETS as BITCOIN } from './bitcoin/presets.ts'
import type { Chain } from './chain.ts'
import { evmChain } from './evm/index.ts'
import { type EvmNetwork, evmNetwork } from './evm/network.ts'
import { parseAccountKey } from './keys.ts'

export type { EvmNetwork } from './evm/network.ts'

type ChainsConfig = Pick<ConfigFile, 'chains'>

export interface OpenChains {
  readonly config: Pick<ConfigFile, 'chains' | 'keys'>
  readonly runtime: Runtime
}

type Keys = ConfigFile['keys']

const FAMILIES = { evm: openEvm, bitcoin: openBitcoin }

/**
 * Every configured chain, with the seller's keys.
 * @throws {BursarError} invalid_config: a key is missing, private, of another network or of the wrong depth; an
 *   asset is unknown; two entries are the same network; main and test networks stand side by side
 */
export function openChains({ config, runtime }: OpenChains): Chain[] {
  const entries = Object.entries(config.chains)
  const chains = [
    ...FAMILIES.evm(ofFamily(entries, 'evm'), config.keys, runtime),
    ...FAMILIES.bitcoin(ofFamily(entries, 'bitcoin'), config.keys, runtime),
  ]
  refuseSameNetwork(chains)
  refuseMixedNetworks(chains)
  const order = entries.map(([id]) => id)
  return chains.sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id))
}

/**
 * Every configured EVM network without any key: what a purse pays on. Other families are passed over.
 * @throws {BursarError} invalid_config
 */
export function openEvmNetworks({
  config,
  runtime,
}: {
  config: ChainsConfig
  runtime: Runtime
}): EvmNetwork[] {
  const networks = ofFamily(Object.entries(config.chains), 'evm').map(([id, chain]) =>
    evmNetwork({ id, config: chain, runtime }),
  )
  refuseSameNetwork(networks)
  return networks
}

function openEvm(entries: readonly [string, EvmChainConfig][], { evm }: Keys, runtime: Runtime): Chain[] {
  const networks = entries.map(([id, config]) => evmNetwork({ id, config, runtime }))
  const first = networks[0]
  if (!first) return []
  if (evm === undefined) throw missingKey('keys.evm', first.id, "m/44'/60'/0'")
  // One key serves all of them, so one main network among them is enough to refuse a test key.
  const main = networks.some((network) => network.main)
  const key = parseAccountKey({ text: evm, field: 'keys.evm', kind: 'evm', main })
  return networks.map((network) => evmChain(network, key))
}

function openBitcoin(
  entries: readonly [string, BitcoinChainConfig][],
  { bitcoin }: Keys,
  runtime: Runtime,
): Chain[] {
  const first = entries[0]
  if (!first) return []
  if (bitcoin === undefined) throw missingKey('keys.bitcoin', first[0], "m/84'/0'/0'")
  const { xpub, script } =
    typeof bitcoin === 'string' ? { xpub: bitcoin, script: 'p2wpkh' as const } : bitcoin
  const field = typeof bitcoin === 'string' ? 'keys.bitcoin' : 'keys.bitcoin.xpub'
  const main = entries.some(([, config]) => BITCOIN[config.network].main)
  const key = parseAccountKey({ text: xpub, field, kind: script, main })
  return entries.map(([id, config]) => bitcoinChain({ id, config, script, key, runtime }))
}

function ofFamily<F extends 'evm' | 'bitcoin'>(
  entries: readonly [string, ConfigFile['chains'][string]][],
  family: F,
) {
  return entries.filter(
    (entry): entry is [string, Extract<ConfigFile['chains'][string], { family: F }>] =>
      entry[1].family === family,
  )
}

/** One payment seen under two names would be two payments. */
function refuseSameNetwork(chains: readonly { readonly id: string; readonly caip2: string }[]): void {
  const seen = new Map<string, string>()
  for (const { id, caip2 } of chains) {
    const other = seen.get(caip2)
    if (other !== undefined) {
      throw new BursarError(
        'invalid_config',
        `chains.${other} and chains.${id} are the same network (${caip2}).`,
        {
          remedy: 'Keep one of them; several endpoints go into its rpc list.',
        },
      )
    }
    seen.set(caip2, id)
  }
}

/** Coins of a test network cost nothing: beside a main network they would buy credits that others pay for. */
function refuseMixedNetworks(chains: readonly Pick<Chain, 'id' | 'main'>[]): void {
  const main = chains.find((chain) => chain.main)
  const test = chains.find((chain) => !chain.main)
  if (!main || !test) return
  throw new BursarError(
    'invalid_config',
    `chains.${main.id} is a main network and chains.${test.id} is not: coins without value would buy real credits.`,
    { remedy: 'Run a till of its own, with a database of its own, for test networks.' },
  )
}

function missingKey(field: string, chain: string, path: string): BursarError {
  return new BursarError('invalid_config', `${field} is missing, and chains.${chain} needs it.`, {
    remedy: `Set ${field} to the extended public key of the account ${path}. Or, to buy at a till of somebody else, set BURSAR_URL and BURSAR_KEY.`,
  })
}
