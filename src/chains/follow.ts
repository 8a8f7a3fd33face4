/**
 * Following a chain, the same for every family that has blocks with parents: read on from the cursor, prove that
 * each block stands on the one before, find the common ancestor after a fork. A step is either whole and
 * consistent or it throws; the cursor it returns never passes a block that was not read.
 */
import { BursarError } from '../errors.ts'
import type { Block, Cursor, Step, Transfer } from './chain.ts'
import { unavailable } from './rpc.ts'

export interface Header extends Block {
  readonly parent: string
}

/** What following needs of a chain, bound to one set of watched addresses and one signal. */
export interface Reader<B extends Header> {
  tip(): Promise<Block>
  /** The highest block that the chain calls final, or null. */
  finalized(): Promise<number | null>
  /** The header at a height of the best chain as the node sees it now, or null above its tip. */
  header(height: number): Promise<Header | null>
  /** The same with whatever `transfers` needs of it. */
  block(height: number): Promise<B | null>
  /**
   * The transfers in these blocks, in their order; `top` is the height of the highest block that can be believed.
   * @throws {ChainMoved} the node no longer has one of them on its best chain
   */
  transfers(blocks: readonly B[], top: number): Promise<Transfer[]>
  pending(): Promise<Waiting>
  /**
   * Whether `transfers` of this reader lists transfers of this kind at all: a node without block traces does not
   * show what contracts pass on. Without this, all of them.
   */
  sees?(transfer: Transfer): boolean
  /** What speaks for a transfer that this reader does not see. @throws {ChainMoved} its block is not on the chain */
  evidence?(transfer: Transfer): Promise<boolean>
}

/** What the mempool holds; nothing, and whole, where the chain has no public one. */
export interface Waiting {
  readonly transfers: readonly Transfer[]
  /** Every transaction in it has been looked at. */
  readonly whole: boolean
  /** Hash of the best block right after it was listed: a later block may hold what it lacks. null: no mempool. */
  readonly tip: string | null
}

export const NO_MEMPOOL: Waiting = { transfers: [], whole: true, tip: null }

/** The chain changed between two requests: what was read does not fit together and is read again. */
export class ChainMoved extends Error {
  constructor() {
    super('the chain moved while it was read')
    this.name = 'ChainMoved'
  }
}

export interface FollowOptions {
  readonly chain: string
  /** Forks down to this many blocks below the cursor are followed. */
  readonly finalityDepth: number
  /** Blocks in one step. */
  readonly maxBlocks: number
  /** Blocks asked for at the same time. */
  readonly parallel: number
  /** Nothing above this height is read, though the node has more. */
  readonly ceiling?: number
}

type Recent = Cursor['recent']

const UNREAD = { transfers: [], pending: [], pendingWhole: false } as const

/**
 * A cursor at the tip, or at the ceiling, which remembers the blocks below it: a fork right after the start is
 * followed like any other.
 * @throws {BursarError} chain_unavailable
 */
export async function startAtTip<B extends Header>(
  reader: Reader<B>,
  options: FollowOptions,
): Promise<Cursor> {
  return settled(options.chain, async () => {
    const tip = await topOf(reader, options)
    const from = Math.max(0, tip.height - options.finalityDepth)
    const headers = await linked(from, tip.height, null, (height) => reader.header(height), options.parallel)
    if (headers.at(-1)?.hash !== tip.hash) throw new ChainMoved()
    return cursorAt(headers.map(({ height, hash }) => [height, hash] as const))
  })
}

/** A step as one reader read it, with the blocks that it is made of. */
export interface Reading {
  readonly step: Step
  /** The block that the first of `blocks` stands on. */
  readonly base: readonly [height: number, hash: string]
  readonly blocks: readonly Block[]
  /** The tip, or the ceiling below it. */
  readonly top: number
}

/**
 * Reads one step along the chain.
 * @throws {BursarError} chain_unavailable (ask again from the same cursor), conflict (a fork below what the cursor
 *   remembers)
 */
export async function readStep<B extends Header>(
  reader: Reader<B>,
  cursor: Cursor,
  options: FollowOptions,
): Promise<Reading> {
  return settled(options.chain, () => readOnce(reader, cursor, options))
}

/**
 * The transfers that another reader finds in the blocks of a reading.
 * @throws {ChainMoved} it has other blocks there, or not all of them
 */
export async function readAgain<B extends Header>(
  reader: Reader<B>,
  { top, base, blocks }: Reading,
  options: FollowOptions,
): Promise<Transfer[]> {
  if (blocks.length === 0) return []
  const [height, hash] = base
  const theirs = await linked(
    height + 1,
    height + blocks.length,
    hash,
    (at) => reader.block(at),
    options.parallel,
  )
  if (theirs.some((block, i) => block.hash !== blocks[i]?.hash)) throw new ChainMoved()
  return reader.transfers(theirs, top)
}

