/**
 * The purse's process: locks its wallet, opens its database, takes up what was left open, and serves until it is
 * told to end, or until whoever started it as a child has gone.
 */
import type { Readable } from 'node:stream'
import type { Settings } from '../config.ts'
import { toBursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import { openPurseDatabase } from './database.ts'
import type { PurseEvent } from './events.ts'
import { lockWallet } from './lock.ts'
import { removeNotice, servedBy, writeNotice } from './notice.ts'
import { openConfiguredWallet, purseOf } from './open.ts'
import { keepResuming } from './resume.ts'
import { servePurse } from './server.ts'
import { listenAt, purseDatabase } from './settings.ts'

export interface RunOptions {
  readonly settings: Settings
  readonly runtime: Runtime
  /** Ends the purse. */
  readonly signal: AbortSignal
  /** The stdin of a purse that was started as a child: when it ends, so does the purse. */
  readonly parent?: Readable
  /** A child's caller prints each event as one line of JSON on stderr: that is how `connectPurse` hears of it. */
  readonly report: (event: PurseEvent) => void
}

/**
 * Runs a purse until it is told to end; then finishes the requests at hand and gives the wallet free.
 *
 * @throws {BursarError} invalid_config; conflict: a purse for this wallet runs already (details: url, pid)
 */
export async function runPurse(options: RunOptions): Promise<void> {
  try {
    await run(options)
  } catch (error) {
    options.report({ purse: 'failed', problem: toBursarError(error).toProblem() })
    throw error
  } finally {
    // A pipe that is still read would keep a purse that could not start alive as long as its parent.
    options.parent?.pause()
  }
}

async function run({ settings, runtime, signal, parent, report }: RunOptions): Promise<void> {
  const ending = new AbortController()
  const end = AbortSignal.any([signal, ending.signal])
  parent?.once('close', () => ending.abort()).once('end', () => ending.abort())
  parent?.on('error', () => ending.abort()).resume()

  const { port, token } = listenAt(settings, runtime)
  const wallet = await openConfiguredWallet(settings, runtime)
  const lock = lockWallet(settings.dataDir, wallet.address)
  try {
    const url = purseDatabase(settings)
    const db = await openPurseDatabase(url, runtime)
    try {
      const purse = purseOf({ settings, runtime, db, wallet })
      const server = await servePurse(purse, { token, port })
      const place = { address: wallet.address, url: server.url, pid: process.pid }
      writeNotice(settings.dataDir, { ...place, token, ...servedBy(settings) })
      report({ purse: 'ready', ...place })
      await Promise.all([keepResuming(purse, end), ended(end)])
      removeNotice(settings.dataDir, wallet.address)
      await server.close()
      await purse.turns.idle()
    } finally {
      await db.close()
    }
  } finally {
    lock.release()
  }
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
