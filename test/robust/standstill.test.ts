/** What keeps a till from selling or crediting until a human has looked: `/readyz` and `doctor` say so, and what to do. */
import { mkdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { createClient } from '@libsql/client'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { run } from '../support/program.ts'
import { type Answer, openShop, type Shop, startWorld, type World } from './shop.ts'

let world: World
/** Nothing but the database is in it. */
let folder: string
let database: string
let shop: Shop

beforeAll(async () => {
  world = await startWorld()
  folder = join(world.folder, 'database')
  await mkdir(folder)
  database = join(folder, 'till.db')
  shop = await openShop(world, database)
  await shop.buy()
})
beforeEach(async () => {
  await write('UPDATE chain_cursor SET halted = NULL')
  await write('DELETE FROM restore')
  expect(await shop.get('/readyz')).toMatchObject({ status: 200 })
})
afterAll(async () => {
  await shop?.close()
  await world?.stop()
})

async function write(sql: string): Promise<void> {
  const client = createClient({ url: `file:${database}`, timeout: 5_000 })
  await client.batch([sql], 'write')
  client.close()
}

async function doctor(): Promise<string> {
  const { path } = world.settings(database)
  const { status, stdout } = await run(['doctor'], {
    PATH: process.env['PATH'] ?? '',
    BURSAR_CONFIG: path ?? '',
    BURSAR_DATA: world.folder,
    BURSAR_DB: database,
  })
  expect(status).toBe(1)
  return stdout
}

const reasonsOf = ({ body }: Answer) => body['reasons']

test('a halted chain', async () => {
  await write("UPDATE chain_cursor SET halted = 'a fork of 99 blocks'")
  const ready = await shop.get('/readyz')
  expect(ready).toMatchObject({ status: 503, body: { code: 'chain_unavailable', failing: ['chain local'] } })
  expect(reasonsOf(ready)).toEqual([
    {
      check: 'chain local',
      code: 'chain_unavailable',
      remedy: expect.stringContaining('bursar chains resume local'),
    },
  ])
  expect(JSON.stringify(ready.body), 'the reason is for the operator').not.toContain('99 blocks')
  const said = await doctor()
  expect(said).toMatch(/FAIL {2}crediting local +Crediting on local is halted: a fork of 99 blocks/)
  expect(said).toContain('bursar chains resume local')
  expect(await shop.ask('while-halted')).toMatchObject({ status: 503, body: { code: 'chain_unavailable' } })
})

test('a till that was restored', async () => {
  await write("INSERT INTO restore (id, backup_at) VALUES ('backup_1', 1793491200000)")
  const ready = await shop.get('/readyz')
  expect(ready).toMatchObject({ status: 503, body: { code: 'database_unavailable', failing: ['restore'] } })
  expect(reasonsOf(ready)).toEqual([
    { check: 'restore', code: 'frozen', remedy: expect.stringContaining('bursar restore --confirm') },
  ])
  const said = await doctor()
  expect(said).toMatch(/FAIL {2}restore +This till was restored from a backup of 2026-11-01T00:00:00/)
  expect(said).toContain('bursar restore --check')
  expect(await shop.call('while-frozen')).toMatchObject({ status: 403, body: { code: 'frozen' } })
})

test('a configuration that is not that of the database', async () => {
  await write("UPDATE deployment SET value = '250000' WHERE name = 'credit_usd'")
  try {
    const said = await doctor()
    expect(said).toMatch(
      /FAIL {2}deployment +In this database a credit costs 0\.25 USD; credit\.usd is 0\.10/,
    )
    await expect(openShop(world, database, shop.key)).rejects.toMatchObject({ code: 'invalid_config' })
  } finally {
    await write("UPDATE deployment SET value = '100000' WHERE name = 'credit_usd'")
  }
})

test('a database that cannot be written: its file was moved away', async () => {
  // With its log in one step: the till commits whenever it likes, also between two.
  await rename(folder, `${folder}.kept`)
  // It is looked for ten times a second.
  const status = async () => (await shop.call(world.runtime.id('key'))).status
  await expect.poll(status).toBe(503)
  const ready = await shop.get('/readyz')
  expect(ready).toMatchObject({ status: 503, body: { code: 'database_unavailable', failing: ['database'] } })
  await rename(`${folder}.kept`, folder)
  expect(await shop.call('when it is back')).toMatchObject({ status: 200 })
  expect(await shop.get('/readyz')).toMatchObject({ status: 200 })
})
