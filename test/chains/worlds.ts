/** A real chain of each family behind one set of verbs, so that one contract can be held against all of them. */
import { HDKey } from '@scure/bip32'
import type { Chain } from '../../src/chains/chain.ts'
import { openChains } from '../../src/chains/index.ts'
import type { BitcoinChainConfig, EvmChainConfig } from '../../src/config-schema.ts'
import { type Runtime, systemRuntime } from '../../src/runtime.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { type BitcoinNode, bitcoinNode, startBitcoin } from '../support/litecoind.ts'
import { deploySplitter, deployToken, type Splitter, type TestToken } from '../support/token.ts'

export interface OpenOptions {
  readonly urls?: readonly string[]
  readonly finalityBlocks?: number
  /** Expect another chain than the node serves. */
  readonly wrong?: boolean
}

export interface Payee {
  readonly address: string
  /** Atomic units. */
  readonly amount: bigint
}

export interface World {
  readonly url: string
  /** The asset that `pay` pays in. */
  readonly symbol: string
  /** What every payment key of this family looks like. */
  readonly keyPattern: RegExp
  /** A chain object of its own, as after a restart. */
  open(options?: OpenOptions): Chain
  height(): Promise<number>
  hashAt(height: number): Promise<string>
  mine(blocks?: number): Promise<void>
  /** Pays everyone in one transaction, which waits to be mined. Returns its id. */
  pay(payees: readonly Payee[]): Promise<string>
  /** Sends a transaction that a fork dropped, unchanged. */
  again(txid: string): Promise<void>
  /** Replaces the newest blocks by one empty block more; their transactions are dropped. */
  fork(depth: number): Promise<void>
  /** Takes the newest blocks away without any in their place. */
  shorten(depth: number): Promise<void>
  readonly stop: () => Promise<void>
}

/** Keys that nobody uses elsewhere. */
const root = HDKey.fromMasterSeed(Uint8Array.from({ length: 32 }, (_, i) => i * 5 + 3))
export const EVM_KEY = root.derive("m/44'/60'/0'").publicExtendedKey
export const BITCOIN_KEY = root.derive("m/84'/0'/0'").publicExtendedKey
const TAPROOT_KEY = root.derive("m/86'/0'/0'").publicExtendedKey

/** A node of the tests is on this machine: it answers, however much else the machine does. */
const patient = (impatient: Runtime): Runtime => ({ ...impatient, after: () => () => undefined })
const runtime = systemRuntime('silent')

export interface EvmWorld extends World {
  readonly anvil: Anvil
  readonly token: TestToken
  readonly splitter: Splitter
  openWith(config: Partial<EvmChainConfig>, runtime?: Runtime): Chain
}

export async function evmWorld(): Promise<EvmWorld> {
  const anvil = await startAnvil()
  const token = await deployToken(anvil)
  const splitter = await deploySplitter(anvil)
  await anvil.mined(await token.mint(splitter.address, 1_000_000_000n))
  await anvil.automine(false)
  const raw = new Map<string, string>()
  const openWith = (config: Partial<EvmChainConfig>, own?: Runtime) =>
    only(
      {
        keys: { evm: EVM_KEY },
        chains: {
          local: {
            family: 'evm',
            chain_id: anvil.chainId,
            rpc: [anvil.url],
            assets: ['ETH', 'USDC'],
            tokens: { USDC: { contract: token.address, decimals: token.decimals } },
            ...config,
          },
        },
      },
      own,
    )
  return {
    anvil,
    token,
    splitter,
    openWith,
    url: anvil.url,
    symbol: 'USDC',
    keyPattern: /^local:0x[0-9a-f]{64}:log:\d+$/,
    open: ({ urls, finalityBlocks, wrong } = {}) =>
      openWith({
        ...(urls ? { rpc: [...urls] } : {}),
        ...(finalityBlocks === undefined ? {} : { finality_blocks: finalityBlocks }),
        ...(wrong ? { chain_id: 31338 } : {}),
      }),
    height: () => anvil.height(),
    async hashAt(height) {
      const block = await anvil.rpc<{ hash: string }>('eth_getBlockByNumber', [
        `0x${height.toString(16)}`,
        false,
      ])
      return block.hash
    },
    mine: (blocks) => anvil.mine(blocks),
    async pay(payees) {
      const txid = await splitter.payTokens(token.address, payees)
      raw.set(txid, await anvil.rawTransaction(txid))
      return txid
    },
    again: async (txid) => void (await anvil.sendRaw(raw.get(txid) ?? '')),
    async fork(depth) {
      await anvil.reorg(depth)
      await anvil.mine()
    },
    shorten: (depth) => anvil.shorten(depth),
    stop: anvil.stop,
  }
}

export interface BitcoinWorld extends World {
  readonly node: BitcoinNode
  openWith(config: Partial<BitcoinChainConfig>, script?: 'p2wpkh' | 'p2tr', own?: Runtime): Chain
}

/** Why there can be no Bitcoin world here, or null. In CI a missing node is a failure, not a reason. */
export function noBitcoin(): string | null {
  const node = bitcoinNode()
  if ('path' in node) return null
  if (process.env['CI'] === 'true') throw new Error(node.missing)
  console.warn(`Skipped, ${node.missing}`)
  return node.missing
}

export async function bitcoinWorld(): Promise<BitcoinWorld> {
  const found = bitcoinNode()
  if ('missing' in found) throw new Error(found.missing)
  const node = await startBitcoin(found)
  const raw = new Map<string, string>()
  const openWith: BitcoinWorld['openWith'] = (config, script = 'p2wpkh', own = runtime) =>
    only(
      {
        keys: { bitcoin: { xpub: script === 'p2tr' ? TAPROOT_KEY : BITCOIN_KEY, script } },
        chains: {
          bitcoin: { family: 'bitcoin', network: 'regtest', bech32: node.bech32, rpc: [node.url], ...config },
        },
      },
      own,
    )
  return {
    node,
    openWith,
    url: node.url,
    symbol: 'BTC',
    keyPattern: /^bitcoin:[0-9a-f]{64}:\d+$/,
    open: ({ urls, finalityBlocks, wrong } = {}) =>
      openWith({
        ...(urls ? { rpc: [...urls] } : {}),
        ...(finalityBlocks === undefined ? {} : { finality_blocks: finalityBlocks }),
        ...(wrong ? { network: 'mainnet' as const, bech32: 'bc' } : {}),
      }),
    height: () => node.height(),
    hashAt: (height) => node.rpc('getblockhash', height),
    mine: async (blocks) => void (await node.mine(blocks)),
    async pay(payees) {
      const sent = await node.send(payees.map(({ address, amount }) => ({ address, sats: amount })))
      raw.set(sent.txid, sent.hex)
      return sent.txid
    },
    async again(txid) {
      // A dropped transaction may have stayed in the node's own mempool.
      const waiting = await node.rpc<string[]>('getrawmempool')
      if (!waiting.includes(txid)) await node.rpc('sendrawtransaction', raw.get(txid))
    },
    fork: (depth) => node.reorg(depth),
    shorten: (depth) => node.shorten(depth),
    stop: node.stop,
  }
}

function only(config: Parameters<typeof openChains>[0]['config'], own: Runtime = runtime): Chain {
  const [chain] = openChains({ config, runtime: patient(own) })
  if (!chain) throw new Error('one chain was configured')
  return chain
}
