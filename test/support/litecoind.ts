/**
 * A real local Bitcoin chain: bitcoind where there is one on PATH, otherwise Debian's litecoind, which is Bitcoin
 * Core 0.21 code with other address prefixes. Blocks are mined to a key of our own, so no wallet is needed.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { hex } from '@scure/base'
import { p2wpkh, TEST_NETWORK, Transaction } from '@scure/btc-signer'
import { pubECDSA } from '@scure/btc-signer/utils.js'
import { PATIENCE_MS } from './patience.ts'
import { type Started, start } from './process.ts'

const LITECOIND = '/usr/lib/litecoin/litecoind'
const FEE_SATS = 10_000n
/** A coinbase may be spent this many blocks after its own. */
const MATURITY = 100
/** The miner's keys: a new one for each call, so that a block mined after a fork never equals the one it replaces. */
function minerKey(number: number): Uint8Array {
  const key = new Uint8Array(32).fill(7)
  new DataView(key.buffer).setUint32(28, number)
  return key
}

export interface Node {
  readonly program: 'bitcoind' | 'litecoind'
  readonly path: string
}

/** The node to test with, or why there is none. */
export function bitcoinNode(): Node | { readonly missing: string } {
  const found = onPath('bitcoind')
  if (found) return { program: 'bitcoind', path: found }
  const light = onPath('litecoind') ?? (existsSync(LITECOIND) ? LITECOIND : null)
  if (light) return { program: 'litecoind', path: light }
  return {
    missing:
      'neither bitcoind nor litecoind is installed: apt-get install -y --no-install-recommends litecoind',
  }
}

export interface Output {
  readonly address: string
  readonly sats: bigint
}

export interface BitcoinNode {
  readonly program: Node['program']
  /** JSON-RPC endpoint with its user and password. */
  readonly url: string
  /** `bcrt` or `rltc`. */
  readonly bech32: string
  rpc<T = unknown>(method: string, ...params: unknown[]): Promise<T>
  height(): Promise<number>
  /** Mines with whatever the mempool holds; returns the new block hashes. */
  mine(blocks?: number): Promise<string[]>
  /** Mines one block without any transaction from the mempool. */
  mineEmpty(blocks?: number): Promise<string[]>
  /**
   * Broadcasts one transaction with these outputs, unmined. With `spend` it replaces whatever spent that coin. With
   * `broadcast: false` it is only signed: `generateblock` mines what no mempool would take.
   */
  send(outputs: readonly Output[], options?: SendOptions): Promise<Sent>
  /** Drops the newest `depth` blocks; their transactions go back to the mempool. */
  shorten(depth: number): Promise<void>
  /** The same, and mines empty blocks, one more than were dropped. */
  reorg(depth: number): Promise<void>
  readonly stop: () => Promise<void>
}

export interface SendOptions {
  readonly feeSats?: bigint
  readonly spend?: Coin
  readonly broadcast?: boolean
}

export interface Coin {
  readonly txid: string
  readonly index: number
  readonly sats: bigint
  /** Which of the miner's keys owns it. */
  readonly key: number
}

export interface Sent {
  readonly txid: string
  /** The coin that it spends: another transaction that spends it is a replacement. */
  readonly spent: Coin
  readonly hex: string
}

/** Starts a regtest node with spendable coins: 120 blocks mined to our own key. */
export async function startBitcoin(node: Node): Promise<BitcoinNode> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startAt(node, somePort())
    } catch (error) {
      // Somebody else's port, most likely.
      if (attempt === 5) throw error
    }
  }
}

async function startAt(node: Node, port: number): Promise<BitcoinNode> {
  const dir = mkdtempSync(join(tmpdir(), 'bursar-bitcoin-'))
  // Another node on that port, of another test, must not be taken for this one.
  const password = randomBytes(8).toString('hex')
  const started = start(node.path, nodeArguments(node, { dir, port, password }))
  const stop = async () => {
    await started.stop('SIGKILL')
    rmSync(dir, { recursive: true, force: true })
  }
  const url = `http://u:${password}@127.0.0.1:${port}`
  try {
    const rpc = jsonRpc(port, password)
    await ready(rpc, started)
    const bech32 = node.program === 'bitcoind' ? 'bcrt' : 'rltc'
    const running = client({ program: node.program, url, bech32, rpc, stop })
    await running.mine(MATURITY + 20)
    return running
  } catch (error) {
    await stop()
    throw error
  }
}

function nodeArguments(
  node: Node,
  { dir, port, password }: { dir: string; port: number; password: string },
): string[] {
  const common = [
    '-regtest',
    `-datadir=${dir}`,
    '-server',
    `-rpcport=${port}`,
    '-rpcbind=127.0.0.1',
    '-rpcallowip=127.0.0.1',
    '-rpcuser=u',
    `-rpcpassword=${password}`,
    '-listen=0',
    '-connect=0',
    '-dnsseed=0',
    '-printtoconsole=0',
    '-disablewallet=1',
    '-txindex=1',
    '-acceptnonstdtxn=0',
  ]
  if (node.program === 'bitcoind') return common
  // Litecoin's own extension blocks never start, replacement works as in Bitcoin, and dust is Bitcoin's.
  const likeBitcoin = ['-mempoolreplacement=1', '-dustrelayfee=0.00003']
  return [...common, ...likeBitcoin, '-vbparams=mweb:9223372036854775806:9223372036854775807']
}

