/**
 * Watches one chain for as long as the process lives. Of all processes that share the database, the one that holds
 * the chain's lease reads and settles; the others stand by. It reads on from the stored cursor, so a stop, a crash
 * or another process taking over loses nothing and books nothing twice.
 */
import type { Chain, Cursor, Step } from '../chains/chain.ts'
import { type KeptLease, keepLease, type Lease } from '../db/lease.ts'
import { BursarError, toBursarError } from '../errors.ts'
import { type Outage, watchOutage } from '../outages.ts'
import type { InvoiceContext } from './context.ts'
import { isStalled } from './crediting.ts'
import { ensureCursor, type StoredCursor } from './cursor.ts'
import { halt, settle } from './settle.ts'
import { type ChainWait, chainWaits, readChainStates } from './waiting.ts'
import { watchLease } from './watch-lease.ts'
import { type WatchedAddresses, watchedAddresses } from './watched.ts'

const LEASE_MS = 15_000
/** Prolonged when less than this is left: not with every look at a chain that is looked at often. */
const LEFT_MS = 10_000
/** How often it is prolonged while a step is read: a slow endpoint can make that longer than a lease lasts. */
const RENEW_MS = 5_000
/** How often a process that stands by looks whether the lease is free. */
const STANDBY_MS = 2_000
/** A halted chain waits for a human; this is how soon it notices that one has looked. */
const HALTED_MS = 10_000
const MIN_BACKOFF_MS = 500
const MAX_BACKOFF_MS = 30_000
/** A mempool is read a part at a time; how soon the next part follows. */
const MEMPOOL_MS = 1_000
/** Endpoints differ for a moment with every block. */
const NOTED_AFTER_MS = 10_000

export interface Watch {
  /** Resolves once the chain's cursor is stored and this process is watching or standing by; rejects when stopped first. */
  readonly ready: Promise<void>
  /**
   * Resolves when this process can read the chain, once it has tried.
   * @throws {BursarError} chain_unavailable; invalid_config: the endpoint serves another chain.
   */
  readable(): Promise<void>
  /** Resolves when the loop has ended and the lease is given back. Never rejects. */
  readonly ended: Promise<void>
}

/** Starts the loop; it ends when `signal` is aborted. */
export function watchChain(ctx: InvoiceContext, chain: Chain, signal: AbortSignal): Watch {
  const ready = Promise.withResolvers<void>()
  // Whoever does not wait for `ready` must not crash on it.
  ready.promise.catch(() => undefined)
  const tried = Promise.withResolvers<void>()
  let failing = false
  const onRound = (worked: boolean): void => {
    failing = !worked
    tried.resolve()
  }
  const ended = loop(ctx, chain, signal, { onReady: () => ready.resolve(), onRound }).finally(() => {
    ready.reject(new BursarError('chain_unavailable', `Watching ${chain.id} was stopped before it began.`))
    onRound(false)
  })
  return {
    ready: ready.promise,
    async readable() {
      await tried.promise
      // Asked afresh: the loop may wait for half a minute before it looks again.
      if (failing) await chain.verify(signal)
    },
    ended,
  }
}

interface Watching {
  readonly ctx: InvoiceContext
  readonly chain: Chain
  readonly signal: AbortSignal
  readonly watched: WatchedAddresses
  readonly kept: KeptLease
  readonly outage: Outage
  /** Finality has stalled, as of the last step. */
  stalled: boolean
  /** What the chain waits for, as far as this process has written it. */
  noted: ChainWait | null
}

async function loop(
  ctx: InvoiceContext,
  chain: Chain,
  signal: AbortSignal,
  { onReady, onRound }: { onReady(): void; onRound(worked: boolean): void },
): Promise<void> {
  const { runtime } = ctx
  const watched = watchedAddresses(ctx.db, chain.family)
  // Enough for the pause until the next look, and for a step that ends before it is prolonged: what lapses while its
  // holder only waits goes from process to process.
  const untilNext = chain.pollMs + RENEW_MS
  const ttlMs = Math.max(LEASE_MS, untilNext)
  const wanted = { name: watchLease(chain.id), holder: runtime.id('watch'), ttlMs }
  const onTaken = ({ fence }: Lease): void =>
    runtime.log.info({ chain: chain.id, fence: Number(fence) }, 'watching')
  const kept = keepLease(ctx, wanted, { renewMs: Math.max(LEFT_MS, untilNext), onTaken })
  const outage = watchOutage(runtime)
  const watching: Watching = { ctx, chain, signal, watched, kept, outage, stalled: false, noted: null }
  let lease: Lease | null = null
  let verified = false
  let failures = 0
  while (!signal.aborted) {
    let pause: number
    try {
      // Before anything is believed: an endpoint of another chain must not credit here.
      if (!verified) await chain.verify(signal)
      verified = true
      lease = await kept.held()
      const stored = await ensureCursor(ctx, chain, signal)
      onReady()
      pause = lease ? await advanceHolding(watching, lease, stored) : STANDBY_MS
      if (!lease) watching.outage.over({ event: 'watch_resumed', chain: chain.id }, 'standing by again')
      failures = 0
      onRound(true)
    } catch (thrown) {
      // A lease that is kept is given back at the end, also when that comes in the middle of an outage.
      if (signal.aborted) break
      if (toBursarError(thrown).code === 'conflict') kept.lost()
      pause = Math.min(MIN_BACKOFF_MS * 2 ** failures, MAX_BACKOFF_MS)
      failures = Math.min(failures + 1, 10)
      report(watching, thrown, pause)
      await noteWait(watching, lease, thrown)
      onRound(false)
    }
    await runtime.sleep(pause, signal).catch(() => undefined)
  }
  await kept.release().catch(() => undefined)
}

