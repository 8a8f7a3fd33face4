/**
 * Counters and histograms as plain numbers, for the path of every call: prom-client's own look their labels up each
 * time, which costs twenty times as much. It only writes them out.
 */
import type { Metric } from 'prom-client'

type Labels = Readonly<Record<string, string>>

interface Value {
  readonly value: number
  readonly labels: Record<string, string | number>
  readonly metricName?: string
}

export interface Family<Series> {
  /** The numbers of these labels; ask once and keep it. */
  of(labels: Labels): Series
  /** As prom-client's registry takes it. */
  readonly metric: Metric
}

export interface Count {
  add(by: number): void
}

export interface Distribution {
  observe(value: number): void
}

export function counts(name: string, help: string): Family<Count> {
  return family<Count & { readonly total: () => number }>(
    { name, help, type: 'counter' },
    () => {
      let total = 0
      return {
        add(by) {
          total += by
        },
        total: () => total,
      }
    },
    ({ total }, labels) => [{ value: total(), labels }],
  )
}

/** @param bounds ascending; a value on a bound counts below it. */
export function distributions(name: string, help: string, bounds: readonly number[]): Family<Distribution> {
  return family<Distribution & { readonly counted: Float64Array; readonly sum: () => number }>(
    { name, help, type: 'histogram' },
    () => {
      const counted = new Float64Array(bounds.length + 1)
      let sum = 0
      return {
        observe(value) {
          let index = 0
          while (index < bounds.length && value > (bounds[index] ?? 0)) index++
          counted[index] = (counted[index] ?? 0) + 1
          sum += value
        },
        counted,
        sum: () => sum,
      }
    },
    ({ counted, sum }, labels) => {
      let below = 0
      const buckets = [...bounds, '+Inf'].map((le, index): Value => {
        below += counted[index] ?? 0
        return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: below }
      })
      return [
        ...buckets,
        { metricName: `${name}_sum`, labels, value: sum() },
        { metricName: `${name}_count`, labels, value: below },
      ]
    },
  )
}

function family<Series>(
  head: { readonly name: string; readonly help: string; readonly type: string },
  make: () => Series,
  write: (series: Series, labels: Record<string, string>) => Value[],
): Family<Series> {
  const known = new Map<string, { readonly labels: Record<string, string>; readonly series: Series }>()
  const get = async () => ({
    ...head,
    values: [...known.values()].flatMap(({ labels, series }) => write(series, labels)),
    aggregator: 'sum' as const,
  })
  return {
    of(labels) {
      const key = JSON.stringify(labels)
      const found = known.get(key) ?? { labels: { ...labels }, series: make() }
      known.set(key, found)
      return found.series
    },
    // The registry asks its metrics for nothing but these two; its types name its own classes only.
    metric: { name: head.name, get } as unknown as Metric,
  }
}
