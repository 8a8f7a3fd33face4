/** The limit of a request's output, where it is asked for and where it is sent. */
import { invalid } from '../../errors.ts'
import type { JsonObject } from '../answer.ts'
import { limitOutput } from '../meter.ts'

const MAX_CHOICES = 128

/**
 * The smallest of the limits that a request names, at most the model's.
 *
 * @throws {BursarError} invalid_request
 */
export function askedLimit(fields: JsonObject, names: readonly string[], most: number): number {
  const asked = names.flatMap((name) => {
    const value = fields[name]
    if (value === undefined || value === null) return []
    if (typeof value !== 'number') throw invalid(`${name} must be a whole number, 1 or more.`)
    return [limitOutput(value, most, name)]
  })
  return Math.min(most, ...asked)
}

/** How many answers are asked for at once. @throws {BursarError} invalid_request */
export function choicesOf({ n }: JsonObject): number {
  if (n === undefined || n === null) return 1
  if (typeof n === 'number' && Number.isInteger(n) && n >= 1 && n <= MAX_CHOICES) return n
  throw invalid(`n must be a whole number from 1 to ${MAX_CHOICES}.`)
}

/** @throws {BursarError} invalid_request */
export function streamOf({ stream }: JsonObject): boolean {
  if (stream === undefined || stream === null) return false
  if (typeof stream === 'boolean') return stream
  throw invalid('stream must be true or false.')
}