/**
 * Keeps the lease for as long as a step takes. Otherwise two processes whose steps outlast it would take the chain from
 * each other for ever, and neither would ever book what it has read.
 */
async function advanceHolding(watching: Watching, lease: Lease, stored: StoredCursor): Promise<number> {
  const done = new AbortController()
  const prolonging = keep(watching, done.signal)
  try {
    return await advance(watching, lease, stored)
  } finally {
    done.abort()
    await prolonging
  }
}

/** Never rejects: whether the lease still stands is told by the commit that needs it. */
async function keep({ ctx, kept }: Watching, done: AbortSignal): Promise<void> {
  try {
    do await ctx.runtime.sleep(RENEW_MS, done)
    while (await kept.renew())
  } catch {
    // The step has ended, or the database cannot be reached.
  }
}

/** Reads and settles until the tip is reached. Returns how long to wait, milliseconds. */
async function advance(watching: Watching, lease: Lease, stored: StoredCursor): Promise<number> {
  const { ctx, chain } = watching
  if (stored.halted !== null) {
    const facts = { event: 'chain_halted', chain: chain.id, reason: stored.halted }
    watching.outage.failed('halted', 'warn', facts, 'crediting is halted until a human has looked')
    return HALTED_MS
  }
  let step: Step
  try {
    step = await readOn(watching, stored.cursor)
  } catch (thrown) {
    if (!(thrown instanceof BursarError) || thrown.code !== 'conflict') throw thrown
    await halt(ctx, chain, lease, thrown.message)
    return HALTED_MS
  }
  sayStall(watching, step)
  const { halted } = await settle(ctx, chain, step, lease)
  if (halted) return HALTED_MS
  watching.noted = null
  watching.outage.over({ event: 'watch_resumed', chain: chain.id }, 'watching again')
  if (!step.caughtUp) return 0
  const partly = !step.pendingWhole && step.cursor.hash === step.tip.hash
  return partly ? Math.min(chain.pollMs, MEMPOOL_MS) : chain.pollMs
}

/**
 * One step from the stored cursor. An address that is issued and paid while the step is being read would be passed
 * over for good, so a step that asked for such an address is read again.
 */
async function readOn({ chain, signal, watched }: Watching, cursor: Cursor): Promise<Step> {
  await watched.refresh()
  while (true) {
    const step = await chain.follow(cursor, watched, signal)
    if (!(await watched.refresh())) return step
  }
}

/** Once when finality stalls, and once when it goes on. */
function sayStall(watching: Watching, step: Step): void {
  const { ctx, chain } = watching
  const stalled = isStalled(chain, step)
  if (stalled === watching.stalled) return
  watching.stalled = stalled
  const facts = { chain: chain.id, finalized: step.finalized, tip: step.tip.height }
  if (stalled) {
    const text = 'The chain has stopped finalising: only payments in final blocks are credited.'
    ctx.runtime.log.error({ event: 'finality_stalled', ...facts }, text)
  } else {
    ctx.runtime.log.info({ event: 'finality_resumed', ...facts }, 'The chain finalises its blocks again.')
  }
}

/** Once when it begins, then once a minute. */
function report({ chain, outage }: Watching, thrown: unknown, pauseMs: number): void {
  const error = toBursarError(thrown)
  const facts = { event: 'watch_failed', chain: chain.id, code: error.code, retry_ms: pauseMs }
  if (error.code === 'internal') {
    const text = 'watching failed; trying again from the stored cursor'
    outage.failed(error.code, 'error', { ...facts, err: error.cause ?? error }, text)
  } else {
    outage.failed(error.message, 'warn', facts, `${error.message} Nothing is skipped; trying again.`)
  }
}

/** Lets other processes, and whoever waits for a payment, know of an outage that lasts. Settling deletes it. */
async function noteWait(watching: Watching, lease: Lease | null, thrown: unknown): Promise<void> {
  const { ctx, chain, outage } = watching
  const { code, details } = toBursarError(thrown)
  const since = outage.since()
  if (!lease || since === null || ctx.runtime.now() - since < NOTED_AFTER_MS) return
  if (code !== 'chain_unavailable' && code !== 'invalid_config') return
  const wait = details['reason'] === 'endpoints_disagree' ? 'endpoints' : 'unreachable'
  if (watching.noted === wait) return
  try {
    const was = (await readChainStates(ctx.db)).get(chain.id)?.wait?.reason ?? null
    await ctx.db.commit([lease.check(), ...chainWaits(chain.id, was, wait, since)])
    watching.noted = wait
  } catch {
    // The outage itself is in the log; this is tried again with the next failure.
  }
}
