/** The lease of whoever watches a chain. */
import { type Statement, statement } from '../db/db.ts'

export function watchLease(chain: string): string {
  return `watch:${chain}`
}

/** Whoever watches has to take the lease anew: what was read under the old one is not written any more. */
export function endWatch(chain: string): Statement {
  return statement('UPDATE lease SET fence = fence + 1, expires_at = 0 WHERE name = ?', [watchLease(chain)])
}
