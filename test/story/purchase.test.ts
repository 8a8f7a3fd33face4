/**
 * The story of a payment, step by step as the folders of src tell it, with the chain's own coin: what the agent's
 * client receives, and beside it what the chain and the database say.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { answered, ask, awaited, refused } from '../support/mcp-answers.ts'
import { connect, type McpSession } from '../support/mcp-clients.ts'
import { type Stage, setStage } from '../support/stage.ts'
import { completes, type ScriptedUpstream, startScriptedUpstream } from '../support/upstream.ts'

/** m/44'/60'/0'/0/0 and /1 of the seller's account: what the hardware wallet shows. */
const ADDRESSES = ['0x9858EfFD232B4033E47d90003D41EC34EcaEda94', '0x6Fac4D18c912343BF86fa7049364Dd4E424Ab9C0']
/** $10 at $3,000, rounded up: whoever pays owes at least the price. */
const WEI = '3333333333333334'
const RAIL = 'ethereum:ETH'

let upstream: ScriptedUpstream
let stage: Stage
let agent: McpSession
let invoice: Record<string, unknown>
let txid: string

beforeAll(async () => {
  upstream = await startScriptedUpstream()
  stage = await setStage({ upstream, confirmations: 3, wallet: 'keystore' })
  agent = await connect('2026-07-28', stage.stdio())
})

afterAll(async () => {
  await agent?.close()
  await stage?.stop()
})

const balance = (): Promise<Record<string, unknown>> => ask(agent, 'get_balance')

