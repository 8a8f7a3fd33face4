/** A purchase that outlives its processes, and one that two tills share. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { ask, awaited, refusal } from '../support/mcp-answers.ts'
import { connect, type Endpoint, type McpSession } from '../support/mcp-clients.ts'
import { gone } from '../support/processes.ts'
import { clockAhead } from '../support/program.ts'
import { type Stage, setStage } from '../support/stage.ts'
import { startEmulator } from '../support/upstream.ts'

const RAIL = 'ethereum:USDC'
const sessions: McpSession[] = []
let stage: Stage

beforeAll(async () => {
  stage = await setStage({ upstream: await startEmulator([]), confirmations: 3 })
})
afterEach(async () => {
  await Promise.all(sessions.splice(0).map((session) => session.close()))
})
afterAll(() => stage?.stop())

async function open(endpoint: Endpoint): Promise<McpSession> {
  const session = await connect('2026-07-28', endpoint)
  sessions.push(session)
  return session
}

async function overHttp(url: string, key: string): Promise<McpSession> {
  return open({ kind: 'http', url: `${url}/mcp`, headers: { authorization: `Bearer ${key}` } })
}

/** Waits until the payment of an invoice has been seen, by looking again whenever anything changes. */
async function seen(session: McpSession, invoice: string): Promise<void> {
  const caller = new AbortController()
  const { promise, resolve } = Promise.withResolvers<void>()
  const onProgress = ({ progress }: { progress: number }): void => {
    if (progress > 0) resolve()
  }
  const wait = session.call('await_payment', { invoice }, { signal: caller.signal, onProgress })
  wait.catch(() => undefined)
  await promise
  caller.abort()
}

test('credits once what was paid before everything was killed and confirmed before it came back', async () => {
  const till = await stage.serve()
  const agent = await open(stage.stdio('restarted'))
  const { id, address, amount } = await ask(agent, 'create_invoice', { rail: RAIL, pack: 'starter' })
  const invoice = String(id)
  const paid = await ask(agent, 'pay_invoice', { invoice })
  await seen(agent, invoice)
  expect(await ask(agent, 'get_invoice', { invoice })).toMatchObject({
    state: 'processing',
    payments: [{ state: 'confirming' }],
  })
  expect(await ask(agent, 'get_balance')).toMatchObject({ available: '0.000000' })

  const purse = await stage.purse()
  const pids = [agent.pid ?? 0, till.pid, purse?.pid ?? 0]
  for (const pid of pids) process.kill(pid, 'SIGKILL')
  await gone(...pids)
  await stage.chain.mine(5)

  // Some seconds later the dead till's lease has lapsed.
  await stage.serve(clockAhead())
  const again = await open(stage.stdio('restarted', clockAhead()))
  // The new purse knows what the killed one paid.
  expect(await ask(again, 'pay_invoice', { invoice })).toMatchObject({ txid: paid['txid'], replayed: true })
  expect(await awaited(again, invoice)).toMatchObject({
    timed_out: false,
    invoice: { state: 'paid', credits_granted: '100.000000' },
  })
  expect(await ask(again, 'get_balance')).toMatchObject({ available: '100.000000', held: '0.000000' })
  expect(await stage.token.balance(String(address))).toBe(BigInt(String(amount)))
  const grants =
    'SELECT count(*) AS n FROM posting WHERE account = (SELECT account FROM invoice WHERE id = ?)'
  expect(stage.query(grants, invoice)).toEqual([{ n: 1 }])
})

test('is sold by one till, awaited at another, and credited once', async () => {
  const [one, two] = await Promise.all([stage.serve(), stage.serve()])
  const [mine, other] = [await stage.key('two-tills'), await stage.key('somebody-else')]
  const [seller, watcher, stranger] = await Promise.all([
    overHttp(one.url, mine),
    overHttp(two.url, mine),
    overHttp(two.url, other),
  ])
  const order = { rail: RAIL, pack: 'starter', idempotency_key: 'one-order' }
  // Both tills get the same order at the same moment, as after a lost answer.
  const [invoice, same] = await Promise.all([
    ask(seller, 'create_invoice', order),
    ask(watcher, 'create_invoice', order),
  ])
  expect(same['id']).toBe(invoice['id'])
  for (const tool of ['get_invoice', 'await_payment']) {
    const problem = await refusal(stranger, 'not_found', tool, { invoice: invoice['id'] })
    expect(JSON.stringify(problem)).not.toContain(String(invoice['address']))
  }

  const { chain, token, wallet } = stage
  await chain.rpc('anvil_impersonateAccount', [wallet])
  await token.transfer(wallet, String(invoice['address']), BigInt(String(invoice['amount'])))
  await chain.mine(2)
  const waits = await Promise.all([seller, watcher].map((session) => awaited(session, invoice['id'])))
  for (const wait of waits) {
    expect(wait).toMatchObject({ timed_out: false, invoice: { state: 'paid' } })
  }
  for (const session of [seller, watcher]) {
    expect(await ask(session, 'get_balance')).toMatchObject({ available: '100.000000' })
  }
  expect(await ask(stranger, 'get_balance')).toMatchObject({ available: '0.000000' })

  // The till that stops takes nothing with it, and complains of nothing on the way.
  expect(await one.stop()).toBe(0)
  expect(await ask(watcher, 'get_balance')).toMatchObject({ available: '100.000000' })
  const lines = one.output().trim().split('\n')
  expect(lines.filter((line) => !line.startsWith('{'))).toHaveLength(3)
  expect(lines.filter((line) => /^\{"level":[56]0/.test(line))).toEqual([])
})
