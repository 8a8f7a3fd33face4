/** `call_model` where credits are short, over real MCP clients and over HTTP, against the till's own engine. */
import { afterEach, describe, expect, test } from 'vitest'
import { callSuite } from '../support/calls.ts'
import { answered, refused } from '../support/mcp-answers.ts'
import { connect, GENERATIONS, type Generation, type McpSession } from '../support/mcp-clients.ts'

const calls = callSuite()
const messages = [{ role: 'user', content: 'Good day?' }]
/** Without a limit of its own: the model's 4,096 tokens. */
const ask = { model: 'newer', messages }
/** 9 bytes and the template around them, at 20 micro-credits, the dearest of the prices of input. */
const INPUT = BigInt(9 + 16 + 128) * 20n
const TOKEN = 20n

const sessions: McpSession[] = []

afterEach(async () => {
  for (const session of sessions.splice(0)) await session.close()
})

async function connected(generation: Generation): Promise<McpSession> {
  const headers = { authorization: `Bearer ${calls.till.key}` }
  const session = await connect(generation, { kind: 'http', url: `${calls.till.url}/mcp`, headers })
  sessions.push(session)
  return session
}

describe.each(GENERATIONS)('call_model with too few credits, client: %s', (generation) => {
  test("is fitted down to the seller's floor, and says so", async () => {
    await calls.restart({ credits: INPUT + 50n * TOKEN + 19n, floor: 50, engine: true })
    const session = await connected(generation)
    const result = await session.call('call_model', { ...ask, max_tokens: 128_000, idempotency_key: 'one' })
    expect(answered(result)).toMatchObject({ max_tokens: 50, held: '0.004060', replayed: false })
    expect(result.text).toContain('max_tokens was lowered to 50.')
    expect(calls.lastBody()).toEqual({ model: 'newer', messages, max_completion_tokens: 50 })
    expect(await calls.till.charged()).toBe(220n)

    // A repeat is the same request, though fewer would fit now.
    const again = { ...ask, max_tokens: 128_000, idempotency_key: 'one' }
    expect(answered(await session.call('call_model', again))).toMatchObject({
      max_tokens: 50,
      replayed: true,
    })
    const other = { ...again, bursar_fit: 20 }
    refused(await session.call('call_model', other), 'idempotency_conflict')
    expect(calls.sent()).toHaveLength(1)
  })

  test('is refused below the floor, which its caller may set', async () => {
    await calls.restart({ credits: INPUT + 50n * TOKEN, floor: 51, engine: true })
    const session = await connected(generation)
    for (const input of [ask, { ...ask, bursar_fit: 'off' }, { ...ask, bursar_fit: 0 }]) {
      expect(refused(await session.call('call_model', input), 'insufficient_credits')).toMatchObject({
        max_affordable_tokens: 50,
        remedy: expect.stringMatching(/at most 50 max_tokens/),
      })
    }
    for (const fit of [-1, 1.5, 'on', 10_000_001]) {
      const bad = refused(await session.call('call_model', { ...ask, bursar_fit: fit }), 'invalid_request')
      expect(bad['detail']).toContain('bursar_fit')
    }
    await calls.nothingHappened()
    expect(answered(await session.call('call_model', { ...ask, bursar_fit: 50 }))['max_tokens']).toBe(50)
    expect(calls.sent()).toHaveLength(1)
  })
})

describe('POST /v1/calls with too few credits', () => {
  test('takes the header as the model endpoints do, and the body before it', async () => {
    await calls.restart({ credits: INPUT + 50n * TOKEN, engine: true })
    const post = (body: object, fit: string) => calls.till.post('/v1/calls', body, { 'x-bursar-fit': fit })
    expect((await post(ask, 'off')).status).toBe(402)
    expect((await post({ ...ask, bursar_fit: 'off' }, '20')).status).toBe(402)
    expect((await post(ask, 'much')).status).toBe(400)
    await calls.nothingHappened()
    const fitted = await post({ ...ask, bursar_fit: 20 }, 'off')
    expect(await fitted.json()).toMatchObject({ max_tokens: 50, charged: '0.000220' })
    expect((await post({ ...ask, max_tokens: 30 }, '20')).status).toBe(200)
    expect(calls.lastBody()).toMatchObject({ max_completion_tokens: 30 })
  })
})
