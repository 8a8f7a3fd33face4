/** The purse's own database, through the same client as the till's. */
import { openDb } from '../db/client.ts'
import type { Db } from '../db/db.ts'
import type { Runtime } from '../runtime.ts'
import { purseMigrations } from './migrations/index.ts'

/** @throws {BursarError} invalid_config (not a purse's database, or a newer one's), database_unavailable */
export function openPurseDatabase(url: string, runtime: Runtime): Promise<Db> {
  return openDb({ url, runtime, migrations: purseMigrations })
}
