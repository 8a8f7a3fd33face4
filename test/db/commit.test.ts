import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createClient } from '@libsql/client'
import { eq } from 'drizzle-orm'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { guard, statement } from '../../src/db/db.ts'
import { LOG_LIMIT } from '../../src/db/local.ts'
import { openSnapshot } from '../../src/db/snapshot.ts'
import { BursarError } from '../../src/errors.ts'
import { type TestDb, testDb } from '../support/database.ts'
import { items } from './items.ts'

let t: TestDb
beforeEach(async () => {
  t = await testDb({ migrations: items })
})
afterEach(() => t.close())

const insert = (id: bigint, amount: bigint | null = null) =>
  statement('INSERT INTO item (id, amount) VALUES (?, ?)', [id, amount])
const count = async () => (await t.db.query<{ n: bigint }>('SELECT count(*) AS n FROM item'))[0]?.n

test('returns the rows of each statement, integers of 64 bits as they are', async () => {
  const amount = 2n ** 53n + 1n
  const rows = await t.db.commit([
    insert(1n, amount),
    insert(2n, -(2n ** 63n)),
    statement('SELECT amount, typeof(amount) AS type FROM item ORDER BY id'),
  ])
  expect(rows).toEqual([
    [],
    [],
    [
      { amount, type: 'integer' },
      { amount: -(2n ** 63n), type: 'integer' },
    ],
  ])
})

test('a guard that fails rolls back everything before it and means its own error', async () => {
  const meant = new BursarError('conflict', 'two of them')
  const other = new BursarError('conflict', 'another')
  const failing = t.db.commit([
    guard('1 = 1', [], () => other),
    insert(1n),
    guard('(SELECT count(*) FROM item) = ?', [2n], () => meant),
    guard('1 = 0', [], () => other),
  ])
  await expect(failing).rejects.toBe(meant)
  expect(await count()).toBe(0n)
  await t.db.commit([insert(1n), guard('(SELECT count(*) FROM item) = ?', [1n], () => meant)])
  expect(await count()).toBe(1n)
})

test('a conditional update that matches nothing does not stop a batch by itself: hence guards', async () => {
  await t.db.commit([statement('UPDATE item SET amount = 1 WHERE id = 77'), insert(1n)])
  expect(await count()).toBe(1n)
})

test('a broken constraint commits nothing and leaves the database usable', async () => {
  await t.db.commit([insert(1n)])
  await expect(t.db.commit([insert(2n), insert(1n)])).rejects.toThrow(/UNIQUE/)
  await expect(t.db.commit([statement('INSERT INTO part (item) VALUES (99)')])).rejects.toThrow(/FOREIGN KEY/)
  await expect(t.db.commit([insert(3n), statement('INSERT INTO nothing VALUES (1)')])).rejects.toThrow(
    /nothing/,
  )
  await t.db.commit([insert(4n)])
  expect(await t.db.query('SELECT id FROM item ORDER BY id')).toEqual([{ id: 1n }, { id: 4n }])
})

test('commits apply in the order in which they were asked for', async () => {
  await t.db.commit([insert(1n, 0n)])
  const asked = Array.from({ length: 50 }, (_, n) =>
    t.db.commit([
      guard(
        '(SELECT amount FROM item) = ?',
        [BigInt(n)],
        () => new BursarError('conflict', `${n} came too soon`),
      ),
      statement('UPDATE item SET amount = amount + 1'),
    ]),
  )
  await Promise.all(asked)
  expect(await t.db.query('SELECT amount FROM item')).toEqual([{ amount: 50n }])
})

test('the writing connection is durable and checks foreign keys, also after it was replaced', async () => {
  const settings = statement(
    'SELECT s.synchronous, f.foreign_keys FROM pragma_synchronous s, pragma_foreign_keys f',
  )
  const full = [[{ synchronous: 2n, foreign_keys: 1n }]]
  expect(await t.db.commit([settings])).toEqual(full)
  await expect(t.db.commit([statement('no SQL')])).rejects.toThrow(/syntax/)
  expect(await t.db.commit([settings])).toEqual(full)
  expect(await t.db.query('PRAGMA journal_mode')).toEqual([{ journal_mode: 'wal' }])
})

test('a database that stays locked is an error within bounded time, and nothing is written', async () => {
  let waited = 0
  const runtime = {
    ...t.runtime,
    sleep: (ms: number) => {
      waited += ms
      return Promise.resolve()
    },
  }
  const db = await openDb({ url: t.url, runtime, migrations: items, busyTimeoutMs: 0 })
  const locker = createClient({ url: t.url, concurrency: 1 })
  const lock = await locker.transaction('write')
  await expect(db.commit([insert(1n)])).rejects.toMatchObject({ code: 'database_unavailable' })
  expect(waited).toBeGreaterThanOrEqual(30_000)
  expect(waited).toBeLessThan(31_000)
  await lock.rollback()
  locker.close()
  await db.commit([insert(2n)])
  expect(await db.query('SELECT id FROM item')).toEqual([{ id: 2n }])
  await db.close()
})

test('reads cannot write, and a failed one does not freeze what later ones see', async () => {
  await expect(t.db.query('INSERT INTO item (id) VALUES (1)')).rejects.toThrow(/cannot be (read|written)/)
  await expect(t.db.query('SELECT id FROM item WHERE nothing')).rejects.toThrow(/nothing/)
  await t.db.commit([insert(1n)])
  expect(await count()).toBe(1n)
})

test('typed reads go through the same connection', async () => {
  const item = sqliteTable('item', { id: integer().primaryKey(), note: text() })
  await t.db.commit([
    statement('INSERT INTO item (id, note) VALUES (?, ?)', [7n, 'seven']),
    statement('INSERT INTO item (id, note) VALUES (?, ?)', [8n, null]),
  ])
  expect(
    await (await t.db.typed()).select({ note: item.note }).from(item).where(eq(item.note, 'seven')),
  ).toEqual([{ note: 'seven' }])
  expect(await (await t.db.typed()).select({ note: item.note }).from(item).limit(5)).toHaveLength(2)
  expect(await (await t.db.typed()).select().from(item).where(eq(item.note, 'eight')).get()).toBeUndefined()
})

test('closing waits for what is under way, and nothing is taken afterwards', async () => {
  const last = t.db.commit([insert(1n)])
  await t.db.close()
  expect(await last).toEqual([[]])
  await expect(t.db.commit([insert(2n)])).rejects.toMatchObject({ code: 'database_unavailable' })
})

test('the log grows while somebody reads one moment of the file, and is small again afterwards', async () => {
  const size = async () => (await stat(join(t.folder, 'test.db-wal'))).size
  const reading = await openSnapshot({ url: t.url, runtime: t.runtime })
  for (let id = 1n; id <= 4n; id++) {
    await t.db.commit([statement('INSERT INTO item (id, note) VALUES (?, hex(zeroblob(10000000)))', [id])])
  }
  expect(await size()).toBeGreaterThan(LOG_LIMIT)
  reading.close()
  // The first moves the log into the file, the second begins it anew.
  await t.db.commit([insert(5n)])
  await t.db.commit([insert(6n)])
  expect(await size()).toBeLessThanOrEqual(LOG_LIMIT)
})
