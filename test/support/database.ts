/** A fresh, migrated database in a temporary folder, and a ledger over it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openDb } from '../../src/db/client.ts'
import { type Db, statement } from '../../src/db/db.ts'
import type { Migration } from '../../src/db/migrate.ts'
import { grantStatements } from '../../src/ledger/grant.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { type TestClock, type TestRuntime, testRuntime } from './runtime.ts'

export interface TestDb {
  readonly db: Db
  readonly runtime: TestRuntime
  readonly clock: TestClock
  readonly folder: string
  readonly url: string
  /** Closes the database and removes its folder. */
  close(): Promise<void>
}

export interface TestLedger extends TestDb {
  readonly ledger: Ledger
  /** Opens an account with this many micro-credits, by default none; returns its id. */
  account(credits?: bigint): Promise<string>
  agent(account: string): Promise<string>
  /** Adds micro-credits to an account; returns the grant's ref. */
  grant(account: string, credits: bigint, expiresAt?: number | null): Promise<string>
}

export async function testDb({ migrations }: { migrations?: readonly Migration[] } = {}): Promise<TestDb> {
  const folder = await mkdtemp(join(tmpdir(), 'bursar-test-'))
  const runtime = testRuntime()
  const url = `file:${join(folder, 'test.db')}`
  const db = await openDb({ url, runtime, ...(migrations ? { migrations } : {}) })
  return {
    db,
    runtime,
    clock: runtime.clock,
    folder,
    url,
    async close() {
      await db.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export async function testLedger(): Promise<TestLedger> {
  const test = await testDb()
  const { db, runtime } = test
  const ledger = openLedger({ db, runtime })
  async function grant(account: string, credits: bigint, expiresAt: number | null = null): Promise<string> {
    const ref = runtime.id('grant')
    await db.commit(grantStatements({ ref, account, credits, kind: 'grant', expiresAt, at: runtime.now() }))
    return ref
  }
  return {
    ...test,
    ledger,
    grant,
    async account(credits = 0n) {
      const id = runtime.id('acc')
      await db.commit([insertAccount(id, runtime.now())])
      if (credits > 0n) await grant(id, credits)
      return id
    },
    async agent(account) {
      const id = runtime.id('agt')
      await db.commit([
        statement('INSERT INTO agent (id, account, name, created_at) VALUES (?, ?, ?, ?)', [
          id,
          account,
          id,
          BigInt(runtime.now()),
        ]),
      ])
      return id
    },
  }
}

export function insertAccount(id: string, at: number) {
  return statement('INSERT INTO account (id, created_at) VALUES (?, ?)', [id, BigInt(at)])
}
