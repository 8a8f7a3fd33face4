/**
 * An EVM network as it is configured, without any key: what the till watches and what the purse pays on. Known
 * networks bring their facts with them; a configuration that contradicts those is refused, because a wrong ticker
 * or contract would price one coin as another.
 */
import { getAddress, isAddress, type PublicClient } from 'viem'
import type { EvmChainConfig } from '../../config-schema.ts'
import { invalidConfig } from '../../errors.ts'
import type { Asset, MicroUsd } from '../../money.ts'
import type { Runtime } from '../../runtime.ts'
import { type ConfirmationRows, checkConfirmations, confirmationsFor } from '../confirmations.ts'
import type { Rpc } from '../rpc.ts'
import { isMainNetwork, type Preset, presetById, presetByName, UNKNOWN } from './presets.ts'
import { openEvmRpc, viemClient } from './rpc.ts'

export interface EvmNetwork {
  readonly id: string
  readonly chainId: number
  readonly caip2: string
  /** For people: "Polygon", "local chain 31337". */
  readonly network: string
  readonly main: boolean
  /** The coin that pays for gas, whether or not it is accepted. */
  readonly native: Asset
  /** What is accepted, in the configured order. */
  readonly assets: readonly Asset[]
  readonly finalityDepth: number
  /** More blocks than this between the last final one and the tip: the chain has stopped finalising. null: never said. */
  readonly stallBlocks: number | null
  /** Endpoints are asked for block traces. */
  readonly traces: boolean
  readonly pollMs: number
  confirmationsNeeded(usd: MicroUsd): number
  readonly rpc: Rpc
  readonly runtime: Runtime
  /** A viem client over the configured endpoints, with failover and without retries of its own. */
  client(signal?: AbortSignal): PublicClient
}

export interface EvmNetworkOptions {
  /** The name under `chains`. */
  readonly id: string
  readonly config: EvmChainConfig
  readonly runtime: Runtime
}

/** The ids that local development chains take by default. */
const LOCAL: ReadonlySet<number> = new Set([1337, 31337])
/** Polygon's coin also appears as a token here; its logs repeat what the transactions already say. */
const POLYGON_COIN = '0x0000000000000000000000000000000000001010'

/** @throws {BursarError} invalid_config, naming the field and what was expected; nothing is asked of the network */
export function evmNetwork({ id, config, runtime }: EvmNetworkOptions): EvmNetwork {
  const chainId = chainIdOf(id, config)
  const preset = presetById(chainId)
  const main = isMainNetwork(chainId)
  const native = nativeOf(id, config, preset)
  const confirmations: ConfirmationRows =
    config.confirmations ?? preset?.confirmations ?? UNKNOWN.confirmations
  checkConfirmations(confirmations, `chains.${id}.confirmations`)
  const assets = assetsOf(id, config, { native, preset })
  const rpc = openEvmRpc({ chain: id, chainId, urls: config.rpc, assets, runtime })
  return {
    id,
    chainId,
    caip2: `eip155:${chainId}`,
    network:
      preset?.title ?? `${main ? 'chain' : LOCAL.has(chainId) ? 'local chain' : 'test network'} ${chainId}`,
    main,
    native,
    assets,
    finalityDepth: config.finality_blocks ?? preset?.finalityBlocks ?? UNKNOWN.finalityBlocks,
    stallBlocks: config.finality_stall_blocks ?? preset?.stallBlocks ?? null,
    traces: config.traces ?? true,
    pollMs: config.poll_ms ?? preset?.pollMs ?? UNKNOWN.pollMs,
    confirmationsNeeded: (usd) => confirmationsFor(confirmations, usd),
    rpc,
    runtime,
    client: (signal) => viemClient(rpc, id, signal),
  }
}

function chainIdOf(id: string, { chain_id }: EvmChainConfig): number {
  const named = presetByName(id)
  const chainId = chain_id ?? named?.chainId
  if (chainId === undefined) {
    throw invalidConfig(
      `chains.${id}.chain_id is missing: ${id} is not a network that Bursar knows.`,
      'Add its EIP-155 chain id, such as 31337 for a local chain.',
    )
  }
  const meant = presetById(chainId)
  if (named && named.chainId !== chainId && isMainNetwork(chainId)) {
    throw invalidConfig(
      `chains.${id}.chain_id is ${chainId}, but ${id} is chain ${named.chainId}.`,
      `Name the chain ${meant?.name ?? `chain-${chainId}`}, or leave chain_id out.`,
    )
  }
  return chainId
}

function nativeOf(id: string, { native }: EvmChainConfig, preset: Preset | undefined): Asset {
  if (preset && native !== undefined && native !== preset.native) {
    throw invalidConfig(
      `chains.${id}.native is ${native}, but the coin of ${preset.title} is ${preset.native}.`,
      'Leave native out.',
    )
  }
  return { symbol: native ?? preset?.native ?? UNKNOWN.native, decimals: 18 }
}

function assetsOf(
  id: string,
  config: EvmChainConfig,
  { native, preset }: { native: Asset; preset: Preset | undefined },
): Asset[] {
  const tokens = new Map<string, Asset>()
  for (const [symbol, token] of Object.entries(preset?.tokens ?? {})) tokens.set(symbol, { symbol, ...token })
  for (const [symbol, token] of Object.entries(config.tokens)) {
    const asset = tokenOf(`chains.${id}.tokens.${symbol}`, symbol, token)
    const known = tokens.get(symbol)
    if (known && (known.contract !== asset.contract || known.decimals !== asset.decimals)) {
      throw invalidConfig(
        `chains.${id}.tokens.${symbol} is ${asset.contract}, but ${symbol} on ${preset?.title} is ${known.contract}.`,
        'Leave the entry out, or give the other token a ticker of its own.',
      )
    }
    if (symbol === native.symbol) {
      throw invalidConfig(
        `chains.${id}.tokens.${symbol} has the ticker of the coin itself.`,
        'Leave the entry out.',
      )
    }
    tokens.set(symbol, asset)
  }
  const accepted = config.assets.map((symbol) => {
    const asset = symbol === native.symbol ? native : tokens.get(symbol)
    if (asset) return asset
    throw invalidConfig(
      `chains.${id}.assets: ${symbol} is not known on this chain; known are ${[native.symbol, ...tokens.keys()].join(', ')}.`,
      `Add chains.${id}.tokens.${symbol} with its contract and decimals, or remove it.`,
    )
  })
  refuseRepeats(id, accepted)
  return accepted
}

function tokenOf(field: string, symbol: string, token: { contract: string; decimals: number }): Asset {
  // Mixed case is a checksum (ERC-55); all lower or upper case carries none.
  const digits = token.contract.slice(2)
  const plain = digits === digits.toLowerCase() || digits === digits.toUpperCase()
  const lower = token.contract.toLowerCase() as `0x${string}`
  if (!plain && !isAddress(token.contract)) {
    throw invalidConfig(`${field}.contract has a wrong checksum (ERC-55).`, 'Copy the contract again.')
  }
  if (lower === POLYGON_COIN) {
    throw invalidConfig(`${field}.contract is Polygon's own coin, not a token.`, 'Accept "POL" instead.')
  }
  return { symbol, decimals: token.decimals, contract: getAddress(lower) }
}

function refuseRepeats(id: string, assets: readonly Asset[]): void {
  const seen = new Set<string>()
  for (const { symbol, contract } of assets) {
    for (const mark of [symbol, contract]) {
      if (mark === undefined) continue
      if (seen.has(mark)) throw invalidConfig(`chains.${id}.assets has ${mark} twice.`, 'Keep one of them.')
      seen.add(mark)
    }
  }
}
