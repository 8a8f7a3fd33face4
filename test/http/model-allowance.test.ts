/** Allowances and freezes on the path of a call: refused before anything is sent, in the caller's own format. */
import { beforeEach, describe, expect, test } from 'vitest'
import { freezeAccount } from '../../src/ledger/accounts.ts'
import { createAgent, updateAgent } from '../../src/ledger/agents.ts'
import type { AllowanceChange } from '../../src/ledger/allowance.ts'
import { createKey } from '../../src/ledger/keys.ts'
import { callModel } from '../../src/models/call.ts'
import { ASK, CHAT, CLAUDE, callSuite, MESSAGES, messages, refusal } from '../support/calls.ts'
import { modelsOver } from '../support/models.ts'

const calls = callSuite()
/** Its input at most, at the dearest price that could apply; each output token costs 20 more. */
const INPUT = BigInt(JSON.stringify(ASK).length + 16 + 128) * 20n
let agent: string
let key: string

beforeEach(make)

async function make(): Promise<void> {
  const { ledger, buyer: account } = calls.till
  agent = (await createAgent(ledger, { account, name: 'coder' })).id
  key = (await createKey(ledger, { scope: 'agent', account, agent, name: 'coder' })).key
}

const allow = (allowance: AllowanceChange) => updateAgent(calls.till.ledger, { agent, allowance })
const post = (path: string, body: unknown, headers = {}) =>
  calls.till.post(path, body, { authorization: `Bearer ${key}`, ...headers })

describe('an allowance', () => {
  test('that does not cover a call refuses it, and says how many tokens would', async () => {
    await allow({ perDay: INPUT + 99n * 20n })
    const response = await post(CHAT, ASK)
    expect(response.headers.get('x-should-retry')).toBe('false')
    const refused = await refusal(response, 402, 'allowance_exceeded')
    expect(refused).toMatchObject({
      allowance: 'per_day',
      spent: '0.000000',
      resets_at: '2026-11-02T00:00:00.000Z',
      max_affordable_tokens: 99,
      error: { type: 'insufficient_quota', code: 'allowance_exceeded' },
    })
    await calls.nothingHappened()
    // A longer body: a few tokens less fit beside it.
    expect((await post(CHAT, { ...ASK, max_tokens: 70 })).status).toBe(200)
  })

  test('shrinks the output limit where fitting is on: to the smaller of balance and allowance', async () => {
    await calls.restart({ floor: 10 })
    await make()
    await allow({ perCall: INPUT + 50n * 20n + 19n, perDay: 100_000n })
    const response = await post(CHAT, ASK)
    expect(response.status).toBe(200)
    expect(response.headers.get('x-bursar-max-tokens')).toBe('50')
    expect((await calls.till.receipt()).held).toBe(INPUT + 1000n)
    await refusal(await post(CHAT, ASK, { 'x-bursar-fit': '99' }), 402, 'allowance_exceeded')
  })

  test("refuses other models, in Anthropic's words too", async () => {
    await allow({ models: ['gpt'] })
    const refused = await refusal(await post(MESSAGES, CLAUDE), 402, 'allowance_exceeded')
    expect(refused).toMatchObject({ allowance: 'models', type: 'error', error: { type: 'billing_error' } })
    await calls.nothingHappened()
    expect((await post(CHAT, ASK)).status).toBe(200)
  })

  test('refuses to count the tokens of other models, and for a frozen agent', async () => {
    const count = () => post(`${MESSAGES}/count_tokens`, { model: 'claude', messages })
    await allow({ models: ['gpt'] })
    await refusal(await count(), 402, 'allowance_exceeded')
    await allow({ models: null })
    await updateAgent(calls.till.ledger, { agent, frozen: true })
    await refusal(await count(), 403, 'frozen')
    await updateAgent(calls.till.ledger, { agent, frozen: false })
    await freezeAccount(calls.till.ledger, calls.till.buyer, true)
    await refusal(await count(), 403, 'frozen')
    await calls.nothingHappened()
  })

  test('that names models leaves the others out of the list', async () => {
    const listed = async (headers = {}) => {
      const response = await fetch(`${calls.till.url}/v1/models`, {
        headers: { authorization: `Bearer ${key}`, ...headers },
      })
      return ((await response.json()) as { data: { id: string }[] }).data.map(({ id }) => id)
    }
    await allow({ models: ['gpt', 'no longer sold'] })
    expect(await listed()).toEqual(['gpt'])
    expect(await listed({ 'anthropic-version': '2023-06-01' })).toEqual([])
    await allow({ models: null })
    expect(await listed()).toContain('fixed')
  })

  test('counts no tokens for an account without credits', async () => {
    await calls.restart({ credits: 0n })
    const counted = await calls.till.post(`${MESSAGES}/count_tokens`, { model: 'claude', messages })
    await refusal(counted, 402, 'insufficient_credits')
    expect(calls.sent()).toHaveLength(0)
  })

  test('holds across endpoints and at once: what they afford together is called, and no more', async () => {
    await allow({ perDay: 5n * 250_000n })
    await calls.till.grant(calls.till.buyer, 10_000_000n)
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => post(CHAT, { model: 'fixed', messages, max_tokens: 5 })),
    )
    const having = (wanted: number) => answers.filter(({ status }) => status === wanted).length
    expect([having(200), having(402)]).toEqual([5, 15])
    expect(calls.sent()).toHaveLength(5)
  })

  test('refuses call_model likewise', async () => {
    await allow({ perCall: 100n })
    const models = modelsOver(calls.upstream.baseUrl)
    const caller = { account: calls.till.buyer, agent }
    const asked = callModel({ ledger: calls.till.ledger, models }, caller, {
      model: 'per-token',
      messages: [{ role: 'user', content: 'Good day?' }],
    })
    await expect(asked).rejects.toMatchObject({
      code: 'allowance_exceeded',
      details: { allowance: 'per_call', max_affordable_tokens: 0 },
    })
    await calls.nothingHappened()
  })
})

test('a frozen agent is refused at its next call, and goes on when the freeze is lifted', async () => {
  expect((await post(CHAT, ASK)).status).toBe(200)
  await updateAgent(calls.till.ledger, { agent, frozen: true })
  await refusal(await post(CHAT, ASK), 403, 'frozen')
  expect((await calls.till.post(CHAT, ASK)).status, 'the account is not').toBe(200)
  await updateAgent(calls.till.ledger, { agent, frozen: false })
  expect((await post(CHAT, ASK)).status).toBe(200)
})
