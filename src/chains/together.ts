/**
 * Reads a chain from several endpoints that need not be honest, or awake. What one of them shows counts once a
 * second one shows the same: the same blocks, with the same payments in them. So a lying endpoint can delay a
 * credit; it can neither invent a payment nor hide one.
 *
 * - Endpoints that do not answer are passed over. Where only one is left, it is believed by itself, and the log
 *   says so.
 * - Nothing above the second-highest tip is read: what only one endpoint knows may not exist.
 * - An endpoint whose tip stands still below that of another lags: it is passed over until it moves again. Whether
 *   it is stuck, or the other one has invented what it shows, cannot be told at once: for ten times as long, what it
 *   does not know is not credited.
 * - Where no two agree, nothing is read and the log says so; it is asked again from the same cursor.
 */
import { BursarError } from '../errors.ts'
import {
  type Block,
  type Chain,
  type Cursor,
  NOTHING_WATCHED,
  type Step,
  type Transfer,
  type Watched,
} from './chain.ts'
import {
  ChainMoved,
  type FollowOptions,
  type Header,
  NO_MEMPOOL,
  type Reader,
  type Reading,
  readAgain,
  readStep,
  startAtTip,
} from './follow.ts'
import { noEndpoint, readingChain, unavailable } from './rpc.ts'
import { type Asked, askTips, type Context, contextOf, type OpenSources } from './tips.ts'
import { isSame, vouch } from './vouch.ts'

/** What a chain takes from its endpoints together. */
type Sources = Pick<Chain, 'start' | 'follow' | 'vouch' | 'blockAt'>

/** Two branches for a moment are the life of a chain; for longer, someone has to look. */
const DISAGREE_MS = 30_000

export function openSources<B extends Header>(given: OpenSources<B>): Sources {
  const { sources, options } = given
  const context = contextOf(given)
  const [only] = sources
  if (!only) throw new TypeError('a chain has at least one endpoint')
  const alone = sources.length === 1 ? only : null
  const reading = <T>(signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> =>
    readingChain(options.chain, signal, run)
  return {
    start: (signal) =>
      reading(signal, () =>
        alone ? startAtTip(alone.reader(NOTHING_WATCHED, signal), options) : start(context, signal),
      ),
    follow: (cursor, watched, signal) =>
      reading(signal, async () => {
        if (alone) return (await readStep(alone.reader(watched, signal), cursor, options)).step
        return follow(context, { cursor, watched, signal })
      }),
    vouch: (transfers, signal) =>
      reading(signal, async () => {
        if (alone) return new Set(transfers.map(({ key }) => key))
        return vouch(context, transfers, signal)
      }),
    blockAt: (height, signal) => reading(signal, () => blockAt(context, height, signal)),
  }
}

interface Follow {
  readonly cursor: Cursor
  readonly watched: Watched
  readonly signal: AbortSignal | undefined
}

async function follow<B extends Header>(context: Context<B>, given: Follow): Promise<Step> {
  const { memory, options } = context
  const { live, ceiling } = await askTips(context, given.watched, given.signal)
  const within: FollowOptions = ceiling === null ? options : { ...options, ceiling }
  const failures: unknown[] = []
  const tooDeep: unknown[] = []
  let answered = 0
  for (const asked of atLeast(live, ceiling)) {
    let reading: Reading
    try {
      reading = await readStep(asked.reader, given.cursor, within)
    } catch (error) {
      given.signal?.throwIfAborted()
      if (error instanceof BursarError && error.code === 'conflict') tooDeep.push(error)
      else failures.push(error)
      continue
    }
    answered += 1
    const step = await seconded(context, { asked, reading, live, within, signal: given.signal })
    if (step === null) continue
    memory.disagreeing = null
    return withAllWaiting(step, asked, live, given.signal)
  }
  // A fork too deep to follow halts the chain, so one endpoint's word is enough only where no other has one.
  if (tooDeep.length > 0 && answered === 0 && (tooDeep.length > 1 || live.length === 1)) throw tooDeep[0]
  if (answered === 0 && tooDeep.length === 0) throw noEndpoint(options.chain, failures)
  throw disagreement(context, live)
}

/**
 * With what the mempools of the others hold: no two are the same, and a node that was just started has little in its own.
 * Those that do not answer are left out.
 */
async function withAllWaiting<B extends Header>(
  step: Step,
  asked: Asked<B>,
  live: readonly Asked<B>[],
  signal: AbortSignal | undefined,
): Promise<Step> {
  if (!step.caughtUp) return step
  const others = live.filter((one) => one !== asked)
  const found = await Promise.all(others.map(({ reader }) => reader.pending().catch(() => NO_MEMPOOL)))
  signal?.throwIfAborted()
  const transfers = [...found.flatMap((waiting) => waiting.transfers), ...step.pending]
  return {
    ...step,
    pending: [...new Map(transfers.map((transfer) => [transfer.key, transfer])).values()],
    pendingWhole: step.pendingWhole && found.every(({ whole }) => whole),
  }
}

/** Those that have the block up to which is read. */
function atLeast<B extends Header>(live: readonly Asked<B>[], ceiling: number | null): Asked<B>[] {
  return live.filter(({ tip }) => ceiling === null || tip.height >= ceiling)
}

interface Second<B extends Header> {
  readonly asked: Asked<B>
  readonly reading: Reading
  readonly live: readonly Asked<B>[]
  readonly within: FollowOptions
  readonly signal: AbortSignal | undefined
}

/** The step, if a second source has read the same or none other answers; null if those that answer deny it. */
async function seconded<B extends Header>(context: Context<B>, second: Second<B>): Promise<Step | null> {
  const { asked, reading, live, within, signal } = second
  const { memory } = context
  // Nothing was read: there is nothing to compare. What is final must be known all the same: payments may be due.
  if (reading.blocks.length === 0) {
    memory.finalized ??= await finalizedByTwo(second)
    return { ...reading.step, finalized: memory.finalized }
  }
  let denied = false
  for (const other of live) {
    if (other === asked) continue
    try {
      const theirs = await readAgain(other.reader, reading, within)
      const transfers = joined(asked.reader, reading.step.transfers, other.reader, theirs)
      if (transfers) {
        memory.finalized = lower(reading.step.finalized, await other.reader.finalized())
        return { ...reading.step, transfers, finalized: memory.finalized }
      }
      denied = true
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof ChainMoved) denied = true
    }
  }
  if (denied) return null
  const facts = { endpoint: asked.source.host, height: reading.step.cursor.height }
  context.say('warn', 'endpoint_alone', facts, 'Only one endpoint answers: its word is taken by itself.')
  memory.finalized = reading.step.finalized
  return { ...reading.step, finalized: memory.finalized }
}

