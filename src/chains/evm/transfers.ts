/**
 * Finds payments in EVM blocks: the value of transactions, and the Transfer events of allowlisted tokens (ERC-20).
 * Everything is matched here, so a node never learns which addresses are watched, and their number costs no
 * request.
 *
 * Every answer is bound to the hash of a block that was read before: a fork between two requests is noticed and
 * never mixes two chains. A contract that passes coins on (an internal transfer) shows neither value nor event: it
 * is found in the block's traces, where the endpoint offers them (traces.ts).
 */
import { getAddress, type Hex, numberToHex } from 'viem'
import type { Asset } from '../../money.ts'
import { type Block, isInternal, isUntraced, type Transfer, untracedKey, type Watched } from '../chain.ts'
import { ChainMoved, type Header, inParallel, NO_MEMPOOL, type Reader } from '../follow.ts'
import { type Call, RpcError } from '../rpc.ts'
import type { Ask, RawBlock, RawLog, RawReceipt } from './raw.ts'
import type { Tracer } from './traces.ts'
import { gainedIn, internalEvidence } from './untraced.ts'

/** keccak256 of `Transfer(address,address,uint256)`. */
const TRANSFER = '0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef'
const HASH = /^0x[0-9a-f]{64}$/
const PARALLEL = 8

export interface EvmReaderOptions {
  readonly chain: string
  readonly assets: readonly Asset[]
  readonly finalityDepth: number
  /** Asks one endpoint, always the same. */
  readonly call: Call
  /** That endpoint's block traces; null where the coin is not accepted. */
  readonly tracer: Tracer | null
  /** The last block that the endpoint called final; null: it has never said. */
  readonly final: { height: number | null }
  readonly watched: Watched
  readonly signal: AbortSignal | undefined
}

/** A block with the transactions that offer coins to a watched address; whether they succeeded is not yet known. */
export interface EvmBlock extends Header {
  /** All transactions, in their order: older nodes give traces without naming them. */
  readonly txids: readonly string[]
  readonly offers: readonly { readonly txid: string; readonly to: string; readonly amount: bigint }[]
}

/** Blocks traced and read, so far as this reader has tried. */
function seesInside({ tracer, blind }: Context, block: Block | null): boolean {
  return tracer?.offered() === true && block !== null && !blind.has(block.hash)
}

export interface EvmReader extends Reader<EvmBlock> {
  /**
   * What a transaction paid to an address, whether or not its block is still to be read. Without traces, what a
   * contract passed on is what the address got in that block beyond what is known otherwise.
   * @throws {ChainMoved}; {RpcError} the node no longer has the state of that block
   */
  paidBy(txid: string, to: string): Promise<Transfer[]>
}

export function evmReader(options: EvmReaderOptions): EvmReader {
  const { signal, watched, assets } = options
  const native = assets.find((asset) => asset.contract === undefined)
  const ask: Ask = async <T>(method: string, ...params: unknown[]) =>
    (await options.call(method, params, signal)) as T
  const context: Context = { ...options, native, ask, blind: new Set() }
  const at = (height: number, whole: boolean) =>
    ask<RawBlock | null>('eth_getBlockByNumber', numberToHex(height), whole)

  const reader: EvmReader = {
    async tip() {
      const raw = await ask<RawBlock>('eth_getBlockByNumber', 'latest', false)
      return headerOf(raw)
    },
    async finalized() {
      const { final } = context
      try {
        const raw = await ask<RawBlock | null>('eth_getBlockByNumber', 'finalized', false)
        if (raw) final.height = Number(raw.number)
      } catch (error) {
        if (!(error instanceof RpcError)) throw error
      }
      // A node that has just been started does not know for a while; what was final stays so.
      return final.height
    },
    async header(height) {
      const raw = await at(height, false)
      return raw && headerOf(raw)
    },
    async block(height) {
      const raw = await at(height, native !== undefined)
      return raw && withOffers(raw, native, watched)
    },
    transfers: (blocks, top) => findTransfers(blocks, top, context),
    sees: ({ key, block }) => !isInternal(key) || (!isUntraced(key) && seesInside(context, block)),
    evidence: (transfer) => internalEvidence(transfer, ask),
    // Public EVM nodes do not show their mempool reliably, and a pending transaction may still fail.
    pending: () => Promise.resolve(NO_MEMPOOL),
    paidBy: (txid, to) => paidBy(reader, txid, to, context),
  }
  return reader
}

interface Context extends EvmReaderOptions {
  readonly native: Asset | undefined
  readonly ask: Ask
  /** Hashes of blocks that the endpoint could not trace. */
  readonly blind: Set<string>
}

