/**
 * Forgets stored answers when their time is over. The idempotency key stays: a repeat never runs again, it is told that
 * the answer is gone, with the receipt's id. A ref begins with the time of its hold, so the index by ref is in order of
 * time, and no other is needed.
 */
import { encodeTime } from 'ulid'
import { statement } from '../db/db.ts'
import type { Ledger } from './ledger.ts'

/** Rows looked at in one query: a few milliseconds. */
const PAGE = 500n
/** Between two pages, so that a first look at a large table leaves room for calls. */
const PAUSE_MS = 5
const PREFIX = 'hold_'

export interface AnswerKeeper {
  /**
   * Forgets the answers of calls that began longer ago than they are kept. Any number of processes may do so at once.
   * @returns how many. @throws {BursarError} database_unavailable; the signal's reason
   */
  forget(signal?: AbortSignal): Promise<number>
}

/** @param keptMs how long after a call began its answer is kept, milliseconds */
export function keepAnswers({ db, runtime }: Pick<Ledger, 'db' | 'runtime'>, keptMs: number): AnswerKeeper {
  /** Everything up to here has been forgotten, by this process or another. */
  let done = PREFIX

  /** Calls that still run store their answers later: nothing from the oldest of them on is passed over. */
  async function end(): Promise<string> {
    const before = PREFIX + encodeTime(Math.max(0, runtime.now() - keptMs), 10)
    const [row] = await db.query<{ oldest: string | null }>(
      'SELECT min(ref) AS oldest FROM hold WHERE ref >= ?',
      [PREFIX],
    )
    return row?.oldest && row.oldest < before ? row.oldest : before
  }

  return {
    async forget(signal) {
      const until = await end()
      let forgotten = 0
      for (;;) {
        const rows = await db.query<{ ref: string; kept: bigint }>(
          `SELECT ref, response IS NOT NULL AS kept FROM idempotency WHERE ref > ? AND ref < ? ORDER BY ref LIMIT ?`,
          [done, until, PAGE],
        )
        const old = rows.filter(({ kept }) => kept === 1n).map(({ ref }) => ref)
        if (old.length > 0) {
          await db.commit([
            statement(
              'UPDATE idempotency SET response = NULL WHERE ref IN (SELECT value FROM json_each(?))',
              [JSON.stringify(old)],
            ),
          ])
        }
        forgotten += old.length
        done = rows.at(-1)?.ref ?? done
        if (BigInt(rows.length) < PAGE) return forgotten
        await runtime.sleep(PAUSE_MS, signal)
      }
    },
  }
}
