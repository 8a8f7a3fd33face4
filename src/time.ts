/** Times are Unix milliseconds, and ISO 8601 where people or other programs read them. */

export const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS

export function isoTime(ms: number | bigint): string {
  return new Date(Number(ms)).toISOString()
}