async function findTransfers(
  blocks: readonly EvmBlock[],
  top: number,
  context: Context,
): Promise<Transfer[]> {
  const logs = await tokenLogs(blocks, top, context)
  const receipts = new Map<string, Promise<RawReceipt>>()
  const receiptIn = (block: Block, txid: string) => {
    const pending = receipts.get(txid) ?? receipt(block, txid, context)
    receipts.set(txid, pending)
    return pending
  }
  const found = await inParallel(blocks, PARALLEL, async (block) => {
    const coins = await coinTransfers(block, receiptIn, context)
    const internal = await internalTransfers(block, receiptIn, context)
    const tokens = await tokenTransfers(block, logs.get(block.hash) ?? [], receiptIn, context)
    return [...coins, ...internal, ...tokens]
  })
  return found.flat()
}

type ReceiptIn = (block: Block, txid: string) => Promise<RawReceipt>

async function coinTransfers(block: EvmBlock, receiptIn: ReceiptIn, context: Context): Promise<Transfer[]> {
  const transfers: Transfer[] = []
  for (const { txid, to, amount } of block.offers) {
    const { status } = await receiptIn(block, txid)
    // A transaction that failed moved nothing, though it names a value.
    if (BigInt(status) !== 1n || !context.native) continue
    const key = `${context.chain}:${txid}:trace:`
    transfers.push(transferOf({ context, key, symbol: context.native.symbol, to, amount, txid, block }))
  }
  return transfers
}

/**
 * What contracts pass on. A node that holds a block and yet cannot trace it does not hold up all other payments: the
 * block is read without, which `sees` says, and such a payment can be claimed by its transaction.
 */
async function internalTransfers(
  block: EvmBlock,
  receiptIn: ReceiptIn,
  context: Context,
): Promise<Transfer[]> {
  const { native, tracer, chain } = context
  if (!native || !tracer || block.txids.length === 0) return []
  const frames = await tracer.framesIn(block, (to) => context.watched.has(to), context.signal)
  if (frames === null) {
    const now = await context.ask<RawBlock | null>('eth_getBlockByNumber', numberToHex(block.height), false)
    if (now?.hash !== block.hash) throw new ChainMoved()
    context.blind.add(block.hash)
    return []
  }
  const transfers: Transfer[] = []
  for (const { txid, path, to, amount } of frames) {
    if (BigInt((await receiptIn(block, txid)).status) !== 1n) continue
    const key = `${chain}:${txid}:trace:${path}`
    transfers.push(transferOf({ context, key, symbol: native.symbol, to, amount, txid, block }))
  }
  return transfers
}

async function paidBy(reader: EvmReader, txid: string, to: string, context: Context): Promise<Transfer[]> {
  const { ask, native, chain } = context
  const raw = await ask<(RawReceipt & { blockNumber: Hex }) | null>('eth_getTransactionReceipt', txid)
  if (raw === null || BigInt(raw.status) !== 1n) return []
  const block = await reader.block(Number(raw.blockNumber))
  if (block?.hash !== raw.blockHash) throw new ChainMoved()
  const all = (await reader.transfers([block], block.height)).filter((transfer) => transfer.to === to)
  const own = all.filter((transfer) => transfer.txid === txid)
  if (!native || seesInside(context, block)) return own
  const coins = all.filter(({ symbol }) => symbol === native.symbol)
  const known = coins.reduce((sum, { amount }) => sum + amount, 0n)
  const amount = (await gainedIn(block, to, ask)) - known
  if (amount <= 0n) return own
  const key = untracedKey(chain, txid, to)
  return [...own, transferOf({ context, key, symbol: native.symbol, to, amount, txid, block })]
}

async function tokenTransfers(
  block: EvmBlock,
  logs: readonly RawLog[],
  receiptIn: ReceiptIn,
  context: Context,
): Promise<Transfer[]> {
  const transfers: Transfer[] = []
  for (const log of logs) {
    const asset = context.assets.find(({ contract }) => contract?.toLowerCase() === log.address.toLowerCase())
    const event = decodeTransfer(log)
    if (!asset || !event || event.amount === 0n || !context.watched.has(event.to)) continue
    const txid = log.transactionHash
    const own = (await receiptIn(block, txid)).logs.findIndex(({ logIndex }) => logIndex === log.logIndex)
    if (own < 0) throw new ChainMoved()
    const key = `${context.chain}:${txid}:log:${own}`
    transfers.push(transferOf({ context, key, symbol: asset.symbol, ...event, txid, block }))
  }
  return transfers
}

