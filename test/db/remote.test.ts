/** The same program on a libSQL server, over a network that loses things. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { type Db, guard, statement } from '../../src/db/db.ts'
import { BursarError } from '../../src/errors.ts'
import { createAgent, getAgent } from '../../src/ledger/agents.ts'
import { getBalance } from '../../src/ledger/balance.ts'
import { grantStatements } from '../../src/ledger/grant.ts'
import { hold } from '../../src/ledger/hold.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { checkBooks } from '../support/books.ts'
import { insertAccount } from '../support/database.ts'
import { type Accident, type HranaServer, startHrana } from '../support/hrana.ts'
import { testRuntime } from '../support/runtime.ts'

let folder: string
let server: HranaServer
let db: Db
let ledger: Ledger
const runtime = testRuntime()

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bursar-test-'))
  server = await startHrana(join(folder, 'server.db'))
  db = await openDb({ url: server.url, runtime })
  ledger = openLedger({ db, runtime })
  await db.commit([insertAccount('acc_1', 1)])
  await db.commit(
    grantStatements({ ref: 'g', account: 'acc_1', credits: 1_000n, kind: 'grant', expiresAt: null, at: 1 }),
  )
})
afterEach(async () => {
  await checkBooks(db)
  await ledger.close()
  await server.close()
  await rm(folder, { recursive: true, force: true })
})

const bump = (by: bigint) => [
  statement(`INSERT INTO spend (account, hour, charged) VALUES ('acc_1', ?, 0)`, [by]),
  statement('SELECT count(*) AS rows, 9007199254740993 AS big FROM spend'),
]
const spendRows = async () => (await db.query<{ n: bigint }>('SELECT count(*) AS n FROM spend'))[0]?.n

test('commits, guards and reads as on a file', async () => {
  expect(await db.commit(bump(1n))).toEqual([[], [{ rows: 1n, big: 9_007_199_254_740_993n }]])
  const meant = new BursarError('conflict', 'meant')
  await expect(db.commit([...bump(2n), guard('1 = 0', [], () => meant)])).rejects.toBe(meant)
  await expect(db.commit(bump(1n))).rejects.toThrow(/UNIQUE/)
  expect(await spendRows()).toBe(1n)
  // Each commit is one request: nothing else may cost a round trip.
  const before = server.writes()
  await db.commit(bump(3n))
  expect(server.writes()).toBe(before + 1)
})

const accidents: Accident[][] = [
  ['answer'],
  ['request'],
  ['late'],
  ['request', 'answer'],
  ['late', 'request', 'late'],
]

test.each(accidents)('a commit is applied once when the network loses: %s', async (...lost) => {
  server.lose(...lost)
  const [, rows] = await db.commit(bump(7n))
  expect(rows).toEqual([{ rows: 1n, big: 9_007_199_254_740_993n }])
  expect(await spendRows()).toBe(1n)
})

test.each(accidents)('holds and captures happen once when the network loses: %s', async (...lost) => {
  server.lose(...lost)
  const result = await hold(ledger, { account: 'acc_1', amount: 100n, lifetimeMs: 1_000 })
  if (result.kind !== 'held') throw new Error(result.kind)
  expect(await getBalance(ledger, 'acc_1')).toMatchObject({ available: 900n, held: 100n })
  server.lose(...lost)
  expect(await result.hold.capture(40n)).toEqual({ charged: 40n, available: 960n })
  expect(await getBalance(ledger, 'acc_1')).toMatchObject({ available: 960n, held: 0n })
})

test('an allowance is counted once when the network loses answers', async () => {
  const { id: agent } = await createAgent(ledger, {
    account: 'acc_1',
    name: 'coder',
    allowance: { perDay: 100n },
  })
  const take = (amount: bigint) => hold(ledger, { account: 'acc_1', agent, amount, lifetimeMs: 1_000 })
  server.lose('answer')
  const result = await take(60n)
  if (result.kind !== 'held') throw new Error(result.kind)
  server.lose('answer')
  await expect(take(41n)).rejects.toMatchObject({ code: 'allowance_exceeded' })
  server.lose('late')
  await result.hold.capture(10n)
  expect((await getAgent(ledger, { agent })).allowance.day).toEqual({ held: 0n, charged: 10n })
  expect(await take(90n)).toMatchObject({ kind: 'held' })
})

test('a server that never answers is an error that says what is unknown', async () => {
  const impatient = { ...runtime, sleep: () => Promise.resolve() }
  const other = await openDb({ url: server.url, runtime: impatient })
  server.lose(...Array<Accident>(1_000).fill('request'))
  await expect(other.commit(bump(9n))).rejects.toMatchObject({
    code: 'database_unavailable',
    message: expect.stringContaining('not known') as string,
  })
  await other.close()
  server.recover()
  expect(await spendRows()).toBe(0n)
})
