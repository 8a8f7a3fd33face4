/** What a ledger needs from time to time. Every till process does it; they do not get in each other's way. */
import { encodeTime } from 'ulid'
import { statement } from '../db/db.ts'
import { watchOutage } from '../outages.ts'
import { DAY_MS } from '../time.ts'
import { keepAnswers } from './answers.ts'
import { expireCredits } from './expire.ts'
import { lapseHolds } from './lapse.ts'
import type { Ledger } from './ledger.ts'
import { keepSealed } from './sealer.ts'

const EVERY_MS = 15_000
/** A retry looks for its operation within minutes. */
const OPERATION_KEPT_MS = DAY_MS
/** Of one commit: after a day of many, others do not wait for it. */
const PAGE = 1_000n

export interface Upkeep {
  /** How long answers are kept for repeated idempotency keys, milliseconds. */
  readonly answersKeptMs: number
}

/**
 * Ends lapsed holds, books lapsed credits, forgets old answers and operations, and seals the journal; until `signal` is
 * aborted. Never rejects.
 */
export async function keepUp(ledger: Ledger, upkeep: Upkeep, signal: AbortSignal): Promise<void> {
  await Promise.all([tidyUp(ledger, upkeep, signal), keepSealed(ledger, signal)])
}

async function tidyUp(ledger: Ledger, { answersKeptMs }: Upkeep, signal: AbortSignal): Promise<void> {
  const { runtime } = ledger
  const answers = keepAnswers(ledger, answersKeptMs)
  const outage = watchOutage(runtime)
  while (!signal.aborted) {
    try {
      await lapseHolds(ledger)
      await expireCredits(ledger)
      await forgetOperations(ledger)
      await answers.forget(signal)
      outage.over({}, "the ledger's upkeep works again")
    } catch (error) {
      if (signal.aborted) return
      outage.failed('upkeep', 'error', { err: error }, "the ledger's upkeep failed; it is tried again")
    }
    try {
      await runtime.sleep(EVERY_MS, signal)
    } catch {
      return
    }
  }
}

/**
 * Forgets what a retry looks for no more. An operation's id begins with its time, so the oldest are found by the key: a
 * look by `at` would read every row of the day, every time.
 *
 * @throws {BursarError} database_unavailable
 */
export async function forgetOperations({ db, runtime }: Pick<Ledger, 'db' | 'runtime'>): Promise<void> {
  const before = `op_${encodeTime(runtime.now() - OPERATION_KEPT_MS, 10)}`
  for (;;) {
    const old = await db.query<{ id: string }>('SELECT id FROM operation WHERE id < ? ORDER BY id LIMIT ?', [
      before,
      PAGE,
    ])
    const last = old.at(-1)
    if (last) await db.commit([statement('DELETE FROM operation WHERE id <= ?', [last.id])])
    if (BigInt(old.length) < PAGE) return
  }
}
