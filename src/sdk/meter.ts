/** Sells an endpoint of your own for credits. */
import { meterExpress } from './meter-express.ts'
import { meterFetch } from './meter-fetch.ts'

/** `meter(options, handler)` for handlers of the fetch kind, `meter.express(options, handler)` for Express. */
export const meter: typeof meterFetch & { readonly express: typeof meterExpress } = Object.assign(
  meterFetch.bind(null) as typeof meterFetch,
  { express: meterExpress },
)
