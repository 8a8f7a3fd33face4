/** A runtime whose clock stands still until a test moves it. Timers, randomness and network are real. */
import { monotonicFactory } from 'ulid'
import { type Log, type Runtime, systemRuntime } from '../../src/runtime.ts'

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
}

/** 2026-11-01T00:00:00Z */
export const START = 1_793_491_200_000

export function testRuntime(start = START): TestRuntime {
  let now = start
  const ulid = monotonicFactory()
  const lines: LogLine[] = []
  const logAs = (level: keyof Log) => (facts: object, message: string) => {
    lines.push({ level, facts, message })
  }
  return {
    ...systemRuntime('silent'),
    now: () => now,
    id: (prefix) => `${prefix}_${ulid(now)}`,
    log: { debug: logAs('debug'), info: logAs('info'), warn: logAs('warn'), error: logAs('error') },
    lines,
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
