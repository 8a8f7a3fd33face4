/** A database of every released version, with rows in it, is brought to the newest one. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { migrations } from '../../src/db/migrations/index.ts'
import { getBalance } from '../../src/ledger/balance.ts'
import { hold } from '../../src/ledger/hold.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { checkBooks } from '../support/books.ts'
import { type TestDb, testDb } from '../support/database.ts'
import { definitionsOf, load } from '../support/dump.ts'

const folder = new URL('fixtures/', import.meta.url)
const fixtures = readdirSync(folder).filter((name) => name.endsWith('.sql'))

let t: TestDb
beforeEach(async () => {
  t = await testDb()
})
afterEach(() => t.close())

test('every version has a fixture', () => {
  expect(fixtures).toEqual(migrations.map(({ version }) => `${String(version).padStart(4, '0')}.sql`))
})

describe.each(fixtures)('%s', (name) => {
  const upTo = migrations.filter(({ version }) => version <= Number.parseInt(name, 10))
  const url = (file: string) => `file:${join(t.folder, file)}`
  const text = readFileSync(new URL(name, folder), 'utf8')

  test('is what its migrations make: a released one has not been changed', async () => {
    await load(url('old.db'), text)
    const old = await openDb({ url: url('old.db'), runtime: t.runtime, migrations: upTo })
    const made = await openDb({ url: url('made.db'), runtime: t.runtime, migrations: upTo })
    const sorted = async (db: typeof old) =>
      new Map((await definitionsOf(db)).map((each) => [each.name, each.sql]))
    expect(await sorted(old)).toEqual(await sorted(made))
    await old.close()
    await made.close()
  })

  test('becomes the newest, with its rows, and works', async () => {
    await load(url('old.db'), text)
    const db = await openDb({ url: url('old.db'), runtime: t.runtime })
    const newest = new Map((await definitionsOf(t.db)).map((each) => [each.name, each.sql]))
    expect(new Map((await definitionsOf(db)).map((each) => [each.name, each.sql]))).toEqual(newest)
    const [row] = await db.query<{ id: string }>('SELECT id FROM account')
    const account = row?.id ?? ''
    const ledger = openLedger({ db, runtime: t.runtime })
    // Granted 60: 1.25 charged, 2.75 lapsed, 2 reversed, 4 held.
    expect(await getBalance(ledger, account)).toMatchObject({ available: 50_000_000n, held: 4_000_000n })
    expect(await db.query('SELECT amount FROM payment')).toEqual([{ amount: '10000000000000000000' }])
    await checkBooks(db)
    expect(await hold(ledger, { account, amount: 50_000_000n, lifetimeMs: 1_000 })).toMatchObject({
      kind: 'held',
    })
    await checkBooks(db)
    await ledger.close()
  })
})
