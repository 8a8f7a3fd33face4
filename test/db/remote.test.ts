/** The same program on a libSQL server, over a network that loses things. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LibsqlBatchError } from '@libsql/client'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ANSWER_MS, openDb } from '../../src/db/client.ts'
import { type Db, guard, statement } from '../../src/db/db.ts'
import { failureOf } from '../../src/db/failure.ts'
import { BursarError } from '../../src/errors.ts'
import { createAgent, getAgent } from '../../src/ledger/agents.ts'
import { getBalance } from '../../src/ledger/balance.ts'
import { grantStatements } from '../../src/ledger/grant.ts'
import { hold } from '../../src/ledger/hold.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { forgetOperations } from '../../src/ledger/upkeep.ts'
import { checkBooks } from '../support/books.ts'
import { insertAccount } from '../support/database.ts'
import { type Accident, type HranaServer, startHrana } from '../support/hrana.ts'
import { testRuntime, turns } from '../support/runtime.ts'

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
  ['half'],
  ['gateway'],
  ['gone', 'page', 'half', 'late', 'gateway'],
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

/** Waiting takes no time, but the clock goes on. */
function waitingRuntime() {
  const clocked = testRuntime()
  return { ...clocked, sleep: (ms: number) => turns(1).then(() => clocked.clock.advance(ms)) }
}

test('behind a server that is gone nobody waits for those before, and what waited was not sent', async () => {
  const waiting = waitingRuntime()
  const other = await openDb({ url: server.url, runtime: waiting })
  server.lose(...Array<Accident>(10_000).fill('request'))
  const asked = waiting.now()
  const waited = await Promise.all(
    [1n, 2n, 3n, 4n, 5n].map((hour) =>
      other.commit(bump(hour)).then(
        () => 'made',
        (refused: unknown) => {
          expect(refused).toMatchObject({ code: 'database_unavailable' })
          return waiting.now() - asked
        },
      ),
    ),
  )
  for (const ms of waited) expect(ms).toBeLessThan(31_000)
  server.recover()
  await other.commit(bump(6n))
  await other.close()
  expect(await db.query("SELECT hour FROM spend WHERE account = 'acc_1'")).toEqual([{ hour: 6n }])
})

test('holds behind a server that is gone are refused in time too, more than fit one group', async () => {
  const waiting = waitingRuntime()
  const other = openLedger({ db: await openDb({ url: server.url, runtime: waiting }), runtime: waiting })
  server.lose(...Array<Accident>(10_000).fill('request'))
  const asked = waiting.now()
  const waited = await Promise.all(
    Array.from({ length: 1_000 }, () =>
      hold(other, { account: 'acc_1', amount: 1n, lifetimeMs: 1_000 }).then(
        () => 'made',
        () => waiting.now() - asked,
      ),
    ),
  )
  for (const ms of waited) expect(ms).toBeLessThan(31_000)
  server.recover()
  await other.close()
})

test('a server that takes a commit and says nothing is asked again, and the commit is made once', async () => {
  server.lose('silence')
  const before = server.writes()
  const committed = db.commit(bump(8n))
  while (server.writes() === before) await turns(1)
  expect(runtime.elapse(ANSWER_MS)).toBe(1)
  expect(await committed).toEqual([[], [{ rows: 1n, big: 9_007_199_254_740_993n }]])
  expect(await spendRows()).toBe(1n)
})

test('a migration may take longer than a commit or a read', async () => {
  const limits: number[] = []
  const listening = {
    ...runtime,
    after(ms: number, task: () => void) {
      limits.push(ms)
      return runtime.after(ms, task)
    },
  }
  const empty = await startHrana(join(folder, 'empty.db'))
  const other = await openDb({ url: empty.url, runtime: listening })
  expect(empty.writes()).toBeGreaterThan(1)
  expect(limits).toEqual([])
  await other.commit([statement('DELETE FROM spend')])
  await other.query('SELECT 1')
  expect(new Set(limits)).toEqual(new Set([ANSWER_MS]))
  await other.close()
  await empty.close()
})

test('reads of a server that says nothing are refused in time, however many wait', async () => {
  const asked = server.fallSilent()
  const begun = runtime.now()
  const waiting = new Set(Array.from({ length: 100 }, (_, number) => number))
  const reads = [...waiting].map((number) =>
    db
      .query('SELECT 1')
      .then(
        () => 'read',
        (refused: BursarError) => refused.code,
      )
      .finally(() => waiting.delete(number)),
  )
  while (waiting.size > 0) {
    if (runtime.elapse(ANSWER_MS) > 0) runtime.clock.advance(ANSWER_MS)
    await turns(50)
  }
  expect(new Set(await Promise.all(reads))).toEqual(new Set(['database_unavailable']))
  expect(asked()).toBeGreaterThan(0)
  // A lost one is asked again until half a minute is over, and the last attempt may take as long as any.
  expect(runtime.now() - begun).toBeLessThanOrEqual(30_000 + 2 * ANSWER_MS)
  server.recover()
})

test.each([
  ['SQLITE_IOERR_FSYNC', 'broken'],
  ['SQLITE_FULL', 'broken'],
  ['SQLITE_BUSY_SNAPSHOT', 'busy'],
  ['SQLITE_CONSTRAINT_TRIGGER', 'refused'],
  ['SERVER_ERROR', 'lost'],
  ['SQLITE_ERROR', 'bug'],
])('a server names the extended code: %s is %s', (code, meaning) => {
  expect(failureOf(new LibsqlBatchError('said', 1, code), true)).toBe(meaning)
})

test('operations are forgotten after a day, found by their key and never by reading all of them', async () => {
  const day = 86_400_000
  const clocked = testRuntime(runtime.now())
  const ids = (count: number) => JSON.stringify(Array.from({ length: count }, () => clocked.id('op')))
  const add = (count: number) =>
    db.commit([
      statement('INSERT INTO operation SELECT value, ?2 FROM json_each(?1)', [
        ids(count),
        BigInt(clocked.now()),
      ]),
    ])
  clocked.clock.advance(-2 * day)
  await add(1_500)
  clocked.clock.advance(day + 1)
  await add(3)
  clocked.clock.advance(day - 1)
  const asked: string[] = []
  const listening = {
    ...db,
    query: <T>(sql: string, args?: Parameters<Db['query']>[1]) => {
      asked.push(sql)
      return db.query<T>(sql, args)
    },
    commit: (statements: Parameters<Db['commit']>[0]) => {
      asked.push(...statements.map(({ sql }) => sql))
      return db.commit(statements)
    },
  }
  const counted = async () =>
    (await db.query<{ n: bigint }>('SELECT count(*) AS n FROM operation'))[0]?.n ?? 0n
  const before = await counted()
  await forgetOperations({ db: listening, runtime: clocked })
  // Its own two commits have left theirs.
  expect(await counted()).toBe(before - 1_500n + 2n)
  for (const sql of asked) {
    const plan = await db.query<{ detail: string }>(
      `EXPLAIN QUERY PLAN ${sql}`,
      ['a', 1n].slice(0, sql.split('?').length - 1),
    )
    expect(plan.map(({ detail }) => detail).join()).toMatch(/^SEARCH operation USING PRIMARY KEY/)
  }
})
