/** What is asked of Bursar, and whether it is reached; beside it the same of the gateway that only logs. */
import type { Row } from './rows.ts'
import type { TargetName } from './targets.ts'

export interface Goal {
  readonly goal: string
  readonly wanted: string
  readonly measured: string
  readonly reached: boolean
  /** What the gateway that only logs has: better than that no ledger can be on this machine. */
  readonly logged: string
}

/** A ratio of at least so much, or at most so many microseconds. */
interface Asked {
  readonly what: string
  readonly kind: 'ratio' | 'microseconds'
  readonly bound: number
  /** Null where its peer was not measured. */
  readonly of: (row: Row) => number | null
}

export function goalsOf(rows: readonly Row[]): Goal[] {
  return rows
    .filter(({ target }) => target === 'bursar')
    .flatMap((own) => {
      const beside = (target: TargetName) =>
        rows.find((r) => r.target === target && r.mode === own.mode && r.connections === own.connections)
      const logged = beside('logged')
      return askedOf(own, beside).flatMap(({ what, kind, bound, of }) => {
        const value = of(own)
        if (value === null) return []
        const shown = (value: number | null | undefined) =>
          typeof value !== 'number' ? '' : kind === 'ratio' ? value.toFixed(2) : `${value} us`
        return {
          goal: `${what} (${own.mode}, ${own.connections})`,
          wanted: kind === 'ratio' ? `>= ${bound}` : `<= ${bound} us`,
          measured: shown(value),
          reached: kind === 'ratio' ? value >= bound : value <= bound,
          logged: shown(logged && of(logged)),
        }
      })
    })
}

function askedOf({ mode, connections }: Row, beside: (target: TargetName) => Row | undefined): Asked[] {
  const [direct, bare, portkey] = [beside('direct'), beside('pass-through'), beside('portkey')]
  const one = connections === 1
  const asked: Asked[] = [
    { what: 'requests/s to Portkey', kind: 'ratio', bound: one ? 1.5 : 5, of: ({ toPortkey }) => toPortkey },
  ]
  if (!one) {
    const of = ({ toPassThrough }: Row) => toPassThrough
    asked.push({ what: 'requests/s to the pass-through', kind: 'ratio', bound: 0.6, of })
  }
  if (one && direct && portkey) {
    const of = ({ p50 }: Row) => p50 - direct.p50
    asked.push({ what: 'added p50', kind: 'microseconds', bound: of(portkey), of })
  }
  if (one && mode === 'streamed' && bare) {
    const of = ({ firstByteP50 }: Row) => firstByteP50 - bare.firstByteP50
    asked.push({ what: "first byte after the pass-through's", kind: 'microseconds', bound: 1000, of })
  }
  return asked
}
