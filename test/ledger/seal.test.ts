import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { statement } from '../../src/db/db.ts'
import { hold } from '../../src/ledger/hold.ts'
import { GENESIS, readHead } from '../../src/ledger/seal.ts'
import { createSealer, keepSealed } from '../../src/ledger/sealer.ts'
import { verifyDatabase } from '../../src/ledger/verify/verify.ts'
import { type TestLedger, testLedger } from '../support/database.ts'
import { load } from '../support/dump.ts'
import { printed, type Started, start } from '../support/process.ts'

let t: TestLedger
let account: string
beforeEach(async () => {
  t = await testLedger()
  account = await t.account(1_000_000_000n)
})
afterEach(() => t.close())

/** Two postings. */
async function call(): Promise<void> {
  const result = await hold(t.ledger, { account, amount: 1_000n, lifetimeMs: 3_600_000 })
  if (result.kind === 'held') await result.hold.capture(10n)
}

/** So many postings in one commit, of nothing. */
async function grantMany(count: number): Promise<void> {
  await t.db.commit([
    statement(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
       INSERT INTO posting (ref, phase, kind, account, available, held, book, counter, at)
       SELECT 'grant_' || i, 0, 'grant', ?1, 0, 0, 'payments', 0, 0 FROM n`,
      [account, BigInt(count)],
    ),
  ])
}

const ranges = async () =>
  (
    await t.db.query<{ number: bigint; first_posting: bigint; last_posting: bigint }>(
      'SELECT number, first_posting, last_posting FROM seal ORDER BY number',
    )
  ).map((row) => [row.number, row.first_posting, row.last_posting])

/** Grants of these tests have no payments; nothing else may be found. */
async function sealProblems() {
  const { findings } = await verifyDatabase({ url: t.url, runtime: t.runtime })
  return findings.filter(({ kind }) => kind !== 'grant_without_payment')
}

describe('a sealer', () => {
  test('seals what has been committed, each posting once, and nothing when there is nothing new', async () => {
    const sealer = createSealer(t.ledger)
    expect(await sealer.step()).toMatchObject({
      number: 1n,
      firstPosting: 1n,
      lastPosting: 1n,
      previous: GENESIS,
    })
    expect(await sealer.step()).toBeNull()
    await call()
    await call()
    const second = await sealer.step()
    expect(await ranges()).toEqual([
      [1n, 1n, 1n],
      [2n, 2n, 5n],
    ])
    expect(await readHead(t.db)).toEqual({ number: 2n, lastPosting: 5n, hash: second?.hash })
    expect(await sealProblems()).toEqual([])
  })

  test('bounds a seal, and goes on with the next', async () => {
    await grantMany(20_000)
    const stop = new AbortController()
    const sealing = keepSealed(t.ledger, stop.signal)
    await expect.poll(() => readHead(t.db)).toMatchObject({ lastPosting: 20_001n })
    stop.abort()
    await sealing
    const [first, second] = await ranges()
    expect(first).toEqual([1n, 1n, 16_384n])
    expect(second).toEqual([2n, 16_385n, 20_001n])
    expect(await sealProblems()).toEqual([])
  })

  test('leaves it to the holder of the lease, and follows when that is gone', async () => {
    const one = createSealer(t.ledger)
    const two = createSealer(t.ledger)
    await one.step()
    await call()
    expect(await two.step()).toBeNull()
    expect(await one.step()).not.toBeNull()
    await call()
    t.clock.advance(30_000)
    expect(await two.step()).toMatchObject({ number: 3n })
    await call()
    await two.close()
    expect(await createSealer(t.ledger).step()).toMatchObject({ number: 4n })
    expect(await sealProblems()).toEqual([])
  })

  test('that was paused past its lease writes nothing', async () => {
    await grantMany(600)
    const pause = Promise.withResolvers<void>()
    const reached = Promise.withResolvers<void>()
    const paused = createSealer({
      db: t.db,
      runtime: {
        ...t.runtime,
        async sleep() {
          reached.resolve()
          await pause.promise
        },
      },
    })
    const late = paused.step()
    await reached.promise
    t.clock.advance(30_000)
    await call()
    const other = await createSealer(t.ledger).step()
    pause.resolve()
    await expect(late).rejects.toMatchObject({ code: 'conflict' })
    expect(await ranges()).toEqual([[1n, 1n, 603n]])
    expect(await readHead(t.db)).toMatchObject({ hash: other?.hash })
  })

  test('cannot write a seal that does not continue the chain, nor change one', async () => {
    await createSealer(t.ledger).step()
    await call()
    const insert = (number: bigint, first: bigint, last: bigint, previous: string) =>
      t.db.commit([
        statement('INSERT INTO seal VALUES (?, ?, ?, ?, 0, ?, ?, 0)', [
          number,
          first,
          last,
          'd',
          previous,
          'h',
        ]),
      ])
    const { hash } = await readHead(t.db)
    await expect(insert(3n, 2n, 3n, hash)).rejects.toThrow(/does not continue/)
    await expect(insert(2n, 3n, 3n, hash)).rejects.toThrow(/does not continue/)
    await expect(insert(2n, 2n, 3n, GENESIS)).rejects.toThrow(/does not continue/)
    await expect(insert(2n, 2n, 4n, hash)).rejects.toThrow(/does not continue/)
    await expect(t.db.commit([statement('UPDATE seal SET at = 0')])).rejects.toThrow(/append-only/)
    await expect(t.db.commit([statement('DELETE FROM seal')])).rejects.toThrow(/append-only/)
    await insert(2n, 2n, 3n, hash)
  })

  test('lets others write between its pages, and does not run after what they write', async () => {
    await grantMany(600)
    let pauses = 0
    const sealer = createSealer({
      db: t.db,
      runtime: {
        ...t.runtime,
        async sleep() {
          pauses++
          await call()
        },
      },
    })
    expect(await sealer.step()).toMatchObject({ firstPosting: 1n, lastPosting: 605n })
    expect(pauses).toBe(2)
    expect(await sealer.step()).toBeNull()
    expect(await sealProblems()).toEqual([])
  })

  test('stops when asked to, between two pages, and gives the lease back', async () => {
    await grantMany(600)
    const stop = new AbortController()
    const runtime = {
      ...t.runtime,
      sleep(ms: number, signal?: AbortSignal) {
        stop.abort()
        return t.runtime.sleep(ms, signal)
      },
    }
    await keepSealed({ ...t.ledger, runtime }, stop.signal)
    expect(await ranges()).toEqual([])
    const open = await t.db.query("SELECT expires_at FROM lease WHERE name = 'seal'")
    expect(open).toEqual([{ expires_at: 0n }])
  })
})

describe('sealers in several processes, killed at any moment', () => {
  const program = fileURLToPath(new URL('children/sealer.ts', import.meta.url))

  test('make one chain, and lose no seal that they told of', async () => {
    const all: Started[] = []
    // One clock for all: a process that starts late must not wait for leases that lapsed long ago.
    const from = String(Date.now())
    const begin = async (): Promise<Started> => {
      const started = start(process.execPath, [program, t.url, from])
      all.push(started)
      await printed(started, /ready/)
      return started
    }
    let running = [await begin(), await begin(), await begin()]
    const writing = { done: false }
    const writer = (async () => {
      while (!writing.done) {
        await call()
        await t.runtime.sleep(2)
      }
    })()
    try {
      for (let kills = 0; kills < 3; kills++) {
        const { number } = await readHead(t.db)
        await expect.poll(async () => (await readHead(t.db)).number).toBeGreaterThan(number + 2n)
        const [busiest] = running.toSorted((a, b) => b.output().length - a.output().length)
        await busiest?.stop('SIGKILL')
        running = [...running.filter((each) => each !== busiest), await begin()]
      }
    } finally {
      writing.done = true
      await writer
      await Promise.all(running.map((each) => each.stop('SIGKILL')))
    }
    const told = all.flatMap((each) =>
      [...each.output().matchAll(/sealed (\d+) (\w+)/g)].map(([, n, h]) => [n, h]),
    )
    expect(new Set(told.map(([number]) => number)).size, 'no seal is made twice').toBe(told.length)
    const stored = await t.db.query<{ number: bigint; hash: string }>('SELECT number, hash FROM seal')
    const hashes = new Map(stored.map(({ number, hash }) => [String(number), hash]))
    // Each of the three rounds saw at least three seals; a kill may cut off the word of one, per process.
    expect(told.length).toBeGreaterThanOrEqual(9 - all.length)
    for (const [number = '', hash] of told) expect(hashes.get(number)).toBe(hash)
    expect(await sealProblems()).toEqual([])
  })
})

test('seals of a released version still fit: the canonical line of a posting has not changed', async () => {
  const url = `file:${join(t.folder, 'released.db')}`
  await load(url, await readFile(new URL('../db/fixtures/0002.sql', import.meta.url), 'utf8'))
  await (await openDb({ url, runtime: t.runtime })).close()
  const { counts, findings } = await verifyDatabase({ url, runtime: t.runtime })
  expect(counts?.sealed_postings).toBeGreaterThan(5)
  const about = findings.map(({ kind }) => kind).filter((kind) => /^(posting|seal|journal|head)_/.test(kind))
  expect(about).toEqual([])
})
