/** Says an outage in the log when it begins, then at most once a minute with how often it was met, and when it ends. */
import type { Log, Runtime } from './runtime.ts'

export interface Outage {
  /**
   * One failure of it.
   * @param topic what is wrong: another one is said at once
   */
  failed(topic: string, level: keyof Log, facts: object, text: string): void
  /** Something worked. Says so once, if anything had failed. */
  over(facts: object, text: string): void
  /** Since when it lasts, Unix milliseconds; null: it does not. */
  since(): number | null
}

const EVERY_MS = 60_000

export function watchOutage({ now, log }: Pick<Runtime, 'now' | 'log'>): Outage {
  let began: number | null = null
  let failures = 0
  /** When each topic was last said, and how many failures there were then. */
  let said = new Map<string, number>()
  return {
    failed(topic, level, facts, text) {
      began ??= now()
      failures += 1
      const last = said.get(topic)
      const age = last === undefined ? EVERY_MS : now() - last
      // Said later than now: the clock was set back, perhaps by days.
      if (age >= 0 && age < EVERY_MS) return
      said.set(topic, now())
      const more = last === undefined ? {} : { failures, since: new Date(began).toISOString() }
      log[level]({ ...facts, ...more }, text)
    },
    over(facts, text) {
      if (began === null) return
      log.info({ ...facts, failures, lasted_ms: now() - began }, text)
      began = null
      failures = 0
      said = new Map()
    },
    since: () => began,
  }
}
