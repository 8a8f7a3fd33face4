/** Medians of the rounds, as the table that docs/performance.md shows, with the goals and whether they are reached. */
import { cpus } from 'node:os'
import { type Goal, goalsOf } from './goals.ts'
import { type Row, rowsOf, type Sample } from './rows.ts'

export interface Measurements {
  readonly samples: readonly Sample[]
  /** What Bursar answered, and what its ledger says of it. */
  readonly books: { readonly answers: number; readonly charged: number; readonly open: number } | null
  /** Of the disk, before and after; microseconds. */
  readonly sync: readonly [number, number]
  readonly rounds: number
  readonly ms: number
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
  const parts = [`${machine}; ${disk}`, table(rows), goals.length > 0 && goalTable(goals), kept]
  return {
    text: parts.filter((part) => typeof part === 'string').join('\n\n'),
    json: { machine, sync, rows, goals, books },
  }
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
    ['goal', 'wanted', 'measured', 'reached', 'logged'],
    goals.map(({ goal, wanted, measured, reached, logged }) => [
      goal,
      wanted,
      measured,
      reached ? 'yes' : 'no',
      logged,
    ]),
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
