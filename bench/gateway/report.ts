/** Medians of the rounds, as the table that docs/performance.md shows, with the goals and whether they are reached. */
import { cpus } from 'node:os'
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

export interface Measurements {
  readonly samples: readonly Sample[]
  /** What Bursar answered, and what its ledger says of it. */
  readonly books: { readonly answers: number; readonly charged: number; readonly open: number } | null
  /** Of the disk, before and after; microseconds. */
  readonly sync: readonly [number, number]
  readonly rounds: number
  readonly ms: number
}

interface Row extends Case {
  readonly target: TargetName
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly firstByteP50: number
  readonly cpu: number | null
  readonly toPortkey: number | null
  readonly toPassThrough: number | null
}

interface Goal {
  readonly goal: string
  readonly wanted: string
  readonly measured: string
  readonly reached: boolean
}

export function report(measured: Measurements): { readonly text: string; readonly json: object } {
  const rows = rowsOf(measured.samples)
  const goals = goalsOf(rows)
  const machine = `${cpus().length} cores, Node ${process.version}; ${measured.rounds} rounds of ${measured.ms / 1000} s, medians`
  const { books, sync } = measured
  const disk = `a synced write of the disk: ${sync.map(time).join(' before, ')} after; each call waits for two`
  const kept =
    books &&
    `Bursar answered ${books.answers} calls; its ledger charged ${books.charged}, holds open ${books.open}.`
  return {
    text: [`${machine}; ${disk}`, table(rows), goalTable(goals), ...(kept ? [kept] : [])].join('\n\n'),
    json: { machine, sync, rows, goals, books },
  }
}

function rowsOf(samples: readonly Sample[]): Row[] {
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

function goalsOf(rows: readonly Row[]): Goal[] {
  const row = (target: TargetName, { mode, connections }: Case) =>
    rows.find((r) => r.target === target && r.mode === mode && r.connections === connections)
  return rows
    .filter(({ target }) => target === 'bursar')
    .flatMap((own) => {
      const [direct, bare, portkey] = [row('direct', own), row('pass-through', own), row('portkey', own)]
      const at = `${own.mode}, ${own.connections}`
      const one = own.connections === 1
      const least = one ? 1.5 : 5
      const goals: Goal[] = []
      const atLeast = (goal: string, wanted: number, value: number | null) => {
        if (value === null) return
        goals.push({ goal, wanted: `>= ${wanted}`, measured: value.toFixed(2), reached: value >= wanted })
      }
      const atMost = (goal: string, wanted: number, value: number) =>
        goals.push({ goal, wanted: `<= ${wanted} us`, measured: `${value} us`, reached: value <= wanted })
      atLeast(`requests/s to Portkey (${at})`, least, own.toPortkey)
      if (!one) atLeast(`requests/s to the pass-through (${at})`, 0.6, own.toPassThrough)
      if (one && direct && portkey)
        atMost(`added p50 (${at})`, portkey.p50 - direct.p50, own.p50 - direct.p50)
      if (own.mode === 'streamed' && one && bare) {
        atMost(`first byte after the pass-through's (${at})`, 1000, own.firstByteP50 - bare.firstByteP50)
      }
      return goals
    })
}

function table(rows: readonly Row[]): string {
  return markdown(
    [
      'answers',
      'connections',
      'through',
      'requests/s',
      'p50',
      'p99',
      'first byte',
      'CPU a call',
      'to Portkey',
      'to pass-through',
    ],
    rows.map((row) => [
      row.mode,
      String(row.connections),
      row.target,
      row.perSecond.toFixed(0),
      time(row.p50),
      time(row.p99),
      time(row.firstByteP50),
      row.cpu === null ? '' : time(row.cpu),
      row.toPortkey?.toFixed(2) ?? '',
      row.toPassThrough?.toFixed(2) ?? '',
    ]),
  )
}

function goalTable(goals: readonly Goal[]): string {
  return markdown(
    ['goal', 'wanted', 'measured', 'reached'],
    goals.map(({ goal, wanted, measured, reached }) => [goal, wanted, measured, reached ? 'yes' : 'no']),
  )
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, n) => Math.max(title.length, ...rows.map((row) => row[n]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, n) => cell.padEnd(widths[n] ?? 0)).join(' | ')} |`
  return [line(head), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...rows.map(line)].join(
    '\n',
  )
}

function time(microseconds: number): string {
  return microseconds < 1000 ? `${microseconds.toFixed(0)} us` : `${(microseconds / 1000).toFixed(1)} ms`
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
