import { BursarError } from '../../src/errors.ts'

/** The BursarError that `run` throws; fails if it throws nothing or anything else. */
export function errorOf(run: () => unknown): BursarError {
  try {
    run()
  } catch (error) {
    if (error instanceof BursarError) return error
    throw error
  }
  throw new Error('expected a BursarError, nothing was thrown')
}

/** The BursarError that a promise rejects with. */
export async function rejectionOf(promise: Promise<unknown>): Promise<BursarError> {
  const outcome = await promise.then(
    () => null,
    (error: unknown) => error,
  )
  if (outcome instanceof BursarError) return outcome
  throw outcome instanceof Error ? outcome : new Error('expected a BursarError, nothing was thrown')
}
