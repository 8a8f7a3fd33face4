/** Four whole tills on one file, one account: what is affordable is sold, and not one call more. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import type { Db } from '../../src/db/db.ts'
import { createAccount } from '../../src/ledger/accounts.ts'
import { grantStatements } from '../../src/ledger/grant.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { checkBooks } from '../support/books.ts'
import { seededRuntime } from '../support/chance.ts'
import { completes, refuses, type ScriptedUpstream, startScriptedUpstream } from '../support/upstream.ts'

const CALLER = fileURLToPath(new URL('children/caller.ts', import.meta.url))
const PRICE = 250_000n
const AFFORDABLE = 150n
const TILLS = 4
const CALLERS = 8

let folder: string
let upstream: ScriptedUpstream
let db: Db
let refused: number
let lowest: bigint
const runtime = seededRuntime()
const stopping: (() => void)[] = []

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bursar-four-'))
  refused = 0
  lowest = 2n ** 62n
  let asked = 0
  const competing = Promise.withResolvers<void>()
  const refuse = refuses(500, 'server_error')
  const complete = completes()
  // Every tenth call fails and gives back what it held: others may have it.
  upstream = await startScriptedUpstream((response, received) => {
    const fails = ++asked % 10 === 0
    if (fails) refused++
    // The first answers wait until every caller of every till has a call out: from there on they compete.
    if (asked === TILLS * CALLERS) competing.resolve()
    const late = asked % 7
    void competing.promise
      .then(() => runtime.sleep(late))
      .then(lookAtBalance)
      .then(() => (fails ? refuse : complete)(response, received))
  })
  db = await openDb({ url: `file:${join(folder, 'till.db')}`, runtime })
})
afterEach(async () => {
  for (const stop of stopping.splice(0)) stop()
  await db.close()
  await upstream.stop()
  rmSync(folder, { recursive: true, force: true })
})

test('four tills spend one account: exactly what is affordable, the balance never below zero', async () => {
  const ledger = openLedger({ db, runtime })
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
  const tills = Array.from({ length: TILLS }, () => startCaller(config))
  await Promise.all(tills.map(({ ready }) => ready))

  for (const { go } of tills) go()
  const answered = await Promise.all(tills.map(({ answered }) => answered))

  expect(answered.reduce((sum, each) => sum + each, 0)).toBe(Number(AFFORDABLE))
  expect(Math.min(...answered), 'they did compete').toBeGreaterThan(0)
  expect(upstream.received.length - refused, 'each call that was sold was sent once').toBe(Number(AFFORDABLE))
  expect(lowest).toBeGreaterThanOrEqual(0n)
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
  const child = spawn(process.execPath, ['--no-warnings', CALLER, config, 'shared', String(CALLERS)], {
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

/** While calls are out. */
async function lookAtBalance(): Promise<void> {
  const [row] = await db.query<{ available: bigint }>('SELECT available FROM account')
  if (row && row.available < lowest) lowest = row.available
}
