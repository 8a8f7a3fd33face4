/** Several processes on one file: they spend exactly what there is, and nothing that they acknowledged gets lost. */
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { getBalance } from '../../src/ledger/balance.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import { checkBooks } from '../support/books.ts'
import { type TestLedger, testLedger } from '../support/database.ts'
import { printed, type Started, start } from '../support/process.ts'

let t: TestLedger
let children: Started[] = []
beforeEach(async () => {
  t = await testLedger()
})
afterEach(async () => {
  await Promise.all(children.map((child) => child.stop('SIGKILL')))
  children = []
  await t.close()
})

function spenders(account: string, price: bigint, ...more: string[]): Started[] {
  const script = fileURLToPath(new URL('children/spender.ts', import.meta.url))
  children = [1, 2, 3, 4].map(() => start(process.execPath, [script, t.url, account, String(price), ...more]))
  return children
}

const linesOf = (child: Started, word: string): string[] =>
  [...child.output().matchAll(new RegExp(`^${word} (.+)$`, 'gm'))].map(([, rest]) => rest ?? '')

/** Resolves when a child has printed so many captures. */
function captures(child: Started, count: number): Promise<void> {
  return new Promise((resolve, reject) => {
    child.child.on('close', () => reject(new Error(child.output())))
    child.child.stdout?.on('data', () => {
      if (linesOf(child, 'captured').length >= count) resolve()
    })
  })
}

test('four processes spend one account: exactly what is affordable, not one call more', async () => {
  const price = 7n
  const account = await t.account(price * 3_000n + 3n)
  const processes = spenders(account, price, '', 'together')
  // None goes on before all have begun: they do compete.
  await Promise.all(processes.map((child) => printed(child, /^begun$/m)))
  for (const { child } of processes) child.kill('SIGUSR2')
  await Promise.all(processes.map((child) => printed(child, /^done \d+$/m)))
  const holds = processes.map((child) => Number(linesOf(child, 'done')[0]))
  expect(holds.reduce((sum, each) => sum + each, 0)).toBe(3_000)
  expect(Math.min(...holds)).toBeGreaterThan(0)
  expect(await getBalance(t.ledger, account)).toMatchObject({ available: 3n, held: 0n })
  await checkBooks(t.db)
})

test('killed in the middle, every hold and capture that was acknowledged is there', async () => {
  const account = await t.account(1_000_000_000_000n)
  const processes = spenders(account, 5n)
  // Each is killed at another moment, when its output has come so far.
  await Promise.all(
    processes.map(async (child, n) => {
      await captures(child, 30 + n * 40)
      await child.stop('SIGKILL')
    }),
  )
  const captured = processes.flatMap((child) =>
    linesOf(child, 'captured').map((line) => line.split(' ')[0] ?? ''),
  )
  const held = processes.flatMap((child) => linesOf(child, 'held'))
  expect(captured.length).toBeGreaterThanOrEqual(360)
  const posted = await t.db.query<{ ref: string; phase: bigint }>('SELECT ref, phase FROM posting')
  const opened = new Set(posted.filter(({ phase }) => phase === 0n).map(({ ref }) => ref))
  const closed = new Set(posted.filter(({ phase }) => phase === 1n).map(({ ref }) => ref))
  expect(held.filter((ref) => !opened.has(ref))).toEqual([])
  expect(captured.filter((ref) => !closed.has(ref))).toEqual([])
  await checkBooks(t.db)
  // What was held when they died is given back when its lifetime ends.
  const { available, held: stuck } = await getBalance(t.ledger, account)
  t.clock.set(Date.now() + 3_700_000)
  expect(await lapseHolds(t.ledger)).toBe(Number(stuck / 5n))
  expect(await getBalance(t.ledger, account)).toMatchObject({ available: available + stuck, held: 0n })
  await checkBooks(t.db)
})
