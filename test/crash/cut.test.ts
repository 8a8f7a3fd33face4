/**
 * A power cut: kill -9 leaves the page cache alive, so the log of a killed ledger is cut at bytes that a disk could have
 * been left with. Here densely, over logs that have been checkpointed and begun anew; crash.test.ts does it after each kill.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { statement } from '../../src/db/db.ts'
import { seededRuntime } from '../support/chance.ts'
import { dump } from '../support/dump.ts'
import { type Acknowledged, createLog, type Log, readLog } from './acknowledged.ts'
import { compare } from './compare.ts'
import { compareCut, survivingFrame, TAILS, writeCut } from './cut.ts'
import { startTeller, type Teller } from './teller.ts'
import { copyDatabase, readWal, type Wal, walPosition } from './wal.ts'

const runtime = seededRuntime()

let folder: string
let files = 0
let killed: string
let wal: Wal
let acknowledged: Acknowledged[]
let journal: readonly string[]

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bursar-cut-'))
  const database = join(folder, 'till.db')
  await makeDatabase(database)
  const life = startTeller(`file:${database}`, ['--no-warnings'], process.env)
  const log = createLog(join(folder, 'acknowledged.jsonl'), database)
  const desk = await life.ready
  const logs = new Set<string>()
  // Until the log has begun anew, and has grown again beyond what was checkpointed.
  let sinceThen = 0
  for (let round = 0; logs.size < 2 || walPosition(database).frame < 100 || sinceThen < 8; round++) {
    await Promise.all([0, 1, 2, 3].map((n) => call(desk, log, `call-${round * 4 + n}`)))
    const { salt } = walPosition(database)
    sinceThen = logs.has(salt) ? sinceThen + 1 : 0
    logs.add(salt)
  }
  life.child.kill('SIGKILL')
  await life.ended
  killed = join(folder, 'killed.db')
  acknowledged = readLog(log.path, log.count)
  copyDatabase(database, killed, { index: true })
  const found = readWal(killed)
  if (!found) throw new Error('there is no log')
  wal = found
  const whole = newFile()
  copyDatabase(killed, whole)
  const compared = await compare(whole, acknowledged)
  // The credits come from no payment.
  expect(compared.problems.filter((problem) => !problem.startsWith('grant_without_payment'))).toEqual([])
  journal = compared.journal
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const newFile = (): string => join(folder, `copy-${++files}.db`)

async function makeDatabase(path: string): Promise<void> {
  const db = await openDb({ url: `file:${path}`, runtime })
  await db.commit([
    statement("INSERT INTO account (id, created_at) VALUES ('acc', 0)"),
    statement(
      `INSERT INTO posting (ref, phase, kind, account, available, held, book, counter, at)
       VALUES ('pay:test:0x0:1', 0, 'grant', 'acc', 1000000000, 0, 'payments', -1000000000, 0)`,
    ),
    statement(
      `INSERT INTO lot (ref, account, granted, remaining, expires_at, at)
       VALUES ('pay:test:0x0:1', 'acc', 1000000000, 1000000000, 253402300799999, 0)`,
    ),
  ])
  await db.close()
}

async function call(desk: Teller, log: Log, key: string): Promise<void> {
  const held = { kind: 'hold', account: 'acc', key, micro: '5000', lapseMicro: '0' } as const
  const { ref } = await desk.ask(held)
  log.add({ kind: 'held', account: 'acc', key, ref, micro: '5000' })
  await desk.ask({ kind: 'capture', account: 'acc', ref, micro: '1234' })
  log.add({ kind: 'closed', ref, as: 'capture', micro: '1234' })
}

async function contentOf(end: number, tail: (typeof TAILS)[number]): Promise<string> {
  const path = newFile()
  writeCut(killed, path, wal, end, tail)
  const db = await openDb({ url: `file:${path}`, runtime })
  try {
    return await dump(db)
  } finally {
    await db.close()
  }
}

/** A byte past the checkpoint, up to the end of the last commit. */
const someByte = () =>
  fc.noBias(fc.integer({ min: wal.endOf(wal.checkpointed), max: wal.endOf(wal.commits.at(-1) ?? 0) }))

test('a cut at any byte past the checkpoint keeps what was acknowledged before it, and verifies', async () => {
  expect(acknowledged.filter(({ at }) => at.salt === wal.salt).length).toBeGreaterThan(20)
  expect(acknowledged.filter(({ at }) => at.salt !== wal.salt).length).toBeGreaterThan(20)
  await fc.assert(
    fc.asyncProperty(someByte(), fc.constantFrom(...TAILS), async (end, tail) => {
      const given = { from: killed, to: newFile(), wal, end, tail, acknowledged, journal }
      const problems = await compareCut(given)
      expect(problems.filter((problem) => !problem.includes('grant_without_payment'))).toEqual([])
    }),
    { numRuns: 25 },
  )
})

test('a commit that is cut in two leaves no trace', async () => {
  await fc.assert(
    fc.asyncProperty(someByte(), fc.constantFrom(...TAILS), async (end, tail) => {
      const before = wal.endOf(Math.max(survivingFrame(wal, end), wal.checkpointed))
      expect(await contentOf(end, tail)).toBe(await contentOf(before, 'nothing'))
    }),
    { numRuns: 15 },
  )
})

test('a cut one commit earlier does lose the last one that was acknowledged: the comparison sees it', async () => {
  const path = newFile()
  const last = wal.commits.at(-1) ?? 0
  writeCut(killed, path, wal, wal.endOf(last) - 1, 'nothing')
  const { problems } = await compare(path, acknowledged)
  expect(problems.some((problem) => problem.startsWith('the outcome is lost'))).toBe(true)
})