async function ready(rpc: BitcoinNode['rpc'], started: Started): Promise<void> {
  const until = performance.now() + PATIENCE_MS
  while (performance.now() < until) {
    const { exitCode, signalCode } = started.child
    if (exitCode !== null || signalCode !== null) break
    const up = await rpc('getblockchaininfo').then(
      () => true,
      () => false,
    )
    if (up) return
    await delay(50)
  }
  throw new Error(`${started.child.spawnfile} did not start:\n${started.output().slice(-2000)}`)
}

type Base = Pick<BitcoinNode, 'program' | 'url' | 'bech32' | 'rpc' | 'stop'>

function client(base: Base): BitcoinNode {
  const { rpc, bech32 } = base
  const network = { ...TEST_NETWORK, bech32 }
  const owner = (key: number) => p2wpkh(pubECDSA(minerKey(key), true), network)
  let lastKey = 0
  const nextAddress = () => {
    lastKey += 1
    return owner(lastKey).address ?? ''
  }
  const coins: { coin: Coin; height: number }[] = []

  async function remember(hashes: readonly string[]): Promise<string[]> {
    for (const hash of hashes) {
      const block = await rpc<BlockAnswer>('getblock', hash, 2)
      const coinbase = block.tx[0]
      const value = coinbase?.vout[0]?.value
      if (!coinbase || value === undefined) continue
      const sats = BigInt(Math.round(value * 1e8))
      coins.push({ coin: { txid: coinbase.txid, index: 0, sats, key: lastKey }, height: block.height })
    }
    return [...hashes]
  }

  async function nextCoin(): Promise<Coin> {
    const height = await rpc<number>('getblockcount')
    const at = coins.findIndex((entry) => entry.height + MATURITY <= height)
    const [entry] = at < 0 ? [] : coins.splice(at, 1)
    if (!entry) throw new Error('The miner has no mature coin left: mine more blocks.')
    return entry.coin
  }

  async function send(outputs: readonly Output[], options: SendOptions = {}) {
    const spent = options.spend ?? (await nextCoin())
    const total = outputs.reduce((sum, output) => sum + output.sats, 0n)
    const change = spent.sats - total - (options.feeSats ?? FEE_SATS)
    if (change < 0n) throw new Error(`One coin has ${spent.sats} sats, ${total} were asked for.`)
    const miner = owner(spent.key)
    const tx = new Transaction()
    tx.addInput({
      txid: hex.decode(spent.txid),
      index: spent.index,
      // BIP-125: replaceable.
      sequence: 0xfffffffd,
      witnessUtxo: { script: miner.script, amount: spent.sats },
    })
    for (const { address, sats } of outputs) tx.addOutputAddress(address, sats, network)
    if (change > 1_000n) tx.addOutputAddress(miner.address ?? '', change, network)
    tx.sign(minerKey(spent.key))
    tx.finalize()
    const raw = hex.encode(tx.extract())
    if (options.broadcast !== false) await rpc('sendrawtransaction', raw)
    return { txid: tx.id, spent, hex: raw }
  }

  async function mineEmpty(blocks = 1): Promise<string[]> {
    const hashes: string[] = []
    for (let i = 0; i < blocks; i += 1) {
      const { hash } = await rpc<{ hash: string }>('generateblock', nextAddress(), [])
      hashes.push(...(await remember([hash])))
    }
    return hashes
  }

  async function shorten(depth: number): Promise<void> {
    const height = await rpc<number>('getblockcount')
    await rpc('invalidateblock', await rpc<string>('getblockhash', height - depth + 1))
    // Coinbases of dropped blocks are gone with them.
    for (let i = coins.length - 1; i >= 0; i -= 1) {
      if ((coins[i]?.height ?? 0) > height - depth) coins.splice(i, 1)
    }
  }

  return {
    ...base,
    height: () => rpc<number>('getblockcount'),
    mine: async (blocks = 1) => remember(await rpc<string[]>('generatetoaddress', blocks, nextAddress())),
    mineEmpty,
    send,
    shorten,
    async reorg(depth) {
      await shorten(depth)
      await mineEmpty(depth + 1)
    },
  }
}

interface BlockAnswer {
  readonly height: number
  readonly tx: readonly { txid: string; vout: readonly { value: number }[] }[]
}

function jsonRpc(port: number, password: string): BitcoinNode['rpc'] {
  let id = 0
  const authorization = `Basic ${Buffer.from(`u:${password}`).toString('base64')}`
  return async <T>(method: string, ...params: unknown[]): Promise<T> => {
    id += 1
    const response = await fetch(`http://127.0.0.1:${port}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization },
      body: JSON.stringify({ jsonrpc: '1.0', id, method, params }),
    })
    const answer = (await response.json()) as { result?: T; error?: { message: string } | null }
    if (answer.error) throw new Error(`${method}: ${answer.error.message}`)
    return answer.result as T
  }
}

function onPath(program: string): string | null {
  try {
    return execFileSync('which', [program], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return null
  }
}

/** Below those that systems hand out by themselves: a port that was free is not taken by a connection meanwhile. */
function somePort(): number {
  return 12_000 + (randomBytes(4).readUInt32LE() % 16_000)
}
