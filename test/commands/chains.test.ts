/** A till whose node is dead, or of another chain: it runs, refuses what it could not keep, and recovers by itself. */
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { ask, awaited, refusal } from '../support/mcp-answers.ts'
import { connect } from '../support/mcp-clients.ts'
import { type Proxy, type RpcRequest, startProxy, type Verdict } from '../support/proxy.ts'
import { type Stage, setStage } from '../support/stage.ts'
import { startEmulator } from '../support/upstream.ts'

const FAULTS = [
  // A till keeps its own mistakes to itself; a purse tells its owner.
  ['dead', (): Verdict => 'drop', 'chain_unavailable'],
  [
    'of another chain',
    ({ method }: RpcRequest): Verdict => (method === 'eth_chainId' ? { result: '0x1' } : 'pass'),
    'invalid_config',
  ],
] as const
const order = { rail: 'ethereum:USDC', pack: 'starter' }

let proxy: Proxy
let stage: Stage
let runs = 0

beforeAll(async () => {
  stage = await setStage({
    upstream: await startEmulator([]),
    async rpc(chain) {
      proxy = await startProxy(chain.url)
      return proxy
    },
  })
})
afterAll(() => stage?.stop())

beforeEach(async () => {
  runs += 1
  proxy.decide = () => 'pass'
  await stage.configure({ database: join(stage.folder, `till-${runs}.db`) })
})

test.each(FAULTS)('sells nothing on a rail whose node is %s, until it is right', async (_, fault) => {
  proxy.decide = fault
  const { status, stdout, stderr } = await stage.run(['doctor', '--json'])
  // What it has found is its answer: people do not want it twice, the first time as a line of a log.
  expect(stderr).toBe('')
  const { findings } = JSON.parse(stdout) as { findings: { name: string; ok: boolean }[] }
  expect(status).toBe(1)
  // The emulator behind the models does not list them.
  expect(findings.filter(({ ok, name }) => !ok && name !== 'upstream main')).toMatchObject([
    { name: 'chain ethereum', remedy: expect.any(String) },
  ])

  // From here on it is tried again and again, after longer and longer pauses.
  const session = await connect('2026-07-28', stage.stdio())
  try {
    expect(await ask(session, 'list_offers')).toMatchObject({
      rails: [{ id: 'ethereum:ETH' }, { id: 'ethereum:USDC' }],
    })
    const problem = await refusal(session, 'chain_unavailable', 'create_invoice', order)
    expect(problem['detail']).toContain('ethereum')
    // An endpoint's address may carry its key.
    expect(JSON.stringify(problem)).not.toContain(new URL(proxy.url).host)
    expect(await ask(session, 'get_balance')).toMatchObject({ available: '0.000000' })

    proxy.decide = () => 'pass'
    const { id } = await ask(session, 'create_invoice', order)
    await ask(session, 'pay_invoice', { invoice: id })
    expect(await awaited(session, id)).toMatchObject({
      timed_out: false,
      invoice: { state: 'paid', credits_granted: '100.000000' },
    })
  } finally {
    await session.close()
  }
})

test.each(FAULTS)(
  'and does so too when it was right before the till was started again: %s',
  async (_, fault, code) => {
    const first = await connect('2026-07-28', stage.stdio())
    const { id } = await ask(first, 'create_invoice', order)
    await first.close()

    proxy.decide = fault
    const second = await connect('2026-07-28', stage.stdio())
    try {
      await refusal(second, 'chain_unavailable', 'create_invoice', order)
      // What was sold before can still be looked at, and is paid as soon as the node is right.
      expect(await ask(second, 'get_invoice', { invoice: id })).toMatchObject({ state: 'open' })
      await refusal(second, code, 'pay_invoice', { invoice: id })
      expect(await stage.token.balance(stage.wallet)).toBeGreaterThan(0n)
      proxy.decide = () => 'pass'
      await ask(second, 'pay_invoice', { invoice: id })
      expect(await awaited(second, id)).toMatchObject({
        invoice: { state: 'paid' },
      })
    } finally {
      await second.close()
    }
  },
)