interface Found {
  readonly context: Context
  readonly key: string
  readonly symbol: string
  readonly to: string
  readonly amount: bigint
  readonly txid: string
  readonly block: Block
}

function transferOf({ context, key, symbol, to, amount, txid, block }: Found): Transfer {
  const { height, hash, time } = block
  return { key, chain: context.chain, symbol, to, amount, txid, block: { height, hash, time } }
}

async function receipt(block: Block, txid: string, { ask }: Context): Promise<RawReceipt> {
  const raw = await ask<RawReceipt | null>('eth_getTransactionReceipt', txid)
  if (raw?.blockHash !== block.hash) throw new ChainMoved()
  return raw
}

/**
 * The token events of these blocks, by block hash. Blocks that no fork reaches any more are asked for as one range,
 * the others one by one by their hash (EIP-234), which a node that has left that fork cannot answer.
 */
async function tokenLogs(
  blocks: readonly EvmBlock[],
  top: number,
  context: Context,
): Promise<Map<string, RawLog[]>> {
  const contracts = context.assets.flatMap(({ contract }) => contract ?? [])
  if (contracts.length === 0) return new Map()
  const settled = blocks.filter(({ height }) => height <= top - context.finalityDepth)
  const query = { address: contracts, topics: [TRANSFER] }
  const old = await logsInRange(settled, query, context)
  const fresh = await inParallel(blocks.slice(settled.length), PARALLEL, async ({ hash }) => {
    try {
      return await context.ask<RawLog[]>('eth_getLogs', { ...query, blockHash: hash })
    } catch (error) {
      throw error instanceof RpcError ? new ChainMoved() : error
    }
  })
  const hashes = new Set(blocks.map(({ hash }) => hash))
  const logs = [...old, ...fresh.flat()]
  if (logs.some(({ blockHash }) => !hashes.has(blockHash))) throw new ChainMoved()
  return Map.groupBy(logs, ({ blockHash }) => blockHash)
}

/** Providers limit ranges and results in many ways; whatever they object to, half the range is tried. */
async function logsInRange(blocks: readonly EvmBlock[], query: object, context: Context): Promise<RawLog[]> {
  const first = blocks[0]
  const last = blocks.at(-1)
  if (!first || !last) return []
  const range = { fromBlock: numberToHex(first.height), toBlock: numberToHex(last.height) }
  try {
    return await context.ask<RawLog[]>('eth_getLogs', { ...query, ...range })
  } catch (error) {
    // Some call it a limit that is reached, as they do when too much was asked in a minute.
    const refused = error instanceof RpcError || (error instanceof Error && error.cause instanceof RpcError)
    if (!refused || blocks.length === 1) throw error
    const half = blocks.length >> 1
    const lower = await logsInRange(blocks.slice(0, half), query, context)
    return [...lower, ...(await logsInRange(blocks.slice(half), query, context))]
  }
}

/** Without the coin among what is accepted, blocks are read without their transactions. */
function withOffers(raw: RawBlock, native: Asset | undefined, watched: Watched): EvmBlock {
  const header = headerOf(raw)
  if (!native) return { ...header, txids: [], offers: [] }
  return { ...header, txids: raw.transactions.map(({ hash }) => hash), offers: offersIn(raw, watched) }
}

function offersIn(raw: RawBlock, watched: Watched): EvmBlock['offers'] {
  return raw.transactions.flatMap(({ hash, to, value }) => {
    if (to === null || BigInt(value) === 0n) return []
    const address = getAddress(to)
    return watched.has(address) ? [{ txid: hash, to: address, amount: BigInt(value) }] : []
  })
}

/** null: an event of the same name and another shape, such as a collectible's (ERC-721). */
function decodeTransfer({ topics, data }: RawLog): { to: string; amount: bigint } | null {
  const to = topics[2]
  if (topics.length !== 3 || to === undefined || data.length !== 66) return null
  return { to: getAddress(`0x${to.slice(26)}`), amount: BigInt(data) }
}

/** @throws {TypeError} not a block: an answer without sense must never look like a fork */
function headerOf({ number, hash, parentHash, timestamp }: RawBlock): Header {
  const height = Number(number)
  const time = Number(timestamp) * 1000
  if (
    !HASH.test(hash) ||
    !HASH.test(parentHash) ||
    !Number.isSafeInteger(height) ||
    !Number.isSafeInteger(time)
  ) {
    throw new TypeError('not a block')
  }
  return { height, hash, parent: parentHash, time }
}
