/** A libSQL server whose answers are no answers: said in plain words, and nothing is booked twice. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import type { Db } from '../../src/db/db.ts'
import { declined, failureOf } from '../../src/db/failure.ts'
import { BursarError } from '../../src/errors.ts'
import { getBalance } from '../../src/ledger/balance.ts'
import { grantStatements } from '../../src/ledger/grant.ts'
import { hold } from '../../src/ledger/hold.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { checkBooks } from '../support/books.ts'
import { insertAccount } from '../support/database.ts'
import { type Accident, type HranaServer, startHrana } from '../support/hrana.ts'
import { testRuntime, turns } from '../support/runtime.ts'

let folder: string
let server: HranaServer
let db: Db

/** Waiting takes no time, but the clock goes on. */
function waiting() {
  const runtime = testRuntime()
  return { ...runtime, sleep: (ms: number) => turns(1).then(() => runtime.clock.advance(ms)) }
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bursar-test-'))
  server = await startHrana(join(folder, 'server.db'))
  db = await openDb({ url: `${server.url}?authToken=of-the-seller`, runtime: waiting() })
})
afterEach(async () => {
  await db.close()
  await server.close()
  await rm(folder, { recursive: true, force: true })
})

const write = () => db.commit([insertAccount('acc_1', 1)])
const told = async (work: Promise<unknown>): Promise<BursarError> => {
  const thrown: unknown = await work.then(
    () => null,
    (error: unknown) => error,
  )
  expect(thrown).toBeInstanceOf(BursarError)
  const error = thrown as BursarError
  expect(error.code).toBe('database_unavailable')
  expect(`${error.message} ${error.remedy}`).not.toMatch(/of-the-seller|nobody may see/)
  return error
}

test('the token in the URL is shown to the server', async () => {
  await write()
  expect(server.authorization()).toBe('Bearer of-the-seller')
})

describe('what a server declines is not tried again, and says what to do', () => {
  test.each([
    [401, 'does not take the token', 'BURSAR_DB'],
    [403, 'does not take the token', 'authToken'],
    [301, 'sends Bursar to another address', 'BURSAR_DB'],
    [307, 'sends Bursar to another address', 'BURSAR_DB'],
    [404, 'is no libSQL server', 'BURSAR_DB'],
    [413, 'refuses a request (HTTP 413)', 'log'],
  ])('HTTP %i', async (status, message, remedy) => {
    server.decline(status)
    for (const work of [write, () => db.query('SELECT 1')]) {
      const error = await told(work())
      expect(error.message).toContain(message)
      expect(error.remedy).toContain(remedy)
      expect(error.remedy).toContain('Nothing was changed')
    }
    server.recover()
    await write()
  })

  test('but for a write before it whose answer was lost', async () => {
    server.lose('answer')
    server.decline(401, 1)
    expect((await told(write())).remedy).toContain('not known')
    server.recover()
    expect(await db.query('SELECT id FROM account')).toEqual([{ id: 'acc_1' }])
  })

  test('nor is a connection that cannot be made safe', async () => {
    const error = await told(openDb({ url: server.url.replace('http:', 'https:'), runtime: waiting() }))
    expect(error.message).toContain('does not speak TLS')
  })

  test.each(['DEPTH_ZERO_SELF_SIGNED_CERT', 'CERT_HAS_EXPIRED', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'])(
    'nor is a certificate that nobody vouches for: %s',
    (code) => {
      // As undici throws it.
      const thrown = new TypeError('fetch failed', { cause: Object.assign(new Error('told'), { code }) })
      expect(failureOf(thrown, true)).toBe('declined')
      expect(declined(thrown).message).toContain(
        `certificate of the database server is not valid here (${code})`,
      )
    },
  )
})

describe('what a server cannot do for half a minute is told as what it was', () => {
  test.each<[Accident, string]>([
    ['gone', 'answers HTTP 503'],
    ['page', 'is no libSQL server'],
    ['request', 'does not answer'],
  ])('%s', async (accident, message) => {
    server.loseAny(...Array<Accident>(10_000).fill(accident))
    expect((await told(db.query('SELECT 1'))).message).toContain(message)
    const error = await told(write())
    expect(error.message).toContain(message)
    expect(error.message).toContain('not known')
    server.recover()
    expect(await db.query('SELECT id FROM account')).toEqual([])
  })
})

const ACCIDENTS: Accident[] = ['answer', 'request', 'late', 'half', 'gateway', 'gone', 'page']

test('whatever happens to any request, each call is held and charged once', async () => {
  const accident = fc.option(fc.constantFrom(...ACCIDENTS), { nil: undefined, freq: 2 })
  const calls = fc.array(
    fc.record({ cost: fc.bigInt({ min: 0n, max: 100n }), lost: fc.array(accident, { maxLength: 8 }) }),
    { minLength: 1, maxLength: 4 },
  )
  let round = 0
  await fc.assert(
    fc.asyncProperty(calls, async (made) => {
      round++
      const account = `acc_${round}`
      const ledger = openLedger({ db, runtime: waiting() })
      await db.commit([insertAccount(account, 1)])
      const grant = {
        ref: `g${round}`,
        account,
        credits: 1_000n,
        kind: 'grant',
        expiresAt: null,
        at: 1,
      } as const
      await db.commit(grantStatements(grant))
      for (const [index, { cost, lost }] of made.entries()) {
        // What is undefined passes.
        for (const each of lost) if (each) server.loseAny(each)
        const idempotency = { route: 'chat', key: `k${index}`, bodyHash: 'x' }
        const taken = await hold(ledger, { account, amount: 100n, lifetimeMs: 60_000, idempotency })
        if (taken.kind !== 'held') throw new Error(taken.kind)
        expect((await taken.hold.capture(cost)).charged).toBe(cost)
        // A repeat finds the key, and never runs again.
        await expect(
          hold(ledger, { account, amount: 100n, lifetimeMs: 60_000, idempotency }),
        ).rejects.toMatchObject({
          code: 'idempotency_conflict',
        })
      }
      server.recover()
      const charged = made.reduce((sum, { cost }) => sum + cost, 0n)
      expect(await getBalance(ledger, account)).toMatchObject({ available: 1_000n - charged, held: 0n })
      await checkBooks(db)
    }),
    { numRuns: 20 },
  )
})
