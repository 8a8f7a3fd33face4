/**
 * Seals the journal in the background. Of all processes that share the database the holder of the lease does it; the
 * others look now and then whether it still does. A till in which nothing is posted writes nothing.
 */
import { keepLease } from '../db/lease.ts'
import { BursarError } from '../errors.ts'
import { watchOutage } from '../outages.ts'
import type { Ledger } from './ledger.ts'
import { countUnsealed, MOST_POSTINGS, type Seal, sealNext } from './seal.ts'

const EVERY_MS = 5_000
const LEASE_MS = 30_000
/** Prolonged when less than this is left: not with every seal. */
const RENEW_MS = 15_000

export interface Sealer {
  /**
   * Seals what can be sealed now; null when there is nothing, or another process does it.
   * @throws {BursarError} conflict (the lease was lost), database_unavailable; the signal's reason.
   */
  step(signal?: AbortSignal): Promise<Seal | null>
  /** Gives the lease back. */
  close(): Promise<void>
}

export function createSealer(ledger: Pick<Ledger, 'db' | 'runtime'>): Sealer {
  const { db, runtime } = ledger
  const wanted = { name: 'seal', holder: runtime.id('seal'), ttlMs: LEASE_MS }
  const lease = keepLease(ledger, wanted, { renewMs: RENEW_MS })

  return {
    async step(signal) {
      if ((await countUnsealed(db)) <= 0n) return null
      const mine = await lease.held()
      if (!mine) return null
      try {
        return await sealNext(ledger, mine, signal)
      } catch (thrown) {
        if (thrown instanceof BursarError && thrown.code === 'conflict') lease.lost()
        throw thrown
      }
    },
    close: () => lease.release(),
  }
}

/** Seals every few seconds until `signal` is aborted; the log publishes each head. Never rejects. */
export async function keepSealed(ledger: Ledger, signal: AbortSignal): Promise<void> {
  const { runtime } = ledger
  const sealer = createSealer(ledger)
  const outage = watchOutage(runtime)
  while (!signal.aborted) {
    try {
      const seal = await sealer.step(signal)
      outage.over({}, 'the journal can be sealed again')
      if (seal) {
        const { number, hash, firstPosting, lastPosting } = seal
        runtime.log.info({ seal: Number(number), hash, postings: Number(lastPosting) }, 'sealed')
        if (lastPosting - firstPosting + 1n >= MOST_POSTINGS) continue
      }
    } catch (error) {
      if (signal.aborted) break
      outage.failed('seal', 'warn', { err: error }, 'the journal could not be sealed; it is tried again')
    }
    await runtime.sleep(EVERY_MS, signal).catch(() => undefined)
  }
  await sealer.close().catch(() => undefined)
}
