/**
 * Token buckets, one for each name, each kept as the one moment at which it will be full again (the generic cell rate
 * algorithm, ITU-T I.371): no timer, and one look into a map for a request. They live in this process alone.
 */
import { BursarError } from '../errors.ts'
import type { Principal } from '../ledger/keys.ts'
import type { Authenticate } from './security.ts'

export interface Rate {
  /** How many in this time, on average. */
  readonly count: number
  readonly perMs: number
  /** How many at once, after a pause. */
  readonly burst: number
}

export interface RateLimiter {
  /** How long until one more is free, milliseconds; 0: it is free now. Takes nothing. */
  waitFor(name: string): number
  take(name: string): void
}

/** A full bucket is as good as none, so these are dropped when there are many. */
const SWEEP_ABOVE = 10_000

export function rateLimiter(now: () => number, { count, perMs, burst }: Rate): RateLimiter {
  const each = perMs / count
  const tolerance = each * (burst - 1)
  const fullAt = new Map<string, number>()
  let sweepAbove = SWEEP_ABOVE

  /** Further ahead than any bucket can be: the clock was set back since, and the bucket counts as full. */
  function fullOf(name: string): number {
    const full = fullAt.get(name) ?? 0
    return full - now() > each * (burst + 1) ? 0 : full
  }

  function sweep(): void {
    const at = now()
    for (const [name, full] of fullAt) if (full <= at) fullAt.delete(name)
    sweepAbove = Math.max(SWEEP_ABOVE, fullAt.size * 2)
  }

  return {
    waitFor: (name) => Math.max(0, Math.ceil(fullOf(name) - now() - tolerance)),
    take(name) {
      fullAt.set(name, Math.max(fullOf(name), now()) + each)
      if (fullAt.size > sweepAbove) sweep()
    },
  }
}

export function rateLimited(message: string, waitMs: number): BursarError {
  return new BursarError('rate_limited', message, {
    remedy: `Wait ${Math.ceil(waitMs / 1000)} s, then go on more slowly.`,
    details: { retry_after_ms: waitMs },
  })
}

/**
 * Counts each request against the limit of its key, and against that of its account, which can make itself as many keys
 * as it likes. The seller's own keys have none.
 */
export function limitedKeys(
  authenticate: (key: string) => Promise<Principal>,
  keys: RateLimiter,
  accounts: RateLimiter,
): Authenticate {
  const limited = async (key: string): Promise<Principal> => {
    const principal = await authenticate(key)
    if (principal.scope === 'seller') return principal
    const own = keys.waitFor(principal.key)
    const wait = Math.max(own, accounts.waitFor(principal.account))
    if (wait > 0) throw rateLimited(`This ${own === wait ? 'key' : 'account'} makes too many requests.`, wait)
    keys.take(principal.key)
    accounts.take(principal.account)
    return principal
  }
  return Object.assign(limited, { again: authenticate })
}
