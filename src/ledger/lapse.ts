/** Holds whose lifetime ended without an outcome, because their process died: each gets the one it was opened with. */
import type { Ledger } from './ledger.ts'

const PAGE = 512n

interface LapsedRow {
  readonly ref: string
  readonly account: string
  readonly lapse_charge: bigint
}

/**
 * Captures the lapse charge of every hold past its lifetime and releases the rest of it. Any number of processes may do
 * so at once, and beside the hold's owner: the first outcome counts.
 *
 * @returns how many holds it found. @throws {BursarError} database_unavailable
 */
export async function lapseHolds(ledger: Ledger): Promise<number> {
  const now = BigInt(ledger.runtime.now())
  let found = 0
  for (;;) {
    const rows = await ledger.db.query<LapsedRow>(
      'SELECT ref, account, lapse_charge FROM hold WHERE expires_at <= ? ORDER BY expires_at LIMIT ?',
      [now, PAGE],
    )
    await Promise.all(
      rows.map(({ ref, account, lapse_charge: cost }) =>
        ledger.changes.add({
          kind: cost > 0n ? 'capture' : 'release',
          ref,
          account,
          cost,
          outcome: { note: 'its lifetime ended without an outcome' },
          lapsed: true,
        }),
      ),
    )
    found += rows.length
    if (BigInt(rows.length) < PAGE) return found
  }
}
