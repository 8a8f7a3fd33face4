/** A database file that is moved, removed or replaced while it is in use: nothing is acknowledged that would be lost. */
import { copyFile, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { type Db, statement } from '../../src/db/db.ts'
import { type TestDb, testDb } from '../support/database.ts'
import { items } from './items.ts'

let t: TestDb
let db: Db
beforeEach(async () => {
  t = await testDb({ migrations: items })
})
afterEach(async () => {
  await db.close()
  await t.close()
})

const ENDS = ['', '-wal', '-shm']
const path = (name: string) => join(t.folder, name)
const insert = (id: bigint) => db.commit([statement('INSERT INTO item (id) VALUES (?)', [id])])
const stored = async (from: Db) =>
  (await from.query<{ id: bigint }>('SELECT id FROM item')).map(({ id }) => id)
const isMoved = {
  code: 'database_unavailable',
  message: expect.stringMatching(/moved, removed or replaced/) as string,
}

async function move(from: string, to: string): Promise<void> {
  for (const end of ENDS) await rename(path(from + end), path(to + end))
}

describe.each([
  { where: 'here', threadAfter: 1_000_000 },
  { where: 'in a thread', threadAfter: 0 },
])('commits $where', ({ threadAfter }) => {
  beforeEach(async () => {
    // The only one on the file.
    await t.db.close()
    db = await openDb({ url: t.url, runtime: t.runtime, migrations: items, threadAfter, placeMs: 0 })
    await insert(1n)
  })

  test('stop while the file is gone, make none in its place, and go on when it is back', async () => {
    await move('test.db', 'kept.db')
    await expect(insert(2n)).rejects.toMatchObject(isMoved)
    await expect(insert(3n)).rejects.toMatchObject(isMoved)
    expect((await readdir(t.folder)).filter((name) => name.startsWith('test.db'))).toEqual([])
    expect(await stored(db)).toEqual([1n])
    expect(db.unwritable()).toMatchObject(isMoved)
    await move('kept.db', 'test.db')
    await insert(4n)
    expect(await stored(db)).toEqual([1n, 4n])
    expect(db.unwritable()).toBeNull()
  })

  test('that could not be made are remembered for a minute, until somebody may try again', async () => {
    await move('test.db', 'kept.db')
    await expect(insert(2n)).rejects.toMatchObject(isMoved)
    t.runtime.clock.advance(59_999)
    expect(db.unwritable()).toMatchObject(isMoved)
    t.runtime.clock.advance(1)
    expect(db.unwritable()).toBeNull()
  })

  test('do not go to another file that was put in its place', async () => {
    const other = await openDb({ url: `file:${path('other.db')}`, runtime: t.runtime, migrations: items })
    await other.close()
    await move('test.db', 'kept.db')
    await copyFile(path('other.db'), path('test.db'))
    await expect(insert(2n)).rejects.toMatchObject(isMoved)
    await db.close()
    const replaced = await openDb({ url: t.url, runtime: t.runtime, migrations: items })
    expect(await stored(replaced)).toEqual([])
    await replaced.close()
    const kept = await openDb({ url: `file:${path('kept.db')}`, runtime: t.runtime, migrations: items })
    expect(await stored(kept)).toEqual([1n])
    await kept.close()
  })

  test('stop when the log was removed; what was acknowledged is saved in the file', async () => {
    await rm(path('test.db-wal'))
    await expect(insert(2n)).rejects.toMatchObject(isMoved)
    await expect(insert(3n)).rejects.toMatchObject(isMoved)
    // As a new process finds it, also after kill -9: without a log.
    await copyFile(path('test.db'), path('kept.db'))
    const kept = await openDb({ url: `file:${path('kept.db')}`, runtime: t.runtime, migrations: items })
    expect(await stored(kept)).toEqual([1n])
    await kept.close()
  })
})
