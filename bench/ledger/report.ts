/** The measurements as the table that stands in docs/performance.md. */
import { availableParallelism } from 'node:os'
import type { Measured, System } from './shape.ts'

export interface Case {
  readonly rows: number
  readonly callers: number
  readonly accounts: number
}

export interface Result {
  readonly cases: readonly Case[]
  /** By `figureOf`: one for each round. */
  readonly measured: Readonly<Record<string, readonly Measured[]>>
  readonly rounds: number
  readonly node: string
}

/** What is to be reached of the grouped peer, by callers. */
const TARGETS = new Map([
  [1, 0.35],
  [16, 0.35],
  [256, 0.75],
  [1_024, 0.95],
])
const OF_SINGLE = 10
const OF_SMALL = 0.9
const LAG_MS = 5

export function figureOf(system: System, { rows, callers, accounts }: Case): string {
  return `${system}, ${rows} rows, ${callers} callers, ${accounts} accounts`
}

export function report(result: Result): string {
  const { cases, rounds, node } = result
  const sizes = [...new Set(cases.map(({ rows }) => rows))]
  return [
    `Hold + capture pairs a second; medians of ${rounds}; Node ${node}, ${availableParallelism()} cores.`,
    '',
    ...table(
      ['journal', 'accounts', 'callers', 'Bursar', 'peer', 'ratio', 'to reach', 'lag p99', 'lag max'],
      cases.map((each) => rowOf(result, each)),
    ),
    '',
    ...cases.flatMap((each) => ungrouped(result, each)),
    ...(sizes.length > 1 ? bySize(result, sizes) : []),
  ].join('\n')
}

function rowOf(result: Result, each: Case): string[] {
  const ours = medians(result, 'bursar', each)
  const peer = medians(result, 'grouped', each)
  const target = TARGETS.get(each.callers)
  return [
    each.rows.toLocaleString('en'),
    each.accounts.toLocaleString('en'),
    each.callers.toLocaleString('en'),
    whole(ours.pairs),
    whole(peer.pairs),
    ratio(ours.pairs / peer.pairs),
    target === undefined ? '' : `${ratio(target)}, lag ${LAG_MS} ms`,
    `${ours.lagP99.toFixed(1)} ms`,
    `${ours.lagMax.toFixed(1)} ms`,
  ]
}

function ungrouped(result: Result, each: Case): string[] {
  if (!result.measured[figureOf('single', each)]) return []
  const ours = medians(result, 'bursar', each)
  const single = medians(result, 'single', each)
  return [
    `${each.callers} callers, ${accountsOf(each)}, ${each.rows.toLocaleString('en')} rows: ` +
      `${(ours.pairs / single.pairs).toFixed(1)} times the peer with one transaction a write ` +
      `(${whole(single.pairs)}); to reach: ${OF_SINGLE}.`,
  ]
}

/** A long history beside a short one. */
function bySize({ cases, ...result }: Result, sizes: readonly number[]): string[] {
  const small = Math.min(...sizes)
  const compared = cases.filter(({ rows }) => rows !== small)
  return [
    '',
    ...compared.map((each) => {
      const [long, short] = [each, { ...each, rows: small }].map((one) =>
        medians({ cases, ...result }, 'bursar', one),
      )
      return (
        `${each.callers} callers, ${accountsOf(each)}: with ${each.rows.toLocaleString('en')} rows ` +
        `${ratio((long?.pairs ?? 0) / (short?.pairs ?? 1))} of the pairs with ${small.toLocaleString('en')}; to reach: ${OF_SMALL}.`
      )
    }),
  ]
}

function medians({ measured }: Result, system: System, each: Case): Measured {
  const rounds = measured[figureOf(system, each)] ?? []
  const of = (pick: (one: Measured) => number): number => {
    const sorted = rounds.map(pick).sort((a, b) => a - b)
    const middle = Math.floor(sorted.length / 2)
    return sorted.length % 2 === 1
      ? (sorted[middle] ?? Number.NaN)
      : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
  }
  return {
    pairs: of(({ pairs }) => pairs),
    cpu: of(({ cpu }) => cpu),
    lagP99: of(({ lagP99 }) => lagP99),
    lagMax: of(({ lagMax }) => lagMax),
  }
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((cell, column) =>
    Math.max(cell.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padStart(widths[column] ?? 0)).join(' | ')} |`
  return [
    line(head),
    `| ${widths.map((width) => `${'-'.repeat(width - 1)}:`).join(' | ')} |`,
    ...rows.map(line),
  ]
}

function accountsOf({ accounts }: Case): string {
  return accounts === 1 ? 'one account' : `${accounts.toLocaleString('en')} accounts`
}

function whole(n: number): string {
  return Math.round(n).toLocaleString('en')
}

function ratio(n: number): string {
  return n.toFixed(2)
}
