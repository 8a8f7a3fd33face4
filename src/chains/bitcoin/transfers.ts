/**
 * Finds payments in Bitcoin blocks and in the mempool. Every block is fetched whole and matched here, so a node
 * never learns which addresses are watched, and their number costs no request.
 */
import { hex } from '@scure/base'
import { Address, OutScript } from '@scure/btc-signer'
import type { BTC_NETWORK } from '@scure/btc-signer/utils.js'
import type { Block, Transfer, Watched } from '../chain.ts'
import { type Header, inParallel, type Reader, type Waiting } from '../follow.ts'
import { type Call, RpcError, unavailable } from '../rpc.ts'
import { parseBlock, parseTransaction, type RawTransaction } from './raw.ts'

/** Bitcoin Core: no such block or transaction; a height above the tip. */
const NOT_FOUND: ReadonlySet<number> = new Set([-5, -8])
/** The first transaction of a block makes new coins: they are gone with it, and locked for this many blocks. */
const COINBASE = 0
const MATURITY = 100
const HASH = /^[0-9a-f]{64}$/
const PARALLEL = 8
/** Unmined transactions fetched in one step; the rest of a full mempool comes with the next ones. */
const MAX_MEMPOOL_READS = 400

export interface BitcoinBlock extends Header {
  readonly found: readonly Transfer[]
}

/**
 * What one node's mempool was last seen to hold: every transaction is fetched once. It may be lost at any time; it is
 * only work saved. For one more step after its first, a transaction keeps all its payments, whoever they are for:
 * an address that was issued while it was being read is found when the step is read again.
 */
export type MempoolMemory = Map<string, { transfers: readonly Transfer[]; whole: boolean }>

export interface BitcoinReaderOptions {
  readonly chain: string
  readonly addresses: BTC_NETWORK
  /** Asks one endpoint, always the same. */
  readonly call: Call
  readonly memory: MempoolMemory
  readonly watched: Watched
  readonly signal: AbortSignal | undefined
}

interface RawHeader {
  readonly hash: string
  readonly height: number
  readonly time: number
  readonly previousblockhash?: string
}

export function bitcoinReader(options: BitcoinReaderOptions): Reader<BitcoinBlock> {
  const { call, signal } = options
  const ask = async <T>(method: string, ...params: unknown[]) => (await call(method, params, signal)) as T
  const header = async (hash: string) => headerOf(await ask<RawHeader>('getblockheader', hash, true))
  return {
    tip: async () => header(await ask<string>('getbestblockhash')),
    // Proof of work never calls a block final.
    finalized: () => Promise.resolve(null),
    header: (height) => orNull(async () => header(await ask<string>('getblockhash', height))),
    block: (height) =>
      orNull(async () => {
        const hash = await ask<string>('getblockhash', height)
        const raw = await ask<string>('getblock', hash, 0).catch((error) =>
          refusePruned(error, height, options),
        )
        return readBlock(height, hash, raw, options)
      }),
    transfers: (blocks) => Promise.resolve(blocks.flatMap(({ found }) => found)),
    pending: () => readMempool(ask, options),
  }
}

/** Bitcoin Core has no code of its own for this. */
function refusePruned(error: unknown, height: number, { chain }: BitcoinReaderOptions): never {
  if (!(error instanceof RpcError) || !/pruned/i.test(error.message)) throw error
  throw unavailable(chain, `its node has deleted block ${height} (prune); one is needed that has it.`, error)
}

function readBlock(height: number, hash: string, raw: string, options: BitcoinReaderOptions): BitcoinBlock {
  const parsed = parseBlock(hex.decode(raw))
  if (parsed.hash !== hash) throw new RangeError('the node sent another block than it was asked for')
  const block: Block = { height, hash, time: parsed.time * 1000 }
  const found = parsed.transactions.flatMap((transaction, at) => {
    const transfers = paymentsIn(transaction, block, options)
    return at === COINBASE ? transfers.map((transfer) => ({ ...transfer, maturity: MATURITY })) : transfers
  })
  return { ...block, parent: parsed.parent, found }
}

