/**
 * The addresses to look for: all that were ever issued for a chain family, long after their invoices expired. Kept
 * in memory and loaded as they are added; indexes are handed out in commit order, so the next ones are enough.
 */
import type { Watched } from '../chains/chain.ts'
import type { Db } from '../db/db.ts'

export interface WatchedAddresses extends Watched {
  /**
   * Loads what was added since. True: an address that `has` denied before is among it, so what was read with it
   * must be read again.
   */
  refresh(): Promise<boolean>
}

interface AddressRow {
  readonly address: string
  readonly fingerprint: string
  readonly derivation_index: bigint
}

export function watchedAddresses(db: Db, family: string): WatchedAddresses {
  const known = new Set<string>()
  /** Per extended key, the next index to load. */
  const next = new Map<string, bigint>()
  let denied = new Set<string>()
  return {
    has(address) {
      if (known.has(address)) return true
      denied.add(address)
      return false
    },
    async refresh() {
      // From key to key: the other way round, which the order tempts SQLite to, each look reads all that was ever issued.
      const rows = await db.query<AddressRow>(
        `SELECT a.address, a.fingerprint, a.derivation_index
         FROM deriving_key k CROSS JOIN address a ON a.fingerprint = k.fingerprint
           AND a.derivation_index >= coalesce((SELECT value FROM json_each(?) WHERE key = k.fingerprint), 0)
         WHERE k.family = ? ORDER BY a.fingerprint, a.derivation_index`,
        [JSON.stringify(Object.fromEntries([...next].map(([key, index]) => [key, Number(index)]))), family],
      )
      const missed = rows.some((row) => denied.has(row.address))
      denied = new Set()
      for (const row of rows) {
        known.add(row.address)
        next.set(row.fingerprint, row.derivation_index + 1n)
      }
      return missed
    },
  }
}
