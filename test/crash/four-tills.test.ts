/** Four whole tills on one file, one account: what is affordable is sold, and not one call more. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import type { Db } from '../../src/db/db.ts'
import { createAccount } from '../../src/ledger/accounts.ts'
import { grantStatements } from '../../src/ledger/grant.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { systemRuntime } from '../../src/runtime.ts'
import { checkBooks } from '../support/books.ts'
import { completes, refuses, type ScriptedUpstream, startScriptedUpstream } from '../support/upstream.ts'

const CALLER = fileURLToPath(new URL('children/caller.ts', import.meta.url))
const PRICE = 250_000n
const AFFORDABLE = 150n

let folder: string
let upstream: ScriptedUpstream
let db: Db
let refused: number
const stopping: (() => void)[] = []

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bursar-four-'))
  refused = 0
  let asked = 0
  const refuse = refuses(500, 'server_error')
  const complete = completes()
  // Every tenth call fails and gives back what it held: others may have it.
  upstream = await startScriptedUpstream((response, received) => {
    const fails = ++asked % 10 === 0
    if (fails) refused++
    setTimeout(() => (fails ? refuse : complete)(response, received), asked % 7)
  })
  db = await openDb({ url: `file:${join(folder, 'till.db')}`, runtime: systemRuntime('silent') })
})
afterEach(async () => {
  for (const stop of stopping.splice(0)) stop()
  await db.close()
  await upstream.stop()
  rmSync(folder, { recursive: true, force: true })
})

test('four tills spend one account: exactly what is affordable, the balance never below zero', async () => {
  const ledger = openLedger({ db, runtime: systemRuntime('silent') })
  const { id } = await createAccount(ledger, { externalId: 'shared' })
  const credits = PRICE * AFFORDABLE + 100_000n
  const grant = {
    ref: 'given',
    account: id,
    credits,
    kind: 'grant',
    expiresAt: null,
    at: Date.now(),
  } as const
  await db.commit(grantStatements(grant))
  const config = join(folder, 'bursar.config.json')
  writeFileSync(config, JSON.stringify(configuration()))
  const tills = [1, 2, 3, 4].map(() => startCaller(config))
  await Promise.all(tills.map(({ ready }) => ready))

  const watching = new AbortController()
  const lowest = lowestBalance(id, watching.signal)
  for (const { go } of tills) go()
  const answered = await Promise.all(tills.map(({ answered }) => answered))
  watching.abort()

  expect(answered.reduce((sum, each) => sum + each, 0)).toBe(Number(AFFORDABLE))
  expect(answered.filter((each) => each > 0).length, 'they did compete').toBeGreaterThan(1)
  expect(upstream.received.length - refused, 'each call that was sold was sent once').toBe(Number(AFFORDABLE))
  const { seen, times } = await lowest
  expect(times, 'the balance was looked at all along').toBeGreaterThan(10)
  expect(seen).toBeGreaterThanOrEqual(0n)
  expect(await db.query('SELECT available, held FROM account')).toEqual([{ available: 100_000n, held: 0n }])
  await checkBooks(db)
})

function configuration(): Record<string, unknown> {
  return {
    database: join(folder, 'till.db'),
    upstreams: { main: { base_url: upstream.baseUrl } },
    models: { fixed: { upstream: 'main', credits_per_call: '0.25' } },
  }
}

interface Caller {
  readonly ready: Promise<unknown>
  readonly answered: Promise<number>
  go(): void
}

function startCaller(config: string): Caller {
  const env = { ...process.env, BURSAR_DATA: folder }
  const child = spawn(process.execPath, ['--no-warnings', CALLER, config, 'shared'], {
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  stopping.push(() => void child.kill('SIGKILL'))
  let text = ''
  const answered = once(child, 'close').then(() => Number(/answered (\d+)/.exec(text)?.[1]))
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  return { ready: once(child.stdout, 'data'), answered, go: () => void child.stdin.write('go\n') }
}

async function lowestBalance(
  account: string,
  until: AbortSignal,
): Promise<{ readonly seen: bigint; readonly times: number }> {
  let [seen, times] = [2n ** 62n, 0]
  for (; !until.aborted; times++) {
    const [row] = await db.query<{ available: bigint }>('SELECT available FROM account WHERE id = ?', [
      account,
    ])
    if (row && row.available < seen) seen = row.available
    await delay(2)
  }
  return { seen, times }
}
