/**
 * How far a call's output limit may shrink when the balance is short: its caller says so in the header `x-bursar-fit`
 * or the body's member `bursar_fit`, or the seller's default counts.
 */
import { invalid } from '../errors.ts'

/** Bursar's own: no upstream gets to see it. */
export const FIT_MEMBER = 'bursar_fit'

const MAX_FLOOR = 10_000_000

/**
 * The fewest output tokens that the caller takes; 0: it takes no less than it asked for; undefined: it says nothing.
 *
 * @throws {BursarError} invalid_request: neither "off" nor a number of tokens.
 */
export function fitFloorOf(value: unknown, name: string): number | undefined {
  if (value === undefined || value === null) return undefined
  if (value === 'off') return 0
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_FLOOR) return value
  throw invalid(`${name} must be "off", or 0 to ${MAX_FLOOR} tokens.`)
}

/** Lets the output limit of a call shrink to what its caller can spend. */
export interface Fit {
  /** Not below this, in all. */
  readonly floor: number
  /** The output tokens are shared by this many choices, each with the same limit. */
  readonly choices: number
}

export interface Fittable {
  /** The limit that is asked for, of each choice. */
  readonly limit: number
  readonly choices: number
  /** A limit below this is useless: the upstream would refuse it. */
  readonly least: number
}

/** How far a call may shrink, by what its caller said or else the seller; none: not at all. */
export function fitOf(
  asked: number | undefined,
  byDefault: number | undefined,
  { limit, choices, least }: Fittable,
): { readonly fit?: Fit } {
  const floor = Math.min(asked ?? byDefault ?? 0, limit)
  return floor > 0 ? { fit: { floor: Math.max(floor, least) * choices, choices } } : {}
}
