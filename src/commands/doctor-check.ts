/** What all checks of the doctor share. */

/** Runs one check; what it throws becomes a finding. */
export type Check = (name: string, look: () => Promise<string> | string) => Promise<void>

/** What cannot be opened has been reported by its own check. */
export function tryOpen<T>(open: () => T[]): T[] {
  try {
    return open()
  } catch {
    return []
  }
}
