/** The till's ledger on its database: what commands need that only look at accounts and keys. */
import type { Settings } from './config.ts'
import { openDb } from './db/client.ts'
import type { Ledger } from './ledger/ledger.ts'
import { openLedger } from './ledger/open.ts'
import type { Runtime } from './runtime.ts'

export interface OpenTillLedger {
  readonly settings: Settings
  readonly runtime: Runtime
}

/** Close it with its own `close`, which waits for what is under way. */
export async function openTillLedger({ settings, runtime }: OpenTillLedger): Promise<Ledger> {
  return openLedger({ db: await openDb({ url: settings.database, runtime }), runtime })
}
