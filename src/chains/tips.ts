/** Which endpoints of a chain have a say now: those that answer, and whose tips move as the others' do. */
import type { Runtime } from '../runtime.ts'
import type { Block, Watched } from './chain.ts'
import type { FollowOptions, Header, Reader } from './follow.ts'
import { noEndpoint } from './rpc.ts'

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

/** A tip is a small answer: whoever takes longer is passed over for now. */
const TIP_TIMEOUT_MS = 5_000
/** How often a state that lasts is said again. */
const REPEAT_MS = 300_000

/** A source that has answered. */
export interface Asked<B extends Header> {
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

/** The sources of a chain, and what is remembered of them. */
export interface Context<B extends Header> extends OpenSources<B> {
  readonly memory: Memory<B>
  /** Logs a state once when it begins, and again from time to time. */
  readonly say: (level: 'warn' | 'error', event: string, facts: object, text: string) => void
}

export interface Tips<B extends Header> {
  /** Those that answer and do not lag, in the order in which they are read. */
  readonly live: readonly Asked<B>[]
  readonly lagging: readonly Asked<B>[]
  /** The highest block that two of them know; null where there is only one. */
  readonly ceiling: number | null
}

/** @throws {BursarError} chain_unavailable: none answers; invalid_config: none is of the right chain */
export async function askTips<B extends Header>(
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

export function contextOf<B extends Header>(given: OpenSources<B>): Context<B> {
  return {
    ...given,
    memory: { moved: new Map(), finalized: null, disagreeing: null },
    say: sayer(given.runtime, given.options.chain),
  }
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
