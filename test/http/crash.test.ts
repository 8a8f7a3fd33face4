import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { getBalance } from '../../src/ledger/balance.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import { type TestLedger, testLedger } from '../support/database.ts'
import { printed, start } from '../support/process.ts'
import { hangs, type ScriptedUpstream, startScriptedUpstream } from '../support/upstream.ts'

const CALLS = 30
const CREDITS = 1_000_000n

let upstream: ScriptedUpstream
let till: TestLedger
beforeEach(async () => {
  upstream = await startScriptedUpstream(hangs)
  till = await testLedger()
})
afterEach(async () => {
  await upstream.stop()
  await till.close()
})

test('what reached the upstream before a kill -9 is held, and settles by itself; nothing else is', async () => {
  const account = await till.account(CREDITS)
  const script = fileURLToPath(new URL('./till-until-killed.ts', import.meta.url))
  const server = start(process.execPath, [script, till.url, upstream.baseUrl, account])
  const [, url, key] = await printed(server, /serving (\S+) (\S+)/)
  const ask = (n: number) =>
    fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'idempotency-key': `call-${n}` },
      body: JSON.stringify({ model: 'per-token', messages: [{ role: 'user', content: `call ${n}` }] }),
    }).catch(() => null)
  const asked = Array.from({ length: CALLS }, (_, n) => ask(n))
  // In the middle of it: some have arrived, others are on their way.
  await upstream.arrived(CALLS / 3)
  await server.stop('SIGKILL')
  await Promise.all(asked)

  const keys = await till.db.query<{ key: string }>(
    'SELECT i.key FROM hold h JOIN idempotency i ON i.ref = h.ref WHERE h.account = ?',
    [account],
  )
  const held = new Set(keys.map((row) => row.key.replace('call-', 'call ')))
  const arrived = upstream.received.map(({ raw }) => /call \d+/.exec(raw)?.[0] ?? '')
  expect(new Set(arrived).size).toBe(arrived.length)
  expect(arrived.filter((call) => !held.has(call))).toEqual([])

  // The dead process used the real clock. What it may have sent costs its input, and is not sent again.
  till.clock.set(Date.now() + 10 * 60_000)
  await lapseHolds(till.ledger)
  const balance = await getBalance(till.ledger, account)
  const [charged] = await till.db.query<{ sum: bigint }>(
    "SELECT sum(charged) AS sum FROM receipt WHERE account = ? AND state = 'charged'",
    [account],
  )
  expect(balance.held).toBe(0n)
  expect(balance.available).toBe(CREDITS - (charged?.sum ?? 0n))
  expect(charged?.sum).toBeGreaterThan(0n)
})