/** What the asked source and the first other one that answers call final; where none other answers, its own word. */
async function finalizedByTwo<B extends Header>({
  asked,
  reading,
  live,
  signal,
}: Second<B>): Promise<number | null> {
  const own = reading.step.finalized
  for (const { reader } of live.filter((other) => other !== asked)) {
    try {
      return lower(own, await reader.finalized())
    } catch {
      signal?.throwIfAborted()
    }
  }
  return own
}

/** What both see, with what only one of them can see; null if they differ in what both should see. */
function joined<B extends Header>(
  one: Reader<B>,
  found: readonly Transfer[],
  other: Reader<B>,
  theirs: readonly Transfer[],
): Transfer[] | null {
  const sees = (reader: Reader<B>, transfer: Transfer) => reader.sees?.(transfer) ?? true
  const shared = found.filter((transfer) => sees(other, transfer))
  const second = new Map(theirs.map((transfer) => [transfer.key, transfer]))
  const extra = theirs.filter((transfer) => !sees(one, transfer))
  if (shared.length + extra.length !== second.size) return null
  if (!shared.every((transfer) => isSame(transfer, second.get(transfer.key)))) return null
  return [...found, ...extra].sort((a, b) => (a.block?.height ?? 0) - (b.block?.height ?? 0))
}

async function start<B extends Header>(context: Context<B>, signal?: AbortSignal): Promise<Cursor> {
  const { options } = context
  const { live, ceiling } = await askTips(context, NOTHING_WATCHED, signal)
  const within: FollowOptions = ceiling === null ? options : { ...options, ceiling }
  const failures: unknown[] = []
  for (const asked of atLeast(live, ceiling)) {
    try {
      const cursor = await startAtTip(asked.reader, within)
      if (ceiling === null) return cursor
      for (const other of live) {
        if (other !== asked && (await other.reader.header(cursor.height))?.hash === cursor.hash) return cursor
      }
    } catch (error) {
      signal?.throwIfAborted()
      failures.push(error)
    }
  }
  if (failures.length === live.length) throw noEndpoint(options.chain, failures)
  throw disagreement(context, live)
}

async function blockAt<B extends Header>(
  context: Context<B>,
  height: number,
  signal: AbortSignal | undefined,
): Promise<Block | null> {
  const { live } = await askTips(context, NOTHING_WATCHED, signal)
  const headers = await Promise.all(live.map(({ reader }) => reader.header(height)))
  const [first] = headers
  if (headers.every((header) => header?.hash === first?.hash)) return first ?? null
  throw disagreement(context, live)
}

function disagreement<B extends Header>(context: Context<B>, live: readonly Asked<B>[]): BursarError {
  const { memory, runtime, options } = context
  memory.disagreeing ??= runtime.now()
  const facts = { endpoints: live.map(({ source, tip }) => `${source.host} at ${tip.height}`) }
  if (runtime.now() - memory.disagreeing >= DISAGREE_MS) {
    context.say(
      'error',
      'endpoints_disagree',
      facts,
      'No two endpoints of a chain agree: credits on it wait.',
    )
  }
  const what = 'its endpoints do not agree on its blocks or on what is in them.'
  return unavailable(options.chain, what, undefined, 'endpoints_disagree')
}

function lower(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : Math.min(a, b)
}
