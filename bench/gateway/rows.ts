/** Medians of the rounds, a row for each target in each case. */
import type { Measured } from './load.ts'
import { TARGETS, type TargetName } from './targets.ts'

export interface Case {
  readonly mode: 'whole' | 'streamed'
  readonly connections: number
}

export interface Sample extends Case, Measured {
  readonly target: TargetName
  /** Microseconds of CPU a call, of the gateway's process. */
  readonly cpu: number | null
}

export interface Row extends Case {
  readonly target: TargetName
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly firstByteP50: number
  readonly cpu: number | null
  readonly toPortkey: number | null
  readonly toPassThrough: number | null
}

export function rowsOf(samples: readonly Sample[]): Row[] {
  const keys = [
    ...new Map(
      samples.map(({ mode, connections }) => [`${mode} ${connections}`, { mode, connections }]),
    ).values(),
  ]
  return keys.flatMap((key) => {
    const of = (target: TargetName) =>
      samples.filter((s) => s.target === target && s.mode === key.mode && s.connections === key.connections)
    const perSecond = (target: TargetName) => median(of(target).map((s) => s.answers / s.seconds))
    return TARGETS.flatMap((target) => {
      const own = of(target)
      const rate = perSecond(target)
      if (rate === null) return []
      return {
        ...key,
        target,
        perSecond: rate,
        p50: median(own.map((s) => s.p50)) ?? 0,
        p99: median(own.map((s) => s.p99)) ?? 0,
        firstByteP50: median(own.map((s) => s.firstByteP50)) ?? 0,
        cpu: median(own.flatMap((s) => s.cpu ?? [])),
        toPortkey: ratio(rate, perSecond('portkey')),
        toPassThrough: ratio(rate, perSecond('pass-through')),
      }
    })
  })
}

function median(values: readonly number[]): number | null {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]]
  return low === undefined || high === undefined ? null : (low + high) / 2
}

function ratio(value: number, to: number | null): number | null {
  return to === null || to === 0 ? null : value / to
}