async function readOnce<B extends Header>(
  reader: Reader<B>,
  cursor: Cursor,
  options: FollowOptions,
): Promise<Reading> {
  const tip = await reader.tip()
  const finalized = await reader.finalized()
  const recent: Recent = cursor.recent.length > 0 ? cursor.recent : [[cursor.height, cursor.hash]]
  const base = await commonAncestor(reader, recent, tip, options)
  const top = Math.min(tip.height, options.ceiling ?? tip.height)
  const behind: Reading = {
    top,
    step: { cursor, tip, finalized, forkedAt: null, ...UNREAD, caughtUp: true },
    base: [cursor.height, cursor.hash],
    blocks: [],
  }
  if (base === 'behind') return behind
  const [height, hash] = base
  const forked = height < cursor.height
  // After a fork everything up to the old cursor is read at once: a payment that merely moved is not reported gone.
  const goal = Math.max(height + options.maxBlocks, cursor.height)
  if (top < height || (forked && top < Math.min(tip.height, cursor.height))) return behind
  const to = Math.min(top, goal)
  const blocks = await linked(height + 1, to, hash, (at) => reader.block(at), options.parallel)
  // A node that shows the block now which it denied before has not forked: it moves, or does not know what it says.
  if (recent.some(([at, known]) => at === height + 1 && known === blocks[0]?.hash)) throw new ChainMoved()
  const last = blocks.at(-1)?.hash ?? hash
  if (to === tip.height && last !== tip.hash) throw new ChainMoved()
  const transfers = blocks.length > 0 ? await reader.transfers(blocks, top) : []
  const caughtUp = to === top
  const waiting = caughtUp ? await reader.pending() : null
  const known = recent.filter((entry) => entry[0] <= height)
  const added = blocks.map((block) => [block.height, block.hash] as const)
  return {
    top,
    base,
    blocks,
    step: {
      cursor: cursorAt([...known, ...added].slice(-(options.finalityDepth + 1))),
      tip,
      finalized,
      forkedAt: forked ? height : null,
      transfers,
      pending: waiting?.transfers ?? [],
      pendingWhole: waiting !== null && waiting.whole && (waiting.tip ?? tip.hash) === last,
      caughtUp,
    },
  }
}

/** The newest block that may be read. */
async function topOf<B extends Header>(reader: Reader<B>, { ceiling }: FollowOptions): Promise<Block> {
  const tip = await reader.tip()
  if (ceiling === undefined || tip.height <= ceiling) return tip
  const top = await reader.header(ceiling)
  if (top?.height !== ceiling) throw new ChainMoved()
  return top
}

/**
 * The highest remembered block that is still on the chain. `behind`: the node has not yet seen what another one,
 * or itself before a restart, has shown us; that is no fork, and is waited out.
 */
async function commonAncestor<B extends Header>(
  reader: Reader<B>,
  recent: Recent,
  tip: Block,
  { chain, finalityDepth }: FollowOptions,
): Promise<readonly [number, string] | 'behind'> {
  const newest = recent.at(-1)
  const oldest = recent[0]
  if (!newest || !oldest) throw new TypeError('a cursor remembers at least its own block')
  if (tip.hash === newest[1]) return newest
  if (tip.height < oldest[0]) {
    throw unavailable(chain, `its node is at block ${tip.height}, and was read to ${newest[0]} before.`)
  }
  const stands = async ([height, hash]: readonly [number, string]) => {
    const header = height === tip.height ? tip : await reader.header(height)
    // A node without a block below its own tip is several nodes behind one name: no proof of a fork.
    if (header?.height !== height) throw new ChainMoved()
    return header.hash === hash
  }
  const reachable = recent.filter(([height]) => height <= tip.height)
  const top = reachable.at(-1)
  if (top && (await stands(top))) return top[0] < newest[0] ? 'behind' : top
  // A block stands only if all below it stand, so halving finds the last one that does.
  let low = -1
  let high = reachable.length - 1
  while (high - low > 1) {
    const middle = (low + high) >> 1
    const entry = reachable[middle]
    if (entry && (await stands(entry))) low = middle
    else high = middle
  }
  const ancestor = reachable[low]
  if (ancestor) return ancestor
  throw new BursarError(
    'conflict',
    `${chain} forked more than ${newest[0] - oldest[0]} blocks below block ${newest[0]}: crediting on it must halt.`,
    {
      remedy: `Compare the node with another one (bursar chains list), then: bursar chains resume ${chain}, with --from HEIGHT if the fork is real.`,
      details: { chain, height: newest[0], remembered_from: oldest[0], finality_blocks: finalityDepth },
    },
  )
}

/** Blocks `from` to `to`, each proven to be the parent of the next; the first stands on `below`, where that is known. */
async function linked<H extends Header>(
  from: number,
  to: number,
  below: string | null,
  read: (height: number) => Promise<H | null>,
  parallel: number,
): Promise<H[]> {
  const heights = Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i)
  const blocks = await inParallel(heights, parallel, async (height) => {
    const block = await read(height)
    if (block?.height !== height) throw new ChainMoved()
    return block
  })
  let parent = below
  for (const block of blocks) {
    if (parent !== null && block.parent !== parent) throw new ChainMoved()
    parent = block.hash
  }
  return blocks
}

/** Runs `task` on each item, at most `parallel` at a time; results in the items' order. The first failure ends it. */
export async function inParallel<T, R>(
  items: readonly T[],
  parallel: number,
  task: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  let next = 0
  let failed = false
  const worker = async () => {
    while (next < items.length && !failed) {
      const at = next
      next += 1
      try {
        results[at] = await task(items[at] as T)
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(parallel, items.length) }, worker))
  return results
}

/** A chain that moves under one reading rarely moves under the next. */
async function settled<T>(chain: string, read: () => Promise<T>): Promise<T> {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    try {
      return await read()
    } catch (error) {
      if (!(error instanceof ChainMoved)) throw error
    }
  }
  throw unavailable(chain, 'its blocks changed each time they were read.')
}

function cursorAt(recent: Recent): Cursor {
  const last = recent.at(-1)
  if (!last) throw new TypeError('a cursor remembers at least its own block')
  return { height: last[0], hash: last[1], recent }
}
