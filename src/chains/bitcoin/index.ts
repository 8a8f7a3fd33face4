/** Bitcoin: an address per invoice from the seller's extended public key, P2WPKH (BIP-84) or P2TR (BIP-86). */
import { p2tr, p2wpkh } from '@scure/btc-signer'
import type { BTC_NETWORK } from '@scure/btc-signer/utils.js'
import type { BitcoinChainConfig } from '../../config-schema.ts'
import { BursarError, invalid } from '../../errors.ts'
import type { Asset } from '../../money.ts'
import type { Runtime } from '../../runtime.ts'
import { type Chain, type EndpointReport, NOTHING_WATCHED, type Recipient } from '../chain.ts'
import { checkConfirmations, confirmationsFor } from '../confirmations.ts'
import type { FollowOptions } from '../follow.ts'
import type { ReceiveKey } from '../keys.ts'
import { readingChain } from '../rpc.ts'
import type { Source } from '../tips.ts'
import { openSources } from '../together.ts'
import { caip2Of, FINALITY_BLOCKS, PRESETS, type Preset } from './presets.ts'
import { openBitcoinRpc } from './rpc.ts'
import { type BitcoinBlock, bitcoinReader, type MempoolMemory } from './transfers.ts'
import { bitcoinUri } from './uri.ts'
import { verifyBitcoin } from './verify.ts'

type BitcoinScript = 'p2wpkh' | 'p2tr'

export interface BitcoinChainOptions {
  /** The name under `chains`. */
  readonly id: string
  readonly config: BitcoinChainConfig
  readonly script: BitcoinScript
  readonly key: ReceiveKey
  readonly runtime: Runtime
}

/** Whole blocks are a few megabytes each. */
const MAX_BLOCKS = 10
const PARALLEL = 2
/** More than an hour without a block happens every few days. */
const LAG_MS = 7_200_000
const BTC: Asset = { symbol: 'BTC', decimals: 8 }

/** @throws {BursarError} invalid_config, naming the field; nothing is asked of the network */
export function bitcoinChain({ id, config, script, key, runtime }: BitcoinChainOptions): Chain {
  const preset = PRESETS[config.network]
  const addresses = addressesOf(id, config, preset)
  const rows = config.confirmations ?? preset.confirmations
  checkConfirmations(rows, `chains.${id}.confirmations`)
  const finalityDepth = config.finality_blocks ?? FINALITY_BLOCKS
  const rpc = openBitcoinRpc({ chain: id, preset, urls: config.rpc, runtime })
  const options: FollowOptions = { chain: id, finalityDepth, maxBlocks: MAX_BLOCKS, parallel: PARALLEL }
  const each = rpc.endpoints.map(({ host, call, resting }): Source<BitcoinBlock> => {
    const memory: MempoolMemory = new Map()
    return {
      host,
      resting,
      seesMore: () => false,
      reader: (watched, signal) => bitcoinReader({ chain: id, addresses, call, memory, watched, signal }),
    }
  })
  const recipient = (index: number): Recipient => ({
    address: addressOf(key.publicKey(index), script, addresses),
    path: key.path(index),
  })
  return {
    id,
    family: 'bitcoin',
    caip2: caip2Of(preset),
    network: preset.title,
    main: preset.main,
    assets: [BTC],
    finalityDepth,
    // Proof of work never calls a block final.
    stallBlocks: null,
    pollMs: config.poll_ms ?? preset.pollMs,
    keyFingerprint: key.fingerprint,
    confirmationsNeeded: (usd) => confirmationsFor(rows, usd),
    recipient,
    uri({ address, symbol, amount }) {
      if (symbol !== BTC.symbol) throw invalid(`${symbol} is not accepted on ${id}.`)
      return bitcoinUri(address, amount)
    },
    verify: (signal) =>
      readingChain(id, signal, () =>
        verifyBitcoin({ chain: id, preset, rpc, address: recipient(0).address, signal }),
      ),
    ...openSources({ sources: each, options, runtime, lagMs: LAG_MS }),
    endpoints: (signal) => Promise.all(each.map((source) => reportOf(source, signal))),
  }
}

function addressesOf(id: string, { bech32 }: BitcoinChainConfig, preset: Preset): BTC_NETWORK {
  if (bech32 === undefined || bech32 === preset.addresses.bech32) return preset.addresses
  if (preset.main) {
    throw new BursarError('invalid_config', `chains.${id}.bech32 is "${bech32}"; expected "bc" on Bitcoin.`, {
      remedy: `Leave chains.${id}.bech32 out.`,
    })
  }
  return { ...preset.addresses, bech32 }
}

function addressOf(publicKey: Uint8Array, script: BitcoinScript, addresses: BTC_NETWORK): string {
  // Taproot takes the x coordinate alone (BIP-340).
  const { address } =
    script === 'p2tr' ? p2tr(publicKey.subarray(1), undefined, addresses) : p2wpkh(publicKey, addresses)
  if (address === undefined) throw new TypeError('both scripts have an address')
  return address
}

async function reportOf(source: Source<BitcoinBlock>, signal?: AbortSignal): Promise<EndpointReport> {
  try {
    const { height } = await source.reader(NOTHING_WATCHED, signal).tip()
    return { endpoint: source.host, height, finalized: null, internal: null }
  } catch {
    signal?.throwIfAborted()
    return { endpoint: source.host, height: null, finalized: null, internal: null }
  }
}
