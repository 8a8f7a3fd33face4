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
import type { Runtime } from '../runtime.ts'
import type { Block, Cursor, Step, Transfer, Watched } from './chain.ts'
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
import { noEndpoint, unavailable } from './rpc.ts'

/** One endpoint, and how to read the chain from it. */
export interface Source<B extends Header> {
  /** For the log. */
  readonly host: string
  /** It failed lately: asked only when no other answers. */
  resting(): boolean
  /** It shows more than others do, and is read first. */
  seesMore(): boolean
  reader(watched: Watched, signal: AbortSignal | undefined): Reader<B>
}

export interface Sources {
  start(signal?: AbortSignal): Promise<Cursor>
  follow(cursor: Cursor, watched: Watched, signal?: AbortSignal): Promise<Step>
  /** The keys of those that two endpoints show as they are given, on their best chain; one, where only one answers. */
  vouch(transfers: readonly Transfer[], signal?: AbortSignal): Promise<ReadonlySet<string>>
  /** The block at a height, as every endpoint that answers has it; null above the tip. */
  blockAt(height: number, signal?: AbortSignal): Promise<Block | null>
}

export interface OpenSources<B extends Header> {
  readonly sources: readonly Source<B>[]
  readonly options: FollowOptions
  readonly runtime: Runtime
  /**
   * A tip that has not moved for this long, while another is higher, is that of a node that lags, milliseconds. Longer
   * than the chain ever takes for a block.
   */
  readonly lagMs: number
}

/** So many times `lagMs` a node that lags still has a say in what is credited. */
const LAG_SAY = 10
/** A tip is a small answer: whoever takes longer is passed over for now. */
const TIP_TIMEOUT_MS = 5_000
/** Two branches for a moment are the life of a chain; for longer, someone has to look. */
const DISAGREE_MS = 30_000
const REPEAT_MS = 300_000

interface Asked<B extends Header> {
  readonly source: Source<B>
  readonly reader: Reader<B>
  readonly tip: Block
  /** For how long the tip has not moved while another was higher, milliseconds. */
  readonly stillMs: number
}

interface Memory<B extends Header> {
  /** When each source's tip was last seen to move. */
  readonly moved: Map<Source<B>, { readonly hash: string; readonly at: number }>
  /** The last height that two sources called final. */
  finalized: number | null
  disagreeing: number | null
}

interface Context<B extends Header> extends OpenSources<B> {
  readonly memory: Memory<B>
  /** Logs a state once when it begins, and again from time to time. */
  readonly say: (level: 'warn' | 'error', event: string, facts: object, text: string) => void
}

export function openSources<B extends Header>(given: OpenSources<B>): Sources {
  const { sources, options } = given
  const context: Context<B> = {
    ...given,
    memory: { moved: new Map(), finalized: null, disagreeing: null },
    say: sayer(given.runtime, options.chain),
  }
  const [only] = sources
  if (!only) throw new TypeError('a chain has at least one endpoint')
  const alone = sources.length === 1 ? only : null
  return {
    async start(signal) {
      return alone ? startAtTip(alone.reader(NOTHING, signal), options) : start(context, signal)
    },
    async follow(cursor, watched, signal) {
      if (alone) return (await readStep(alone.reader(watched, signal), cursor, options)).step
      return follow(context, { cursor, watched, signal })
    },
    async vouch(transfers, signal) {
      if (alone) return new Set(transfers.map(({ key }) => key))
      if (transfers.length === 0) return new Set()
      const { live, lagging } = await askTips(context, new Set(transfers.map(({ to }) => to)), signal)
      const say = [...live, ...lagging.filter(({ stillMs }) => stillMs < given.lagMs * LAG_SAY)]
      const voters = say.map(({ source, reader }) => ({ host: source.host, reader: readingOnce(reader) }))
      const found = new Set<string>()
      for (const transfer of transfers) {
        if (await isVouchedFor(context, voters, transfer, signal)) found.add(transfer.key)
      }
      return found
    },
    blockAt: (height, signal) => blockAt(context, height, signal),
  }
}

const NOTHING: Watched = { has: () => false }

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

function isSame(a: Transfer, b: Transfer | undefined): boolean {
  return (
    b !== undefined &&
    a.key === b.key &&
    a.symbol === b.symbol &&
    a.to === b.to &&
    a.amount === b.amount &&
    a.block?.hash === b.block?.hash
  )
}

