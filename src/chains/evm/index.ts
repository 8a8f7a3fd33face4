/** EVM chains: an address per invoice from the seller's extended public key, the same on every EVM chain. */
import { ECDH } from 'node:crypto'
import { toHex } from 'viem'
import { publicKeyToAddress } from 'viem/accounts'
import { invalid } from '../../errors.ts'
import { type Chain, type EndpointReport, NOTHING_WATCHED, type Transfer } from '../chain.ts'
import { ChainMoved, type FollowOptions } from '../follow.ts'
import type { ReceiveKey } from '../keys.ts'
import { noEndpoint, readingChain, unavailable } from '../rpc.ts'
import { openSources } from '../together.ts'
import { hasEvmHistory } from './history.ts'
import type { EvmNetwork } from './network.ts'
import { type EvmSource, openEvmSources } from './sources.ts'
import { evmUri } from './uri.ts'

/** Blocks in one step: a fraction of a second at a node nearby, a few at a public one. */
const MAX_BLOCKS = 64
const PARALLEL = 8
/** EVM chains make a block every few seconds. */
const LAG_MS = 60_000

export function evmChain(network: EvmNetwork, key: ReceiveKey): Chain {
  const { id, assets, finalityDepth, rpc, runtime } = network
  const options: FollowOptions = { chain: id, finalityDepth, maxBlocks: MAX_BLOCKS, parallel: PARALLEL }
  const each = openEvmSources(network)
  return {
    id,
    family: 'evm',
    caip2: network.caip2,
    network: network.network,
    main: network.main,
    assets,
    finalityDepth,
    stallBlocks: network.stallBlocks,
    pollMs: network.pollMs,
    keyFingerprint: key.fingerprint,
    confirmationsNeeded: (usd) => network.confirmationsNeeded(usd),
    recipient: (index) => ({ address: addressOf(key.publicKey(index)), path: key.path(index) }),
    uri({ address, symbol, amount }) {
      const asset = assets.find((one) => one.symbol === symbol)
      if (!asset) throw invalid(`${symbol} is not accepted on ${id}.`)
      return evmUri(network.chainId, asset, address, amount)
    },
    verify: (signal) => readingChain(id, signal, () => rpc.check(signal)),
    ...openSources({ sources: each, options, runtime, lagMs: LAG_MS }),
    paidBy: (txid, address, signal) =>
      readingChain(id, signal, () => paidBy(id, each, { txid, address, signal })),
    hasHistory: (address, signal) =>
      readingChain(id, signal, () => hasEvmHistory({ rpc, runtime, assets, address, signal })),
    endpoints: (signal) => Promise.all(each.map((source) => reportOf(source, signal))),
  }
}

/** With its ERC-55 checksum. */
function addressOf(publicKey: Uint8Array): string {
  const point = ECDH.convertKey(publicKey, 'secp256k1', undefined, undefined, 'uncompressed')
  if (typeof point === 'string') throw new TypeError('bytes were asked for')
  return publicKeyToAddress(toHex(point))
}

/** From the first endpoint that can tell, those with traces before the others. */
async function paidBy(
  chain: string,
  sources: readonly EvmSource[],
  { txid, address, signal }: { txid: string; address: string; signal: AbortSignal | undefined },
): Promise<Transfer[]> {
  const failures: unknown[] = []
  const rank = (source: EvmSource) => Number(source.resting()) * 2 + Number(!source.seesMore())
  for (const source of [...sources].sort((a, b) => rank(a) - rank(b))) {
    try {
      return await source.reader(new Set([address]), signal).paidBy(txid, address)
    } catch (error) {
      signal?.throwIfAborted()
      failures.push(error)
    }
  }
  if (failures.some((error) => error instanceof ChainMoved)) {
    throw unavailable(chain, 'its blocks changed while they were read.')
  }
  throw noEndpoint(chain, failures)
}

async function reportOf(source: EvmSource, signal?: AbortSignal): Promise<EndpointReport> {
  const endpoint = source.host
  try {
    const reader = source.reader(NOTHING_WATCHED, signal)
    const [{ height }, finalized] = await Promise.all([reader.tip(), reader.finalized()])
    if (!source.tracer) return { endpoint, height, finalized, internal: null }
    const block = await reader.block(height)
    const method = block && (await source.tracer.method(block, signal))
    return { endpoint, height, finalized, internal: method ? 'traced' : 'claimed' }
  } catch {
    signal?.throwIfAborted()
    return { endpoint, height: null, finalized: null, internal: null }
  }
}
