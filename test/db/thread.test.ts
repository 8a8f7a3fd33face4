/** What holds for commit() holds when a thread makes the commits, from the first one or from a later one. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Worker } from 'node:worker_threads'
import { createClient, LibsqlBatchError } from '@libsql/client'
import * as fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { type Db, guard, statement } from '../../src/db/db.ts'
import { BursarError } from '../../src/errors.ts'
import { type TestDb, testDb } from '../support/database.ts'
import { items } from './items.ts'

let t: TestDb
let opened: Db[] = []

beforeEach(async () => {
  t = await testDb({ migrations: items })
})
afterEach(async () => {
  await Promise.all(opened.map((db) => db.close()))
  opened = []
  await t.close()
})

async function open(threadAfter: number, busyTimeoutMs = 1_000, runtime = t.runtime): Promise<Db> {
  const db = await openDb({ url: t.url, runtime, migrations: items, threadAfter, busyTimeoutMs })
  opened.push(db)
  return db
}

const insert = (id: bigint, amount: bigint | null = null) =>
  statement('INSERT INTO item (id, amount) VALUES (?, ?)', [id, amount])

test('rows, guards, constraints and settings are the same', async () => {
  const db = await open(0)
  const settings = 'SELECT s.synchronous, f.foreign_keys FROM pragma_synchronous s, pragma_foreign_keys f'
  expect(await db.commit([insert(1n, 2n ** 53n + 1n), statement(settings)])).toEqual([
    [],
    [{ synchronous: 2n, foreign_keys: 1n }],
  ])
  const meant = new BursarError('conflict', 'two of them')
  await expect(db.commit([insert(2n), guard('1 = 0', [], () => meant)])).rejects.toBe(meant)
  const thrown = await Promise.all(
    [db, t.db].map((each) => each.commit([insert(2n), insert(1n)]).catch((error: unknown) => error)),
  )
  expect(thrown[0]).toBeInstanceOf(LibsqlBatchError)
  const { message, code, extendedCode, statementIndex } = thrown[1] as LibsqlBatchError
  expect(thrown[0]).toMatchObject({ message, code, extendedCode, statementIndex })
  expect({ code, statementIndex }).toEqual({ code: 'SQLITE_CONSTRAINT', statementIndex: 1 })
  await expect(db.commit([statement('no SQL')])).rejects.toThrow(/syntax/)
  const read = statement("SELECT id, amount, x'00ff' AS bytes, 0.5 AS half, NULL AS none FROM item")
  const row = {
    id: 1n,
    amount: 2n ** 53n + 1n,
    bytes: new Uint8Array([0, 255]).buffer,
    half: 0.5,
    none: null,
  }
  expect(await db.commit([read])).toEqual([[row]])
  expect(await t.db.commit([read])).toEqual([[row]])
})

test('commits stay in order while the thread takes over', async () => {
  const steps = fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 3 })
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 20 }), steps, async (threadAfter, bursts) => {
      const db = await open(threadAfter)
      await db.commit([statement('DELETE FROM item'), insert(1n, 0n)])
      let asked = 0n
      for (const burst of bursts) {
        const commits = Array.from({ length: burst }, () => {
          const soon = new BursarError('conflict', `${asked} came too soon`)
          const next = guard('(SELECT amount FROM item) = ?', [asked++], () => soon)
          return db.commit([next, statement('UPDATE item SET amount = amount + 1')])
        })
        await Promise.all(commits)
      }
      expect(await db.query('SELECT amount FROM item')).toEqual([{ amount: asked }])
    }),
    { numRuns: 12 },
  )
})

test('a lock is waited out without blocking this thread', async () => {
  const db = await open(0, 30_000)
  await db.commit([insert(1n)])
  const locker = createClient({ url: t.url, concurrency: 1 })
  const lock = await locker.transaction('write')
  const committed = db.commit([insert(2n)])
  // Only because this thread goes on can it lift the lock.
  await new Promise((resolve) => setImmediate(resolve))
  await lock.rollback()
  locker.close()
  await committed
  expect(await db.query('SELECT count(*) AS n FROM item')).toEqual([{ n: 2n }])
})

test('closing waits for what is under way, and nothing is taken afterwards', async () => {
  const db = await open(0)
  const last = db.commit([insert(1n)])
  await db.close()
  expect(await last).toEqual([[]])
  await expect(db.commit([insert(2n)])).rejects.toMatchObject({ code: 'database_unavailable' })
})

test('a process may close at any stage of the start of its thread, and then ends by itself', async () => {
  const script = fileURLToPath(new URL('children/closer.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [script, t.url])
  expect(stdout).toBe('closed\n')
})

test('should the thread die, commits are made here again', async () => {
  const started: Worker[] = []
  process.once('worker', (worker: Worker) => started.push(worker))
  const db = await open(0)
  await db.commit([insert(1n)])
  await started[0]?.terminate()
  await db.commit([insert(2n)])
  expect(started).toHaveLength(1)
  expect(await db.query('SELECT count(*) AS n FROM item')).toEqual([{ n: 2n }])
})

test('should it die over two commits, both hear of it, and what was acknowledged is there', async () => {
  const started: Worker[] = []
  process.once('worker', (worker: Worker) => started.push(worker))
  const db = await open(0)
  await db.commit([insert(1n)])
  const asked = [db.commit([insert(2n)]), db.commit([insert(3n)])]
  const ended = started[0]?.terminate()
  const outcomes = await Promise.allSettled(asked)
  await ended
  await db.commit([insert(4n)])
  const kept = (await db.query<{ id: bigint }>('SELECT id FROM item')).map(({ id }) => id)
  expect(kept).toEqual(expect.arrayContaining([1n, 4n]))
  for (const [index, outcome] of outcomes.entries()) {
    if (outcome.status === 'fulfilled') expect(kept).toContain(BigInt(index + 2))
    else expect(outcome.reason).toMatchObject({ code: 'database_unavailable' })
  }
})

test('two commits at once that meet a lock are both made when it is lifted, each once', async () => {
  const { promise: refused, resolve } = Promise.withResolvers<void>()
  let waits = 0
  const db = await open(0, 1, {
    ...t.runtime,
    sleep(ms, signal) {
      if (++waits === 2) resolve()
      return t.runtime.sleep(ms, signal)
    },
  })
  const locker = createClient({ url: t.url, concurrency: 1 })
  const lock = await locker.transaction('write')
  const asked = [db.commit([insert(1n)]), db.commit([insert(2n)])]
  await refused
  await lock.rollback()
  locker.close()
  await Promise.all(asked)
  expect(await db.query('SELECT id FROM item ORDER BY id')).toEqual([{ id: 1n }, { id: 2n }])
})

test('a process that meets a lock waits for it in a thread from then on, and the others behind it do not try', async () => {
  const started: Worker[] = []
  process.once('worker', (worker: Worker) => started.push(worker))
  let waits = 0
  const clocked = t.runtime
  const db = await open(1_000_000, 0, {
    ...clocked,
    sleep: async (ms) => {
      waits++
      clocked.clock.advance(ms)
      await new Promise((resolve) => setImmediate(resolve))
    },
  })
  const locker = createClient({ url: t.url, concurrency: 1 })
  const lock = await locker.transaction('write')
  expect(started).toEqual([])
  const alone = await Promise.allSettled([db.commit([insert(1n)])])
  expect(started).toHaveLength(1)
  const waitsOfOne = waits
  const many = await Promise.allSettled(Array.from({ length: 40 }, (_, n) => db.commit([insert(BigInt(n))])))
  for (const outcome of [...alone, ...many]) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'database_unavailable' } })
  }
  // They share one clock, so that all of them together wait as often as one, and a few times more.
  expect(waits - waitsOfOne).toBeLessThan(3 * waitsOfOne)
  await lock.rollback()
  locker.close()
  await db.commit([insert(2n)])
  expect(await db.query('SELECT id FROM item')).toEqual([{ id: 2n }])
})

test('what cannot be sent to the thread fails alone: the answers after it are for those who asked', async () => {
  const db = await open(0)
  await db.commit([insert(1n)])
  const unsendable = statement('SELECT ? AS never', [(() => 1n) as unknown as bigint])
  const [failed, first, second] = await Promise.allSettled([
    db.commit([unsendable]),
    db.commit([statement('SELECT 1 AS first')]),
    db.commit([statement('SELECT 2 AS second')]),
  ])
  expect(failed.status).toBe('rejected')
  expect(first).toMatchObject({ value: [[{ first: 1n }]] })
  expect(second).toMatchObject({ value: [[{ second: 2n }]] })
  expect(await db.commit([statement('SELECT ? AS never', [7n])])).toEqual([[{ never: 7n }]])
})