async function start<B extends Header>(context: Context<B>, signal?: AbortSignal): Promise<Cursor> {
  const { options } = context
  const { live, ceiling } = await askTips(context, NOTHING, signal)
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

interface Tips<B extends Header> {
  /** Those that answer and do not lag, in the order in which they are read. */
  readonly live: readonly Asked<B>[]
  readonly lagging: readonly Asked<B>[]
  /** The highest block that two of them know; null where there is only one. */
  readonly ceiling: number | null
}

/** @throws {BursarError} chain_unavailable: none answers; invalid_config: none is of the right chain */
async function askTips<B extends Header>(
  context: Context<B>,
  watched: Watched,
  signal: AbortSignal | undefined,
): Promise<Tips<B>> {
  const failures: unknown[] = []
  const awake = context.sources.filter((source) => !source.resting())
  let answered = await tipsOf(awake)
  if (answered.length === 0) {
    answered = await tipsOf(context.sources.filter((source) => !awake.includes(source)))
  }
  if (answered.length === 0) throw noEndpoint(context.options.chain, failures)
  const now = withLags(context, answered)
  const live = now.filter(({ stillMs }) => stillMs < context.lagMs)
  const heights = live.map(({ tip }) => tip.height).sort((a, b) => b - a)
  return {
    live: live.sort((a, b) => Number(b.source.seesMore()) - Number(a.source.seesMore())),
    lagging: now.filter((one) => !live.includes(one)),
    ceiling: heights[1] ?? null,
  }

  async function tipsOf(some: readonly Source<B>[]): Promise<Asked<B>[]> {
    const asked = await Promise.all(
      some.map((source) => tipOf(source).catch((error) => void failures.push(error))),
    )
    signal?.throwIfAborted()
    return asked.flatMap((one) => (one === undefined ? [] : [one]))
  }

  async function tipOf(source: Source<B>): Promise<Asked<B>> {
    const deadline = new AbortController()
    const cancel = context.runtime.after(TIP_TIMEOUT_MS, () => deadline.abort(new Error('no tip in time')))
    const within = signal ? AbortSignal.any([signal, deadline.signal]) : deadline.signal
    try {
      const tip = await source.reader(watched, within).tip()
      return { source, tip, reader: source.reader(watched, signal), stillMs: 0 }
    } finally {
      cancel()
    }
  }
}

/** The highest tip never lags, so at least one of them does not. */
function withLags<B extends Header>(context: Context<B>, answered: readonly Asked<B>[]): Asked<B>[] {
  const { memory, runtime, lagMs } = context
  const now = runtime.now()
  const highest = answered.reduce((top, { tip }) => Math.max(top, tip.height), 0)
  return answered.map((asked) => {
    const { source, tip } = asked
    const known = memory.moved.get(source)
    if (known?.hash !== tip.hash) memory.moved.set(source, { hash: tip.hash, at: now })
    const stillMs = known?.hash === tip.hash && tip.height < highest ? now - known.at : 0
    if (stillMs >= lagMs) {
      const behind = highest - tip.height
      const facts = { endpoint: source.host, height: tip.height, behind, still_ms: stillMs }
      context.say('warn', 'endpoint_lagging', facts, 'A chain endpoint lags and is passed over.')
    }
    return { ...asked, stillMs }
  })
}

interface Voter<B extends Header> {
  readonly host: string
  readonly reader: Reader<B>
}

/** Keeps the blocks that were read, and what was found in them: many payments may be in one. */
function readingOnce<B extends Header>(reader: Reader<B>): Reader<B> {
  const blocks = new Map<number, Promise<B | null>>()
  const found = new Map<string, Promise<Transfer[]>>()
  return {
    ...reader,
    block: (height) => kept(blocks, height, () => reader.block(height)),
    transfers: (some, top) =>
      kept(found, `${top} ${some.map(({ hash }) => hash).join(' ')}`, () => reader.transfers(some, top)),
  }
}

function kept<K, V>(known: Map<K, V>, key: K, read: () => V): V {
  const value = known.get(key) ?? read()
  known.set(key, value)
  return value
}

async function isVouchedFor<B extends Header>(
  context: Context<B>,
  voters: readonly Voter<B>[],
  transfer: Transfer,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const yes: string[] = []
  const no: string[] = []
  for (const { reader, host } of voters) {
    if (yes.length >= 2) break
    try {
      const answers = (await showsTransfer(reader, transfer)) ? yes : no
      answers.push(host)
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof ChainMoved) no.push(host)
    }
  }
  if (yes.length >= 2 || (yes.length === 1 && no.length === 0)) return true
  const facts = { payment: transfer.key, confirmed_by: yes, denied_by: no }
  context.say('error', 'payment_unconfirmed', facts, 'The endpoints do not confirm a payment: it waits.')
  return false
}

async function showsTransfer<B extends Header>(reader: Reader<B>, transfer: Transfer): Promise<boolean> {
  const { block } = transfer
  if (block === null) return false
  const own = await reader.block(block.height)
  if (own?.hash !== block.hash) return false
  const found = await reader.transfers([own], block.height)
  if (found.some((one) => isSame(one, transfer))) return true
  if (reader.sees?.(transfer) ?? true) return false
  return (await reader.evidence?.(transfer)) ?? false
}

async function blockAt<B extends Header>(
  context: Context<B>,
  height: number,
  signal: AbortSignal | undefined,
): Promise<Block | null> {
  const { live } = await askTips(context, NOTHING, signal)
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

function sayer(runtime: Runtime, chain: string): Context<Header>['say'] {
  const said = new Map<string, number>()
  return (level, event, facts, text) => {
    const topic = `${event} ${JSON.stringify('payment' in facts ? facts.payment : '')}`
    const last = said.get(topic)
    if (last !== undefined && runtime.now() - last < REPEAT_MS) return
    if (said.size > 1_000) said.clear()
    said.set(topic, runtime.now())
    runtime.log[level]({ event, chain, ...facts }, text)
  }
}

function lower(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : Math.min(a, b)
}
