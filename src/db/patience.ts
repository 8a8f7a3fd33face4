/** How long a database that is busy, or out of reach, is asked again before that is an error. */
import type { Runtime } from '../runtime.ts'

/** From the moment of being asked: what waits for its turn meanwhile is waited for as well. */
export const PATIENCE_MS = 30_000
const LONGEST_WAIT_MS = 250

export interface Patience {
  /** Waits a little longer than the last time; false, at once, when it has been long enough. */
  wait(): Promise<boolean>
  /** Whether it has been long enough. */
  isOver(): boolean
}

/**
 * Bounded by the clock, and by what was waited, should the clock stand still. Each wait is drawn between half and all
 * of its length, so that processes which want the same lock do not come back in step.
 */
export function createPatience(runtime: Runtime): Patience {
  const started = runtime.now()
  let waited = 0
  let longest = 5
  const isOver = (): boolean => Math.max(waited, runtime.now() - started) >= PATIENCE_MS
  return {
    isOver,
    async wait() {
      if (isOver()) return false
      const ms = Math.ceil((longest * (256 + (runtime.random(1)[0] ?? 0))) / 512)
      waited += ms
      longest = Math.min(LONGEST_WAIT_MS, longest * 2)
      await runtime.sleep(ms)
      return true
    },
  }
}
