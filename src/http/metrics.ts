/**
 * What a till counts and measures, in Prometheus' format. Labels are the seller's own words (models, upstreams, chains,
 * endpoints), so their number is bounded; no account is ever one. prom-client is loaded with this and only for it.
 */
import type { CallLabels, Metrics } from '../runtime.ts'
import { type Count, counts, type Distribution, distributions, type Family } from './tallies.ts'

/** What is looked up when somebody asks, because it is true of all processes on one database. */
export interface Readings {
  readonly holds: { readonly open: number; readonly micro: bigint }
  readonly invoices: Readonly<Record<string, number>>
  readonly chains: readonly {
    readonly chain: string
    /** What the chain's endpoints have shown, less what was read of it. */
    readonly blocksBehind: number
    readonly readSecondsAgo: number
    readonly halted: boolean
  }[]
}

export interface OpenMetrics {
  readonly metrics: Metrics
  /** The whole page, and its content type. Readings that fail are left out, and counted. */
  read(readings: () => Promise<Readings>): Promise<{ readonly type: string; readonly text: string }>
}

const CALL_SECONDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900]
const COMMIT_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1]
const GROUP_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]

type Prometheus = typeof import('prom-client')

export async function openMetrics(): Promise<OpenMetrics> {
  // The package is CommonJS: what it exports stands under `default`.
  const { default: prometheus } = (await import('prom-client')) as unknown as { default: Prometheus }
  const registry = new prometheus.Registry()
  prometheus.collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const gauges = createGauges(prometheus, registers)
  const failed = new prometheus.Counter({
    name: 'bursar_readings_failed_total',
    help: 'Times that gauges could not be read off the database.',
    registers,
  })
  return {
    metrics: createCounters(registry),
    async read(readings) {
      try {
        gauges.set(await readings())
      } catch {
        gauges.clear()
        failed.inc()
      }
      return { type: registry.contentType, text: await registry.metrics() }
    },
  }
}

type Registers = InstanceType<Prometheus['Registry']>[]

function createCounters(registry: InstanceType<Prometheus['Registry']>): Metrics {
  const calls = counts('bursar_calls_total', 'Model calls that were sent to an upstream, by how that ended.')
  const seconds = distributions(
    'bursar_call_seconds',
    'From sending a model call until its answer has been passed on.',
    CALL_SECONDS,
  )
  const captured = counts(
    'bursar_credits_captured_total',
    'Credits that this process charged for model calls.',
  )
  const sizes = distributions('bursar_commit_changes', 'Holds and outcomes in one group commit.', GROUP_SIZES)
  const commits = distributions('bursar_commit_seconds', 'Duration of a group commit.', COMMIT_SECONDS)
  const endpoints = counts(
    'bursar_endpoint_failures_total',
    'Requests that an endpoint of a chain did not answer as it should.',
  )
  for (const { metric } of [calls, seconds, captured, sizes, commits, endpoints])
    registry.registerMetric(metric)
  const [credits, size, commit] = [captured.of({}), sizes.of({}), commits.of({})]
  const ended = seriesOf(calls, seconds)
  return {
    startCall() {
      const started = performance.now()
      return (labels) => ended(labels, (performance.now() - started) / 1000)
    },
    // A counter is for graphs: the ledger has the exact sums.
    captured: (micro) => credits.add(Number(micro) / 1_000_000),
    startGroup(changes) {
      const started = performance.now()
      return () => {
        size.observe(changes)
        commit.observe((performance.now() - started) / 1000)
      }
    },
    endpointFailed: (chain, endpoint) => endpoints.of({ chain, endpoint }).add(1),
  }
}

/** Remembers the numbers of each set of labels. */
function seriesOf(
  calls: Family<Count>,
  seconds: Family<Distribution>,
): (labels: CallLabels, took: number) => void {
  const known = new Map<string, { readonly call: Count; readonly duration: Distribution }>()
  return ({ model, upstream, outcome }, took) => {
    const key = `${outcome}\n${upstream}\n${model}`
    let series = known.get(key)
    if (!series) {
      series = { call: calls.of({ model, upstream, outcome }), duration: seconds.of({ model, upstream }) }
      known.set(key, series)
    }
    series.call.add(1)
    series.duration.observe(took)
  }
}

function createGauges({ Gauge }: Prometheus, registers: Registers) {
  const gauge = <Label extends string = never>(name: string, help: string, labelNames: Label[] = []) =>
    new Gauge<Label>({ name: `bursar_${name}`, help, labelNames, registers })
  const holds = gauge('holds_open', 'Holds without an outcome.')
  const held = gauge('credits_held', 'Credits in them.')
  const invoices = gauge('invoices', 'Invoices that ended within the last 7 days, or are open, by state.', [
    'state',
  ])
  const behind = gauge('chain_blocks_behind', 'Blocks of a chain that are known and not read.', ['chain'])
  const ago = gauge('chain_read_seconds_ago', 'Time since a chain was last read.', ['chain'])
  const halted = gauge('chain_halted', '1: crediting waits until a human has looked.', ['chain'])
  return {
    set(now: Readings) {
      holds.set(now.holds.open)
      held.set(Number(now.holds.micro) / 1_000_000)
      for (const [state, count] of Object.entries(now.invoices)) invoices.set({ state }, count)
      for (const { chain, ...one } of now.chains) {
        behind.set({ chain }, one.blocksBehind)
        ago.set({ chain }, one.readSecondsAgo)
        halted.set({ chain }, Number(one.halted))
      }
    },
    /** Old numbers would look like new ones. */
    clear() {
      for (const each of [holds, held]) each.set(Number.NaN)
      for (const each of [invoices, behind, ago, halted]) each.reset()
    },
  }
}
