/**
 * A till in the process of a service that sells its own endpoints: `import { openTill } from 'bursar/till'`. It uses
 * the configuration and the database of `bursar serve`, beside it or alone.
 */
import type { Bursar, Holds } from './bursar.ts'

export interface OpenTill {
  /** Path of a bursar.config.json; by default as every command finds it. */
  readonly config?: string
  /** Instead of the process's own. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

export interface TillInProcess {
  /** For `meter({ till, ... })`; without a key it speaks as the seller. */
  readonly holds: Holds
  /** What an agent sees, for an account by the seller's own name for it; made when it does not exist. */
  bursarOf(externalId: string): Promise<Bursar>
  /** Stops watching the chains and closes the database. */
  close(): Promise<void>
}

/** @throws {BursarError} invalid_config, database_unavailable */
export async function openTill({ config, env = process.env }: OpenTill = {}): Promise<TillInProcess> {
  const [{ openTill: open }, { readSettings }, { holdsOf }, { systemRuntime }] = await Promise.all([
    import('./app.ts'),
    import('./config.ts'),
    import('./ledger/service-holds.ts'),
    import('./runtime.ts'),
  ])
  const cwd = process.cwd()
  const settings = readSettings({ path: config, env, cwd, folders: [cwd] })
  const till = await open({ settings, runtime: systemRuntime(settings.logLevel) })
  return {
    holds: holdsOf(till.calls.ledger, till.authenticate),
    bursarOf: (externalId) => till.bursarOf(externalId),
    close: () => till.close(),
  }
}
