/**
 * The tools' way to a purse: a configured one, one that runs already, or one that is started as a child process.
 * Nothing here imports the key. A purse that has gone is looked for, or started, again.
 */
import type { PurseClient, PursePayment, PurseStatus } from '../bursar.ts'
import type { Settings } from '../config.ts'
import { BursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import { type PurseChild, type SpawnCommand, startChild } from './child.ts'
import { type Asked, exchange, NoAnswer, type Target } from './exchange.ts'
import { type Notice, readNotice, readNotices, servedBy } from './notice.ts'
import { configuredPurse } from './settings.ts'

export interface PurseConnection extends PurseClient {
  /** @throws {BursarError} not_found, purse_unavailable */
  payment(id: string): Promise<PursePayment>
  /** Ends the child process, if this connection started one. */
  close(): Promise<void>
}

export interface ConnectOptions {
  /** As they are now. Asked whenever a purse is looked for: its human may have changed them since the last time. */
  readonly settings: () => Settings
  readonly runtime: Runtime
  /** How to start a purse where none runs; without it, only a running one is used. */
  readonly spawn?: SpawnCommand
}

/** Connects at the first request, and again whenever the purse has gone. */
export function connectPurse(options: ConnectOptions): PurseConnection {
  const { runtime } = options
  const own: { child: PurseChild | null } = { child: null }
  let located: Promise<Target> | null = null

  function target(): Promise<Target> {
    const locating = located ?? locate(options, own)
    located = locating
    locating.catch(() => forget(locating))
    return locating
  }

  function forget(stale: Promise<Target>): void {
    if (located === stale) located = null
  }

  async function ask<T>(asked: Asked): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      const locating = target()
      const found = await locating
      try {
        return (await exchange(runtime, found, asked)) as T
      } catch (error) {
        asked.signal?.throwIfAborted()
        if (!(error instanceof NoAnswer)) throw error
        forget(locating)
        // A repeat is safe even for a payment: an invoice is paid once.
        if (attempt === 2) throw unanswered(asked, error)
      }
    }
  }

  return {
    pay: ({ signed, idempotencyKey, signal }) =>
      ask<PursePayment>({
        method: 'POST',
        path: '/pay',
        body: { signed, ...(idempotencyKey === undefined ? {} : { idempotency_key: idempotencyKey }) },
        ...(signal ? { signal } : {}),
      }),
    async find(invoice, payee) {
      const query = new URLSearchParams({ invoice, payee })
      const found = await ask<{ payment: PursePayment | null }>({
        method: 'GET',
        path: `/payments?${query.toString()}`,
      })
      return found.payment
    },
    payment: (id) => ask<PursePayment>({ method: 'GET', path: `/payments/${encodeURIComponent(id)}` }),
    status: () => ask<PurseStatus>({ method: 'GET', path: '/status' }),
    async close() {
      located = null
      await own.child?.close()
      own.child = null
    },
  }
}

/** How long another process may take from locking the wallet to listening, or from closing to giving it free. */
const PATIENCE_MS = 30_000
/** How long it is looked for before starting one is tried again. */
const LOOK_MS = 1_000

async function locate(options: ConnectOptions, own: { child: PurseChild | null }): Promise<Target> {
  const { runtime, spawn } = options
  const settings = options.settings()
  const configured = configuredPurse(settings)
  if (configured) return configured
  const running = await findRunning(settings, runtime)
  if (running) return running
  if (!spawn) throw unavailable('No purse runs here.', 'Start one: bursar purse.')
  const deadline = runtime.now() + PATIENCE_MS
  while (true) {
    await own.child?.close()
    own.child = startChild(spawn, runtime)
    try {
      await own.child.started
      break
    } catch (error) {
      if (!(error instanceof BursarError) || error.code !== 'conflict') throw error
      // Another has the wallet: it starts at this moment and is used once it listens, or it ends.
      const other = await waitForOther(settings, runtime)
      if (other) return other
      await refuseStranger(settings, runtime, error)
      if (runtime.now() >= deadline) throw silent(error)
    }
  }
  // It has read the configuration itself, a moment ago.
  const started = await findRunning(options.settings(), runtime)
  if (started) return started
  throw unavailable('A purse was started, but does not answer.', 'Start it by hand to see why: bursar purse.')
}

async function waitForOther(settings: Settings, runtime: Runtime): Promise<Target | null> {
  const until = runtime.now() + LOOK_MS
  while (runtime.now() < until) {
    const running = await findRunning(settings, runtime)
    if (running) return running
    await runtime.sleep(100)
  }
  return null
}

function silent(conflict: BursarError): BursarError {
  return unavailable(
    `${conflict.message} It does not answer.`,
    'End that process, then try again: one is started by itself.',
  )
}

/**
 * The purse that serves this configuration, if one runs and answers.
 *
 * @throws {BursarError} purse_unavailable: it was started with another budget or other payees, by which it would pay.
 */
async function findRunning(settings: Settings, runtime: Runtime): Promise<Target | null> {
  const wanted = servedBy(settings)
  for (const notice of readNotices(settings.dataDir)) {
    if (!isOf(notice, wanted) || !(await answers(runtime, notice))) continue
    if (notice.terms !== wanted.terms) throw outdated(notice.pid)
    return notice
  }
  return null
}

function isOf(notice: Notice, { database, wallet }: Pick<Notice, 'database' | 'wallet'>): boolean {
  return notice.database === database && notice.wallet === wallet
}

async function answers(runtime: Runtime, notice: Notice): Promise<boolean> {
  try {
    await exchange(runtime, notice, { method: 'GET', path: '/hello' })
    return true
  } catch (error) {
    // Killed, or its port is somebody else's by now.
    if (error instanceof NoAnswer || error instanceof BursarError) return false
    throw error
  }
}

/** @throws {BursarError} purse_unavailable: the wallet is in use, and not by what is configured here */
async function refuseStranger(
  settings: Settings,
  runtime: Runtime,
  { details: { address } }: BursarError,
): Promise<void> {
  const notice = typeof address === 'string' ? readNotice(settings.dataDir, address) : null
  if (!notice || isOf(notice, servedBy(settings)) || !(await answers(runtime, notice))) return
  throw unavailable(
    `The wallet ${notice.address} has a purse that runs by another configuration (process ${notice.pid}).`,
    'Name the same keystore and the same purse.database in both, or give each a wallet of its own; or end that purse first.',
  )
}

function outdated(pid: number): BursarError {
  return unavailable(
    'The purse that runs was started with another budget or other payees than the configuration has now, or by another version of Bursar.',
    `Ask the human who owns it to end it (process ${pid}, or the editor that started it); the next request then starts one as it is configured.`,
  )
}

function unanswered({ path }: Asked, { reached }: NoAnswer): BursarError {
  if (path !== '/pay' || !reached) {
    return unavailable(
      'The purse does not answer.',
      'Try again; if it stays, start it by hand, as the user who owns it: bursar purse.',
    )
  }
  return new BursarError('payment_unresolved', 'The purse was asked to pay and did not answer.', {
    remedy: 'Pay the same invoice again: the answer is about the same payment, it is never paid twice.',
  })
}

function unavailable(message: string, remedy: string): BursarError {
  return new BursarError('purse_unavailable', message, { remedy })
}