/** Each output is a payment of its own, even two to one address in one transaction. */
function paymentsIn(
  transaction: RawTransaction,
  block: Block | null,
  { chain, addresses, watched }: BitcoinReaderOptions,
): Transfer[] {
  const transfers: Transfer[] = []
  for (const [index, { sats, script }] of transaction.outputs.entries()) {
    const to = segwitAddress(script, addresses)
    if (to === null || sats === 0n || !watched.has(to)) continue
    const txid = transaction.txid()
    transfers.push({ key: `${chain}:${txid}:${index}`, chain, symbol: 'BTC', to, amount: sats, txid, block })
  }
  return transfers
}

/** The address of a P2WPKH or P2TR output; null for every other script, since we hand out no others. */
function segwitAddress(script: Uint8Array, addresses: BTC_NETWORK): string | null {
  const p2wpkh = script.length === 22 && script[0] === 0x00 && script[1] === 20
  const p2tr = script.length === 34 && script[0] === 0x51 && script[1] === 32
  if (!p2wpkh && !p2tr) return null
  const decoded = OutScript.decode(script)
  if (decoded.type !== 'wpkh' && decoded.type !== 'tr') return null
  return Address(addresses).encode(decoded)
}

const EVERYONE: Watched = { has: () => true }

type Ask = <T>(method: string, ...params: unknown[]) => Promise<T>

async function readMempool(ask: Ask, options: BitcoinReaderOptions): Promise<Waiting> {
  const { memory, watched } = options
  const loaded = await hasLoaded(ask)
  const txids = await ask<string[]>('getrawmempool', false)
  const tip = await ask<string>('getbestblockhash')
  const present = new Set(txids)
  for (const [txid, entry] of memory) {
    if (!present.has(txid)) memory.delete(txid)
    else if (entry.whole)
      memory.set(txid, { transfers: entry.transfers.filter(({ to }) => watched.has(to)), whole: false })
  }
  const unseen = txids.filter((txid) => !memory.has(txid))
  await inParallel(unseen.slice(0, MAX_MEMPOOL_READS), PARALLEL, async (txid) => {
    const raw = await orNull(() => ask<string>('getrawtransaction', txid, false))
    // Gone meanwhile: mined, replaced or expired. The next step tells which.
    if (raw === null) return
    const everyone = { ...options, watched: EVERYONE }
    memory.set(txid, {
      transfers: paymentsIn(parseTransaction(hex.decode(raw)), null, everyone),
      whole: true,
    })
  })
  return {
    transfers: txids.flatMap((txid) => memory.get(txid)?.transfers.filter(({ to }) => watched.has(to)) ?? []),
    whole: loaded && unseen.length <= MAX_MEMPOOL_READS,
    tip,
  }
}

/** A node that was just started lists only a part of what it had, until it has loaded all of it. */
async function hasLoaded(ask: Ask): Promise<boolean> {
  try {
    const info = await ask<{ loaded?: unknown } | null>('getmempoolinfo')
    return info?.loaded !== false
  } catch (error) {
    // Some providers do not offer the question; their nodes are not restarted under us.
    if (error instanceof RpcError) return true
    throw error
  }
}

async function orNull<T>(run: () => Promise<T>): Promise<T | null> {
  try {
    return await run()
  } catch (error) {
    if (error instanceof RpcError && NOT_FOUND.has(error.code)) return null
    throw error
  }
}

/** @throws {TypeError} not a header: an answer without sense must never look like a fork */
function headerOf({ hash, height, time, previousblockhash }: RawHeader): Header {
  if (!HASH.test(hash) || !Number.isSafeInteger(height) || !Number.isSafeInteger(time)) {
    throw new TypeError('not a block header')
  }
  return { hash, height, time: time * 1000, parent: previousblockhash ?? '' }
}
