/**
 * Which upstreams are left alone for a while: one that could not be reached, or that has said to come back later. It
 * is remembered by this process only, and it only ever changes the order of asking: where all rest, all are asked.
 */

import type { Busy } from './answer.ts'
import type { Model } from './catalogue.ts'

export interface Circuit {
  /** False while it rests. When the rest is over, one call may try it; the others wait for what becomes of that. */
  admits(place: Model, now: number): boolean
  unreached(place: Model, now: number): void
  busy(place: Model, busy: Busy, now: number): void
  /** It was reached, whatever it said. */
  reached(place: Model): void
  /** Names of the upstreams that could not be reached when they were last tried. */
  down(): string[]
}

const FIRST_REST_MS = 5_000
const LONGEST_REST_MS = 60_000
/** A busy one that does not say when is not asked again at once; one that says so is not believed for longer. */
const BUSY_MS = { default: 1_000, most: 60_000 } as const

interface Rest {
  until: number
  /** How long the next one is; double the last one. */
  next: number
}

export function createCircuit(): Circuit {
  const unreachable = new Map<string, Rest>()
  /** Limits are often those of one model. */
  const full = new Map<string, number>()
  const keyOf = ({ upstream, upstreamModel }: Model) => JSON.stringify([upstream.name, upstreamModel])

  return {
    admits(place, now) {
      if ((full.get(keyOf(place)) ?? 0) > now) return false
      const rest = unreachable.get(place.upstream.name)
      if (!rest) return true
      if (rest.until > now) return false
      rest.until = now + rest.next
      return true
    },
    unreached({ upstream: { name } }, now) {
      const length = unreachable.get(name)?.next ?? FIRST_REST_MS
      unreachable.set(name, { until: now + length, next: Math.min(length * 2, LONGEST_REST_MS) })
    },
    busy(place, { retryAfterMs }, now) {
      full.set(keyOf(place), now + Math.min(retryAfterMs ?? BUSY_MS.default, BUSY_MS.most))
    },
    reached({ upstream: { name } }) {
      if (unreachable.size > 0) unreachable.delete(name)
    },
    down: () => [...unreachable.keys()],
  }
}
