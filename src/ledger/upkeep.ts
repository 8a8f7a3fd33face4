/** What a ledger needs from time to time. Every till process does it; they do not get in each other's way. */
import { statement } from '../db/db.ts'
import { expireCredits } from './expire.ts'
import { lapseHolds } from './lapse.ts'
import type { Ledger } from './ledger.ts'
import { keepSealed } from './sealer.ts'

const EVERY_MS = 15_000
/** A retry looks for its operation within minutes. */
const OPERATION_KEPT_MS = 86_400_000

/**
 * Ends lapsed holds, books lapsed credits, forgets old operations and seals the journal; until `signal` is aborted.
 * Never rejects.
 */
export async function keepUp(ledger: Ledger, signal: AbortSignal): Promise<void> {
  await Promise.all([tidyUp(ledger, signal), keepSealed(ledger, signal)])
}

async function tidyUp(ledger: Ledger, signal: AbortSignal): Promise<void> {
  const { runtime } = ledger
  while (!signal.aborted) {
    try {
      await lapseHolds(ledger)
      await expireCredits(ledger)
      await forgetOperations(ledger)
    } catch (error) {
      runtime.log.error({ err: error }, "the ledger's upkeep failed; it is tried again")
    }
    try {
      await runtime.sleep(EVERY_MS, signal)
    } catch {
      return
    }
  }
}

async function forgetOperations({ db, runtime }: Ledger): Promise<void> {
  const before = BigInt(runtime.now() - OPERATION_KEPT_MS)
  const [old] = await db.query('SELECT 1 FROM operation WHERE at < ? LIMIT 1', [before])
  if (old) await db.commit([statement('DELETE FROM operation WHERE at < ?', [before])])
}
