/**
 * What an operator sees of the chains, and how a halted one goes on. A chain halts when it forked below what its
 * cursor remembers. It goes on by itself from the same cursor if the fork is gone (a node had been wrong), and
 * otherwise from an older block for which a human vouches: everything above that is read again, and payments that
 * only moved keep their credits.
 */
import type { Chain, Cursor, EndpointReport } from '../chains/chain.ts'
import { type Db, guard, statement } from '../db/db.ts'
import { BursarError, invalid } from '../errors.ts'
import { openRestore, restored } from '../ledger/restored.ts'
import type { InvoiceContext } from './context.ts'
import { isStalled } from './crediting.ts'
import { readCursor } from './cursor.ts'
import { endWatch } from './watch-lease.ts'

export interface ChainReport {
  readonly chain: string
  readonly network: string
  /** Where it has been read to; null: never watched yet. */
  readonly height: number | null
  /** When it was last settled, Unix milliseconds. */
  readonly settledAt: number | null
  readonly halted: string | null
  /** Payments that are seen or confirming. */
  readonly waiting: number
  /** Finality has stalled, as its endpoints show it now. */
  readonly stalled: boolean
  readonly endpoints: readonly EndpointReport[]
}

type ResumeContext = Pick<InvoiceContext, 'db' | 'runtime'>

export async function reportChain(
  { db }: ResumeContext,
  chain: Chain,
  signal?: AbortSignal,
): Promise<ChainReport> {
  const [stored, endpoints, [open]] = await Promise.all([
    readCursor(db, chain.id),
    chain.endpoints(signal),
    db.query<{ n: bigint }>(
      "SELECT count(*) AS n FROM payment WHERE chain = ? AND state IN ('seen', 'confirming') AND invoice IS NOT NULL",
      [chain.id],
    ),
  ])
  return {
    chain: chain.id,
    network: chain.network,
    height: stored?.cursor.height ?? null,
    settledAt: stored?.updatedAt ?? null,
    halted: stored?.halted ?? null,
    waiting: Number(open?.n ?? 0n),
    stalled: endpoints.some(({ height, finalized }) => {
      if (height === null) return false
      return isStalled(chain, { tip: { height, hash: '', time: 0 }, finalized })
    }),
    endpoints,
  }
}

/** What an operator is told of a halted chain. */
export function haltedChain(chain: string, reason: string): BursarError {
  return new BursarError('chain_unavailable', `Crediting on ${chain} is halted: ${reason}.`, {
    remedy: `Crediting on it is halted until the operator has looked (bursar chains list), then: bursar chains resume ${chain}`,
  })
}

export interface Resumed {
  /** The block that is read on from. */
  readonly height: number
  readonly hash: string
  /** The fork is there: blocks above `height` are read again. */
  readonly forked: boolean
}

/**
 * @param from a height below the fork; needed only when the fork is still there
 * @throws {BursarError} not_found: the chain was never watched; conflict: it is not halted, or it is still forked and
 *   no block was named; invalid_request: the named block is no common ancestor; chain_unavailable
 */
export async function resumeChain(
  ctx: ResumeContext,
  chain: Chain,
  { from, signal }: { readonly from?: number; readonly signal?: AbortSignal } = {},
): Promise<Resumed> {
  const stored = await readCursor(ctx.db, chain.id)
  if (!stored) throw new BursarError('not_found', `${chain.id} was never watched.`)
  if (await openRestore(ctx.db)) throw restored()
  if (stored.halted === null) throw new BursarError('conflict', `${chain.id} is not halted.`)
  await chain.verify(signal)
  const { cursor } = stored
  const standing = await standingBlock(chain, cursor, signal)
  if (standing) {
    await store(ctx, chain, cursor)
    return { ...standing, forked: standing.height < cursor.height }
  }
  const ancestor = await vouchedAncestor(ctx.db, chain, cursor, { from, signal })
  await store(ctx, chain, { ...cursor, recent: [[ancestor.height, ancestor.hash], ...cursor.recent] })
  return { ...ancestor, forked: true }
}

/** The newest remembered block, or the oldest, if it is on the chain: from either one following finds its way. */
async function standingBlock(
  chain: Chain,
  { recent }: Cursor,
  signal: AbortSignal | undefined,
): Promise<{ height: number; hash: string } | null> {
  for (const remembered of [recent.at(-1), recent[0]]) {
    if (!remembered) continue
    const [height, hash] = remembered
    const block = await chain.blockAt(height, signal)
    if (block?.hash === hash) return { height, hash }
  }
  return null
}

async function vouchedAncestor(
  db: Db,
  chain: Chain,
  { recent }: Cursor,
  { from, signal }: { readonly from: number | undefined; readonly signal: AbortSignal | undefined },
): Promise<{ height: number; hash: string }> {
  const oldest = recent[0]?.[0] ?? 0
  if (from === undefined) {
    throw new BursarError('conflict', `${chain.id} is still forked below block ${oldest}.`, {
      remedy: `Find the last block before the fork with a node you trust, and give it: bursar chains resume ${chain.id} --from HEIGHT`,
      details: { chain: chain.id, below: oldest },
    })
  }
  if (!Number.isSafeInteger(from) || from < 0 || from >= oldest) {
    throw invalid(`--from must be a height below ${oldest}, the oldest block that was remembered.`)
  }
  const block = await chain.blockAt(from, signal)
  if (!block) throw new BursarError('chain_unavailable', `${chain.id} has no block ${from}.`)
  await refuseMoved(db, chain, from, signal)
  return { height: block.height, hash: block.hash }
}

/** How many blocks with payments, from the named one down, are compared with the chain. */
const COMPARED = 20

/** A payment at or below the named block must be in the block that it was seen in: else the fork is deeper still. */
async function refuseMoved(
  db: Db,
  chain: Chain,
  from: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const rows = await db.query<{ height: bigint; block_hash: string }>(
    `SELECT DISTINCT height, block_hash FROM payment WHERE chain = ? AND height <= ? ORDER BY height DESC LIMIT ?`,
    [chain.id, BigInt(from), BigInt(COMPARED)],
  )
  for (const row of rows) {
    const height = Number(row.height)
    const block = await chain.blockAt(height, signal)
    if (block?.hash === row.block_hash) continue
    throw invalid(
      `Block ${height}, which holds a payment, was replaced too: the fork begins below ${from}.`,
      {
        remedy: `Give a height below ${height}.`,
      },
    )
  }
}

/** Whoever watched until now has to take the lease anew, so that nothing it has read is still written. */
async function store({ db, runtime }: ResumeContext, chain: Chain, cursor: Cursor): Promise<void> {
  const raced = new BursarError('conflict', `${chain.id} was resumed by someone else.`)
  await db.commit([
    guard(
      'EXISTS (SELECT 1 FROM chain_cursor WHERE chain = ? AND halted IS NOT NULL)',
      [chain.id],
      () => raced,
    ),
    statement('UPDATE chain_cursor SET halted = NULL, recent = ? WHERE chain = ?', [
      JSON.stringify(cursor.recent),
      chain.id,
    ]),
    endWatch(chain.id),
  ])
  runtime.log.warn({ event: 'chain_resumed', chain: chain.id }, 'A human resumed crediting on this chain.')
}