describe('a purchase with ETH', () => {
  test('01 invoice: an exact amount at a locked rate', async () => {
    const order = { rail: RAIL, pack: 'starter', idempotency_key: 'order' }
    invoice = await ask(agent, 'create_invoice', order)
    expect(invoice).toMatchObject({
      state: 'open',
      rail: RAIL,
      asset: 'ETH',
      decimals: 18,
      amount: WEI,
      amount_display: '0.003333333333333334 ETH',
      missing: WEI,
      usd: '10.00',
      credits: '100.000000',
      credits_granted: '0.000000',
      rate: { usd: '3000.00' },
      payments: [],
    })
    const lock = Date.parse(String(invoice['expires_at'])) - Date.parse(String(invoice['created_at']))
    expect(lock).toBe(15 * 60_000)
  })

  test('02 address: the next of the extended public key, and never again', async () => {
    expect(invoice['address']).toBe(ADDRESSES[0])
    expect(invoice['payment_uri']).toBe(`ethereum:${ADDRESSES[0]}@${stage.chain.chainId}?value=${WEI}`)
    expect((await ask(agent, 'create_invoice', { rail: RAIL, pack: 'starter' }))['address']).toBe(
      ADDRESSES[1],
    )
  })

  test('03 payment: exactly that, from the wallet within its budget', async () => {
    const paid = await ask(agent, 'pay_invoice', { invoice: invoice['id'], idempotency_key: 'payment' })
    expect(paid).toMatchObject({
      state: 'broadcast',
      recipient: ADDRESSES[0],
      amount: WEI,
      // By the purse's own reckoning, which rounds what is paid up.
      usd: '10.000001',
      replayed: false,
    })
    txid = String(paid['txid'])
    await stage.chain.mined(txid)
    const sent = await stage.chain.rpc<{ from: string; to: string; value: string; input: string }>(
      'eth_getTransactionByHash',
      [txid],
    )
    expect(sent).toMatchObject({
      from: stage.wallet.toLowerCase(),
      to: ADDRESSES[0]?.toLowerCase(),
      input: '0x',
    })
    expect(BigInt(sent.value)).toBe(BigInt(WEI))
    // The budget is charged with the amount and the highest fee; neither the till nor its database sees the key.
    const left = 1000 - Number((paid['budget_left'] as { day_usd: string }).day_usd)
    expect(left).toBeGreaterThan(10)
    expect(left).toBeLessThan(11)
  })

  test('04 watch, 05 confirm: seen at once, credited when it is deep enough and not before', async () => {
    const steps: string[] = []
    let seen = 0
    const onProgress = ({ progress }: { progress: number }): void => {
      if (progress <= seen) return
      seen = progress
      // The agent asks in the middle of its own wait, before the next block is allowed to come.
      void look(progress)
    }
    async function look(confirmations: number): Promise<void> {
      const [now, credits] = await Promise.all([
        ask(agent, 'get_invoice', { invoice: invoice['id'] }),
        balance(),
      ])
      const [payment] = now['payments'] as Record<string, unknown>[]
      steps.push(
        [confirmations, payment?.['confirmations_needed'], now['state'], credits['available']].join(' '),
      )
      await stage.chain.mine()
    }
    const waited = await awaited(agent, invoice['id'], () => ({ onProgress }))
    expect(waited).toMatchObject({
      timed_out: false,
      invoice: { state: 'paid', flags: [], missing: '0', credits_granted: '100.000000' },
    })
    expect(steps.slice(0, 2)).toEqual(['1 3 processing 0.000000', '2 3 processing 0.000000'])
    const { payments } = await ask(agent, 'get_invoice', { invoice: invoice['id'] })
    expect(payments).toMatchObject([
      { state: 'credited', rail: RAIL, amount: WEI, txid, credits: '100.000000' },
    ])
  })

  test('06 credit: once, to the micro-credit, with an expiry', async () => {
    const now = await balance()
    expect(now).toMatchObject({ available: '100.000000', held: '0.000000', runway_days: null, frozen: false })
    const expiry = now['next_expiry'] as { credits: string; at: string }
    expect(expiry.credits).toBe('100.000000')
    const days = (Date.parse(expiry.at) - Date.parse(String(invoice['created_at']))) / 86_400_000
    expect(days).toBeGreaterThan(364.9)
    expect(days).toBeLessThan(365.1)
    // A second payment of the same invoice is not made.
    expect(await ask(agent, 'pay_invoice', { invoice: invoice['id'] })).toMatchObject({
      txid,
      replayed: true,
    })
    expect(await stage.chain.rpc('eth_getBalance', [ADDRESSES[0], 'latest'])).toBe(
      `0x${BigInt(WEI).toString(16)}`,
    )
  })

  test('07 hold: the worst case is set aside before the upstream is asked, and the rest stays usable', async () => {
    let answer = (): void => {}
    upstream.behave((response, received) => {
      answer = () => completes({ text: 'Good day.' })(response, received)
    })
    const asked = {
      model: stage.model,
      messages: [{ role: 'user', content: 'hello' }],
      max_tokens: 1000,
      idempotency_key: 'call',
    }
    const call = agent.call('call_model', asked)
    await upstream.arrived(1)
    const during = await balance()
    // 1000 tokens out at $10 + 20 % a million and $0.10 a credit are 0.12 credits; the input comes on top.
    const held = Number(during['held'])
    expect(held).toBeGreaterThan(0.12)
    expect(held).toBeLessThan(0.13)
    expect(Number(during['available']) + held).toBeCloseTo(100, 6)
    answer()
    expect(answered(await call)).toMatchObject({ text: 'Good day.', held: during['held'] })
  })

  test('08 capture: the true cost, and the journal agrees', async () => {
    // 12 tokens in at 30 micro-credits and 5 out at 120.
    expect(await balance()).toMatchObject({ available: '99.999040', held: '0.000000' })
    const { calls } = await ask(agent, 'list_usage')
    expect(calls).toMatchObject([
      {
        state: 'charged',
        charged: '0.000960',
        usage: { input_tokens: 12, output_tokens: 5, source: 'upstream' },
      },
    ])
    expect(upstream.received).toHaveLength(1)
    expect(stage.query('SELECT sum(available) AS available, sum(held) AS held FROM posting')).toEqual([
      { available: 99_999_040, held: 0 },
    ])
    expect(
      stage.query('SELECT count(*) AS unbalanced FROM posting WHERE available + held + counter <> 0'),
    ).toEqual([{ unbalanced: 0 }])
    expect(stage.query('SELECT sum(remaining) AS remaining FROM lot')).toEqual([{ remaining: 99_999_040 }])
  })

  test('09 again: who has too few credits is told how many, and what buys them', async () => {
    const messages = [{ role: 'user', content: 'hello' }]
    const asked = { model: stage.model, messages, max_tokens: 1_000_000, bursar_fit: 'off' }
    const { missing, rails, remedy } = refused(await agent.call('call_model', asked), 'insufficient_credits')
    expect(rails).toContain(RAIL)
    expect(remedy).toContain(
      `buy at least ${String(missing)} credits: create_invoice (POST /v1/invoices), paid with ${RAIL}`,
    )
    const credits = String(missing)
    expect(await ask(agent, 'create_invoice', { rail: RAIL, credits })).toMatchObject({ credits })
  })
})
