/**
 * A named lease: one holder at a time among all processes that share the database. The clock only decides how soon
 * another may take over; what keeps a paused holder from writing is the fence, which every commit made under the
 * lease checks.
 */
import { BursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import { type Db, guard, type Statement, statement } from './db.ts'

export interface Lease {
  readonly name: string
  readonly holder: string
  /** Grows by one each time the lease changes hands. */
  readonly fence: bigint
  /** Makes a commit fail with `conflict` unless this lease is still the current one. */
  check(): Statement
  /** Prolongs it. False: it has been lost to another holder. */
  renew(): Promise<boolean>
  /** Lets another take it at once. */
  release(): Promise<void>
}

export interface AcquireLease {
  readonly name: string
  /** Unique to whoever asks, not only to the process. */
  readonly holder: string
  readonly ttlMs: number
}

/**
 * A lease that ends later than its term and this, milliseconds, was taken before the clock was set back. Its holder may
 * be dead, and it would stand still for as long as the clock was ahead. More than clocks of healthy machines differ.
 */
const SKEW_MS = 600_000

interface LeaseRow {
  readonly holder: string
  readonly fence: bigint
}

/** Asked by reading, so that waiting for a lease costs no write. */
export async function isTaken(
  { db, runtime }: { readonly db: Pick<Db, 'query'>; readonly runtime: Pick<Runtime, 'now'> },
  { name, holder, ttlMs }: AcquireLease,
): Promise<boolean> {
  const now = runtime.now()
  const rows = await db.query(
    'SELECT 1 FROM lease WHERE name = ? AND holder <> ? AND expires_at > ? AND expires_at <= ?',
    [name, holder, BigInt(now), BigInt(now + ttlMs + SKEW_MS)],
  )
  return rows.length > 0
}

/** Takes a lease that is free, lapsed or already held by `holder`; null while another holds it. */
export async function acquireLease(
  { db, runtime }: { readonly db: Db; readonly runtime: Runtime },
  { name, holder, ttlMs }: AcquireLease,
): Promise<Lease | null> {
  const now = runtime.now()
  // Read in the commit itself: a server's replica may not have it yet, and would show a fence that is over.
  const [, found] = await db.commit([
    statement(
      `INSERT INTO lease (name, holder, fence, expires_at) VALUES (?, ?, 1, ?)
       ON CONFLICT (name) DO UPDATE
       SET holder = excluded.holder, fence = lease.fence + 1, expires_at = excluded.expires_at
       WHERE NOT (lease.expires_at > ? AND lease.expires_at <= ?) OR lease.holder = excluded.holder`,
      [name, holder, BigInt(now + ttlMs), BigInt(now), BigInt(now + ttlMs + SKEW_MS)],
    ),
    statement('SELECT holder, fence FROM lease WHERE name = ?', [name]),
  ])
  const [row] = found as unknown as LeaseRow[]
  if (!row || row.holder !== holder) return null
  const { fence } = row
  const mine = [name, holder, fence] as const
  const lost = new BursarError('conflict', `The lease ${name} is held by another process now.`, {
    remedy: 'Nothing to do: the other process goes on from here.',
    details: { lease: name },
  })

  const check = (): Statement =>
    guard('EXISTS (SELECT 1 FROM lease WHERE name = ? AND holder = ? AND fence = ?)', mine, () => lost)

  return {
    name,
    holder,
    fence,
    check,
    async renew() {
      const prolong = statement('UPDATE lease SET expires_at = ? WHERE name = ?', [
        BigInt(runtime.now() + ttlMs),
        name,
      ])
      try {
        await db.commit([check(), prolong])
        return true
      } catch (thrown) {
        if (thrown === lost) return false
        throw thrown
      }
    },
    async release() {
      await db.commit([
        statement('UPDATE lease SET expires_at = 0 WHERE name = ? AND holder = ? AND fence = ?', mine),
      ])
    },
  }
}

/** A lease for as long as somebody wants it. What costs a write is done as seldom as it can be. */
export interface KeptLease {
  /** The lease: as it is while enough of it is left, else prolonged, else taken; null while another holds it. */
  held(): Promise<Lease | null>
  /** Prolongs it now. False: there is none, or it has been lost to another holder. */
  renew(): Promise<boolean>
  /** A commit has found that it is somebody else's: it is asked for again. */
  lost(): void
  /** Lets another take it at once. */
  release(): Promise<void>
}

/** @param renewMs it is prolonged when less than this is left */
export function keepLease(
  ctx: { readonly db: Db; readonly runtime: Runtime },
  wanted: AcquireLease,
  { renewMs, onTaken = () => {} }: { readonly renewMs: number; readonly onTaken?: (lease: Lease) => void },
): KeptLease {
  const { runtime } = ctx
  const { ttlMs } = wanted
  let lease: Lease | null = null
  let until = 0

  async function renew(): Promise<boolean> {
    const from = runtime.now()
    if (!lease || !(await lease.renew())) {
      lease = null
      return false
    }
    until = from + ttlMs
    return true
  }

  async function take(): Promise<Lease | null> {
    // Looked at first: a lease that is not free would cost everybody who stands by a write.
    if (await isTaken(ctx, wanted)) return null
    const from = runtime.now()
    lease = await acquireLease(ctx, wanted)
    until = from + ttlMs
    if (lease) onTaken(lease)
    return lease
  }

  return {
    async held() {
      const left = until - runtime.now()
      // More than it ever lasts: the clock was set back, and nobody knows how much is left.
      if (lease && left >= renewMs && left <= ttlMs) return lease
      return (await renew()) ? lease : take()
    },
    renew,
    lost() {
      lease = null
    },
    async release() {
      const given = lease
      lease = null
      await given?.release()
    },
  }
}
