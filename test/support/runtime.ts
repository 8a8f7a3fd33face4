/**
 * A runtime whose clock stands still until a test moves it, and whose randomness is seeded. The network is real, and so
 * are timers; but a test can end a wait when what it is about has happened, instead of making it short.
 */
import { monotonicFactory } from 'ulid'
import type { Log, Runtime } from '../../src/runtime.ts'
import { fraction, seededRuntime } from './chance.ts'

export interface TestClock {
  now(): number
  advance(ms: number): void
  set(ms: number): void
}

export interface LogLine {
  readonly level: keyof Log
  readonly facts: object
  readonly message: string
}

export interface TestRuntime extends Runtime {
  readonly clock: TestClock
  readonly lines: readonly LogLine[]
  /** Ends every wait of `after` that is this long, at once; tells how many. */
  elapse(ms: number): number
}

/** 2026-11-01T00:00:00Z */
export const START = 1_793_491_200_000

export function testRuntime(start = START): TestRuntime {
  let now = start
  const ulid = monotonicFactory(fraction)
  const lines: LogLine[] = []
  const logAs = (level: keyof Log) => (facts: object, message: string) => {
    lines.push({ level, facts, message })
  }
  const system = seededRuntime()
  const waits = new Set<{ readonly ms: number; readonly end: () => void }>()
  return {
    ...system,
    now: () => now,
    id: (prefix) => `${prefix}_${ulid(now)}`,
    log: { debug: logAs('debug'), info: logAs('info'), warn: logAs('warn'), error: logAs('error') },
    lines,
    after(ms, task) {
      const stop = () => {
        waits.delete(wait)
        cancel()
      }
      const end = () => {
        stop()
        task()
      }
      const wait = { ms, end }
      const cancel = system.after(ms, end)
      waits.add(wait)
      return stop
    },
    elapse(ms) {
      const due = [...waits].filter((wait) => wait.ms === ms)
      for (const { end } of due) end()
      return due.length
    },
    clock: {
      now: () => now,
      advance: (ms) => {
        now += ms
      },
      set: (ms) => {
        now = ms
      },
    },
  }
}

/** Turns of the event loop in which what this process has sent itself mostly arrives. No outcome may depend on that. */
export async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}
