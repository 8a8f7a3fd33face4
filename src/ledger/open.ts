/** Opens a ledger over a database. */
import { LibsqlError } from '@libsql/client'
import type { Db } from '../db/db.ts'
import { tooLate } from '../db/failure.ts'
import { createGroup } from '../db/group.ts'
import { PATIENCE_MS } from '../db/patience.ts'
import type { Runtime } from '../runtime.ts'
import { prepareGroup } from './group.ts'
import type { Change, Changed, Ledger } from './ledger.ts'

export interface OpenLedger {
  readonly db: Db
  readonly runtime: Runtime
  /** Runs a flush soon; setImmediate by default, which beat a 1 ms timer at every load. */
  readonly schedule?: (flush: () => void) => void
}

/** Measured: twice as many a group, of which two may be under way, gain little and hold the event loop up for longer. */
const GROUP_LIMIT = 256

/** A ledger over a database: from here on, holds and their outcomes of many callers share commits. */
export function openLedger({ db, runtime, schedule = soon }: OpenLedger): Ledger {
  const changes = createGroup<Change, Changed>({
    limit: GROUP_LIMIT,
    overlap: db.overlaps,
    patience: { ms: PATIENCE_MS, now: () => runtime.now(), over: tooLate },
    schedule,
    conflict: conflictOf,
    prepare(group) {
      const commit = prepareGroup(db, runtime, group)
      return async () => {
        const committed = runtime.metrics?.startGroup(group.length)
        const results = await commit()
        committed?.()
        return results
      }
    },
    // The driver's own error: one item broke the statement that it shares. Anything else concerns all of them.
    splittable: (thrown) => thrown instanceof LibsqlError,
  })
  return {
    db,
    runtime,
    changes,
    async close() {
      await changes.idle()
      await db.close()
    },
  }
}

function soon(flush: () => void): void {
  setImmediate(flush)
}

/** Two outcomes of one hold, or two requests under one idempotency key, are decided one after the other. */
function conflictOf(change: Change): string | undefined {
  if (change.kind !== 'open') return change.ref
  const claim = change.request.idempotency
  return claim && JSON.stringify([change.request.account, claim.route, claim.key])
}
