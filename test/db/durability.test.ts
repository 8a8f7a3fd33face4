/**
 * The driver's durability trap (libsql-client-ts#352): after one SQLITE_BUSY it acknowledges writes that it never
 * commits. The first test shows it, so that we notice when a new version of the driver has lost it; the others show
 * that commit() loses nothing in the same situation.
 */
import { fileURLToPath } from 'node:url'
import { createClient } from '@libsql/client'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type TestDb, testDb } from '../support/database.ts'
import { printed, type Started, start } from '../support/process.ts'
import { items } from './items.ts'

let t: TestDb
let children: Started[] = []

beforeEach(async () => {
  t = await testDb({ migrations: items })
})
afterEach(async () => {
  await Promise.all(children.map((child) => child.stop('SIGKILL')))
  children = []
  await t.close()
})

function child(name: string, ...args: string[]): Started {
  const script = fileURLToPath(new URL(`children/${name}.ts`, import.meta.url))
  const started = start(process.execPath, [script, t.url, ...args])
  children.push(started)
  return started
}

/** Holds the file's only write lock, as another process would. */
async function lockFile(): Promise<() => Promise<void>> {
  const client = createClient({ url: t.url, concurrency: 1 })
  const transaction = await client.transaction('write')
  return async () => {
    await transaction.commit()
    client.close()
  }
}

const acknowledgedBy = (started: Started): bigint[] =>
  [...started.output().matchAll(/^ack (\d+)$/gm)].map(([, id]) => BigInt(id ?? ''))

async function stored(): Promise<bigint[]> {
  return (await t.db.query<{ id: bigint }>('SELECT id FROM item ORDER BY id')).map(({ id }) => id)
}

test('the bare driver acknowledges rows after SQLITE_BUSY and never commits them', async () => {
  const writer = child('raw-writer')
  await printed(writer, /^ack 20$/m)
  await writer.stop()
  expect(writer.output()).toContain('SQLITE_BUSY')
  expect(acknowledgedBy(writer)).toHaveLength(20)
  expect(await stored()).toEqual([])
})

test.each([
  { where: 'here', threadAfter: '1000' },
  { where: 'in a thread', threadAfter: '0' },
])(
  'commit() $where waits the lock out, and what it acknowledges survives kill -9',
  async ({ threadAfter }) => {
    // A child that has opened its database, and then meets the lock.
    const unlock = await lockFile()
    const writer = child('committer', '0', '20', threadAfter)
    await printed(writer, /^busy$/m)
    await unlock()
    await printed(writer, /^done$/m)
    await writer.stop('SIGKILL')
    expect(acknowledgedBy(writer)).toHaveLength(20)
    expect(await stored()).toEqual(acknowledgedBy(writer))
  },
)

test('four processes on one file, killed at random, lose nothing that they acknowledged', async () => {
  // Two write in a thread, one moves to its thread on the way.
  const threads = ['0', '0', '12', '1000000']
  const writers = threads.map((after, n) =>
    child('committer', String(n * 1_000_000), '1000000', after, 'among others'),
  )
  await Promise.all(
    writers.map((writer, n) => printed(writer, new RegExp(`^ack ${n * 1_000_000 + 15 + n * 10}$`, 'm'))),
  )
  // They write on until one has met the lock of another.
  await Promise.any(writers.map((writer) => printed(writer, /^busy$/m)))
  await Promise.all(writers.map((writer) => writer.stop('SIGKILL')))
  const kept = new Set(await stored())
  const acknowledged = writers.flatMap(acknowledgedBy)
  // 16, 26, 36 and 46.
  expect(acknowledged.length).toBeGreaterThanOrEqual(124)
  expect(acknowledged.filter((id) => !kept.has(id))).toEqual([])
  // At most the commit under way when it died: nothing is written twice or out of thin air.
  expect(kept.size - acknowledged.length).toBeLessThanOrEqual(4)
})
