/** Sells an endpoint of your own for credits. */
import { meterExpress } from './meter-express.ts'
import { meterFetch } from './meter-fetch.ts'

interface Meter {
  <Rest extends unknown[]>(...args: Parameters<typeof meterFetch<Rest>>): ReturnType<typeof meterFetch<Rest>>
  readonly express: typeof meterExpress
}

/** `meter(options, handler)` for handlers of the fetch kind, `meter.express(options, handler)` for Express. */
export const meter: Meter = Object.assign(
  <Rest extends unknown[]>(...args: Parameters<typeof meterFetch<Rest>>) => meterFetch(...args),
  { express: meterExpress },
)
