/** The till's ledger on its database: what commands need that only look at accounts and keys. */
import type { Settings } from './config.ts'
import { openDb } from './db/client.ts'
import type { Ledger } from './ledger/ledger.ts'
import { openLedger } from './ledger/open.ts'
import type { Runtime } from './runtime.ts'

/** Close it with `ledger.db.close()`. */
export async function openTillLedger({
  settings,
  runtime,
}: {
  settings: Settings
  runtime: Runtime
}): Promise<Ledger> {
  return openLedger({ db: await openDb({ url: settings.database, runtime }), runtime })
}
