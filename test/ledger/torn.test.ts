/**
 * A power cut, as far as a test can make one: kill -9 leaves the page cache alive, so the write-ahead log is cut off at
 * any byte. What is left must be a ledger as it was after some commit.
 */
import { copyFile, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { hold } from '../../src/ledger/hold.ts'
import { checkBooks } from '../support/books.ts'
import { testLedger } from '../support/database.ts'

test('a write-ahead log that is cut off anywhere leaves whole commits', async () => {
  const t = await testLedger()
  const account = await t.account(1_000_000n)
  const call = async (cost: bigint) => {
    const result = await hold(t.ledger, {
      account,
      amount: 10n,
      lifetimeMs: 1_000,
      receipt: { route: 'call_model', model: 'small', upstream: 'local', price: '{}' },
      idempotency: { route: 'call_model', key: t.runtime.id('key'), bodyHash: 'aa' },
    })
    if (result.kind === 'held') await result.hold.capture(cost, { response: '{}' })
  }
  const file = join(t.folder, 'test.db')
  const log = join(t.folder, 'test.db-wal')
  const { size: before } = await stat(log)
  for (let round = 0; round < 12; round++) await Promise.all([1n, 2n, 3n].map(call))
  const { size } = await stat(log)
  const copy = join(t.folder, 'cut.db')
  const seen = new Set<bigint>()
  const parts = Array.from({ length: 20 }, (_, n): [number] => [
    before + Math.floor(((size - before) * n) / 20),
  ])
  let number = 0
  await fc.assert(
    fc.asyncProperty(fc.noBias(fc.nat(size)), async (bytes) => {
      const path = `${copy}.${number++}`
      await copyFile(file, path)
      await copyFile(log, `${path}-wal`)
      await truncate(`${path}-wal`, bytes)
      const db = await openDb({ url: `file:${path}`, runtime: t.runtime })
      await checkBooks(db)
      const [row] = await db.query<{ n: bigint }>('SELECT count(*) AS n FROM posting')
      seen.add(row?.n ?? -1n)
      await db.close()
    }),
    // Beside those that chance gives, one in each of twenty parts of what the calls have written.
    { numRuns: 45, examples: parts },
  )
  expect(seen.size, 'different cuts leave different histories').toBeGreaterThan(10)
  await t.close()
})
