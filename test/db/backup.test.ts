import { copyFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { backupDatabase, restoreDatabase } from '../../src/db/backup.ts'
import { openDb } from '../../src/db/client.ts'
import { type Db, statement } from '../../src/db/db.ts'
import { fileUrl, pathOf } from '../../src/files.ts'
import { getBalance } from '../../src/ledger/balance.ts'
import { grantStatements } from '../../src/ledger/grant.ts'
import { hold } from '../../src/ledger/hold.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { confirmRestore, openRestore } from '../../src/ledger/restored.ts'
import { checkBooks } from '../support/books.ts'
import { type TestLedger, testLedger } from '../support/database.ts'
import { load } from '../support/dump.ts'
import { makeMaze } from '../support/maze.ts'

let t: TestLedger
let account: string
let opened: Db[]
beforeEach(async () => {
  t = await testLedger()
  account = await t.account(1_000_000n)
  opened = []
})
afterEach(async () => {
  await Promise.all(opened.map((db) => db.close()))
  await t.close()
})

const at = (name: string) => join(t.folder, name)
const check = () => Promise.resolve()
const backup = (to = at('backup.db'), url = t.url) =>
  backupDatabase({ url, backup: to, runtime: t.runtime, check })
const restore = (from = at('backup.db'), to = at('restored/till.db')) =>
  restoreDatabase({ url: `file:${to}`, backup: from, runtime: t.runtime, check })

async function openRestored(path = at('restored/till.db')) {
  const db = await openDb({ url: `file:${path}`, runtime: t.runtime })
  opened.push(db)
  return openLedger({ db, runtime: t.runtime })
}

const keyed = { route: 'call_model', key: 'k', bodyHash: 'aa' }
const ask = { amount: 100n, lifetimeMs: 60_000 }

test('comes back with all its rows, frozen, in one file that only its owner can read', async () => {
  const first = await hold(t.ledger, { ...ask, account, idempotency: keyed })
  if (first.kind !== 'held') throw new Error(first.kind)
  await first.hold.capture(40n, { response: '{"text":"hi"}' })
  await backup()
  await hold(t.ledger, { ...ask, account })
  await restore()
  for (const file of [at('backup.db'), at('restored/till.db')])
    expect(statSync(file).mode & 0o777).toBe(0o600)
  expect(readdirSync(at('restored'))).toEqual(['till.db'])
  expect(readdirSync(t.folder).filter((name) => name.includes('partial'))).toEqual([])

  const till = await openRestored()
  expect(await openRestore(till.db)).toEqual({ backupAt: t.clock.now() })
  expect(await getBalance(till, account)).toMatchObject({ available: 999_960n, held: 0n })
  await expect(hold(till, { ...ask, account })).rejects.toMatchObject({ code: 'frozen' })
  // What was paid for before is still answered.
  expect(await hold(till, { ...ask, account, idempotency: keyed })).toMatchObject({ kind: 'replayed' })
  const grant = { ref: 'g', account, credits: 1n, kind: 'grant', expiresAt: null, at: 0 } as const
  await expect(till.db.commit(grantStatements(grant))).rejects.toThrow('the till was restored')
  await checkBooks(till.db)

  await till.db.commit([confirmRestore(1_000, t.clock.now())])
  expect(await openRestore(till.db)).toBeNull()
  expect(await hold(till, { ...ask, account })).toMatchObject({ kind: 'held' })
  await till.db.commit(grantStatements(grant))
  await checkBooks(till.db)
})

test('a file without anything in it is no backup', async () => {
  writeFileSync(at('empty.db'), '')
  await expect(restore(at('empty.db'))).rejects.toMatchObject({ code: 'invalid_config' })
  expect(readdirSync(at('restored'))).toEqual([])
})

test('a copy with a log beside it is made one file first: its last commits are in the log', async () => {
  await hold(t.ledger, { ...ask, account })
  // As somebody copies the files of a till that runs, or was killed.
  const database = pathOf(t.url)
  for (const end of ['', '-wal']) copyFileSync(database + end, at(`copy.db${end}`))
  expect(statSync(at('copy.db-wal')).size).toBeGreaterThan(0)
  await expect(restore(at('copy.db'))).rejects.toMatchObject({
    code: 'conflict',
    remedy: expect.stringContaining('bursar backup'),
  })
  await backup(at('whole.db'), `file:${at('copy.db')}`)
  await restore(at('whole.db'))
  expect(await getBalance(await openRestored(), account)).toMatchObject({ held: 100n })
})

test('paths are taken as they are, whatever is in them', async () => {
  const [to, place] = [at('50%25 off #1?.db'), at('shop #1?/till.db')]
  await backup(to)
  await restoreDatabase({ url: fileUrl(place), backup: to, runtime: t.runtime, check })
  expect(existsSync(place)).toBe(true)
  expect(readdirSync(t.folder)).toContain('50%25 off #1?.db')
})

test('the till that was backed up is not frozen, nor is it touched', async () => {
  await backup()
  expect(await openRestore(t.db)).toBeNull()
  expect(await hold(t.ledger, { ...ask, account })).toMatchObject({ kind: 'held' })
})

test('a hold that was open then can still end: only new ones are refused', async () => {
  await hold(t.ledger, { ...ask, account, idempotency: keyed })
  await backup()
  await restore()
  const till = await openRestored()
  expect(await hold(till, { ...ask, account, idempotency: keyed })).toMatchObject({ kind: 'running' })
  const [{ ref } = { ref: '' }] = await till.db.query<{ ref: string }>('SELECT ref FROM hold')
  await till.changes.add({ kind: 'release', ref, account, cost: 0n, outcome: {} })
  expect(await getBalance(till, account)).toMatchObject({ available: 1_000_000n, held: 0n })
})

test('nothing is overwritten', async () => {
  writeFileSync(at('backup.db'), 'mine')
  await expect(backup()).rejects.toMatchObject({ code: 'conflict' })
  expect(readFileSync(at('backup.db'), 'utf8')).toBe('mine')
  await backup(at('other.db'))
  await expect(restore(at('other.db'), at('test.db'))).rejects.toMatchObject({ code: 'conflict' })
  // A log that was left behind would be read into the restored file.
  writeFileSync(at('gone.db-wal'), 'left')
  await expect(restore(at('other.db'), at('gone.db'))).rejects.toMatchObject({ code: 'conflict' })
  expect(existsSync(at('gone.db'))).toBe(false)
})

test('a file that fails its check is not put in place, and nothing is left of it', async () => {
  await backup()
  const refused = new Error('it is not right')
  const given = { url: `file:${at('new.db')}`, backup: at('backup.db'), runtime: t.runtime }
  await expect(restoreDatabase({ ...given, check: () => Promise.reject(refused) })).rejects.toMatchObject({
    code: 'database_unavailable',
    cause: refused,
  })
  expect(readdirSync(t.folder).filter((name) => name.startsWith('new.db'))).toEqual([])
})

test('a copy that was made in another way is frozen too', async () => {
  await t.db.commit([statement('UPDATE account SET external_id = ?', ['alice'])])
  const copy = at('plain.db')
  await backup(copy)
  const { sql, args } = confirmRestore(0, 1)
  const plain = new DatabaseSync(copy)
  expect(plain.prepare(sql).run(...args)).toMatchObject({ changes: 1 })
  plain.close()
  await restore(copy)
  expect(await openRestore((await openRestored()).db)).toEqual({ backupAt: t.clock.now() })
})

test('a backup of an older version is brought to this one', async () => {
  const sql = readFileSync(new URL('fixtures/0001.sql', import.meta.url), 'utf8')
  await load(`file:${at('old.db')}`, sql)
  await restore(at('old.db'))
  const till = await openRestored()
  expect(await openRestore(till.db)).not.toBeNull()
  await checkBooks(till.db)
})

test.each([
  ['no database', () => backup(at('b.db'), `file:${at('nowhere.db')}`), 'not_found'],
  ['a server', () => backup(at('b.db'), 'http://127.0.0.1:9'), 'invalid_config'],
  ['a folder that is not there', () => backup(at('no/such/folder/b.db')), 'database_unavailable'],
  ['no backup', () => restore(at('nowhere.db')), 'not_found'],
])('%s is said plainly', async (_, run, code) => {
  await expect(run()).rejects.toMatchObject({ code })
  expect(existsSync(at('b.db'))).toBe(false)
})

test('what is no backup is refused', async () => {
  writeFileSync(at('text.db'), 'not a database at all, but long enough to look at'.repeat(20))
  await expect(restore(at('text.db'))).rejects.toMatchObject({ code: 'database_unavailable' })
  await load(`file:${at('foreign.db')}`, 'CREATE TABLE theirs (a);')
  await expect(restore(at('foreign.db'))).rejects.toMatchObject({ code: 'invalid_config' })
  expect(existsSync(at('restored/till.db'))).toBe(false)
})

test('a file in which a query would not end is refused, also as a backup, and nothing is left of it', async () => {
  await backup()
  await makeMaze(at('backup.db'), 'posting')
  const damaged = { code: 'database_unavailable', message: expect.stringContaining('damaged') }
  await expect(backup(at('second.db'), `file:${at('backup.db')}`)).rejects.toMatchObject(damaged)
  await expect(restore()).rejects.toMatchObject(damaged)
  expect(existsSync(at('second.db'))).toBe(false)
  expect(existsSync(at('restored/till.db'))).toBe(false)
})
