/** Each file of examples/ as a process of its own, against a till on a local chain that they all share. */
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Client, createClient } from '../../src/sdk/client.ts'
import { ask, refusal } from '../support/mcp-answers.ts'
import { connect } from '../support/mcp-clients.ts'
import { printed, type Started, start } from '../support/process.ts'
import { type Stage, setStage } from '../support/stage.ts'
import {
  answers,
  type Behaviour,
  completes,
  completion,
  type ScriptedUpstream,
  startScriptedUpstream,
} from '../support/upstream.ts'

/** On a busy machine too. */
const PATIENCE_MS = 360_000
const PATIENCE = { timeout: PATIENCE_MS, interval: 50 }

const HOOK = new URL('../support/from-source.ts', import.meta.url).href

let stage: Stage
let upstream: ScriptedUpstream
let url: string
/** Have credits, few credits, and none. */
let rich: Buyer
let short: Buyer
let poor: Buyer
const running: Started[] = []

interface Buyer {
  readonly key: string
  readonly till: Client
}

beforeAll(async () => {
  upstream = await startScriptedUpstream(asksThenAnswers)
  stage = await setStage({ upstream, name: 'Example Credits' })
  ;({ url } = await stage.serve())
  ;[rich, short, poor] = await Promise.all([buyer('rich', '200'), buyer('short', '0.4'), buyer('poor')])
}, PATIENCE_MS)
afterEach(async () => {
  await Promise.all(running.splice(0).map((example) => example.stop()))
})
afterAll(() => stage.stop())

/** An account whose credits, if any, somebody paid for on the chain. */
async function buyer(account: string, credits?: string): Promise<Buyer> {
  const key = await stage.key(account)
  const till = createClient({ url, key, timeoutMs: PATIENCE_MS })
  if (credits !== undefined) {
    const invoice = await till.createInvoice({ rail: 'ethereum:USDC', credits })
    await stage.token.mint(invoice.address, BigInt(invoice.amount))
    const states = await Array.fromAsync(till.awaitPayment(invoice.id), ({ state }) => state)
    expect(states.at(-1)).toBe('paid')
  }
  return { key, till }
}

function run(example: string, env: Record<string, string> = {}): Started {
  const script = fileURLToPath(new URL(`../../examples/${example}`, import.meta.url))
  const started = start(process.execPath, ['--import', HOOK, script], {
    PATH: process.env['PATH'],
    BURSAR_URL: url,
    PORT: '0',
    ...env,
  })
  running.push(started)
  return started
}

/** Starts a service; resolves with the address that it prints. */
async function serving(example: string): Promise<string> {
  const [address] = await printed(run(example), /http:\/\/127\.0\.0\.1:\d+\/\w+/, PATIENCE_MS)
  return address
}

function bearer({ key }: Buyer, more: Record<string, string> = {}): Record<string, string> {
  return { authorization: `Bearer ${key}`, ...more }
}

/** Micro-credits. */
async function available({ till }: Buyer): Promise<bigint> {
  return BigInt((await till.balance()).available.replace('.', ''))
}

async function lastReceipt({ till }: Buyer) {
  const [receipt] = (await till.usage({ limit: 1 }).page()).calls
  return receipt
}

test(
  'Express: sells its endpoint, charges for answers and not for bad input',
  async () => {
    const keywords = await serving('express.ts')
    const before = await available(rich)
    const post = (who: Buyer, body: unknown) =>
      fetch(keywords, {
        method: 'POST',
        headers: bearer(who, { 'content-type': 'application/json' }),
        body: JSON.stringify(body),
      })
    const answer = await post(rich, { text: 'Prepaid credits keep agents within their credits.' })
    expect(await answer.json()).toEqual({ keywords: ['credits', 'prepaid', 'agents', 'within', 'their'] })
    expect(answer.headers.get('x-bursar-charged')).toBe('0.050000')
    expect(await lastReceipt(rich)).toMatchObject({ model: 'keywords', charged: '0.050000' })

    expect((await post(rich, { text: 7 })).status).toBe(400)
    expect(before - (await available(rich))).toBe(50_000n)

    const refused = await post(poor, { text: 'Prepaid' })
    expect(refused.status).toBe(402)
    expect(await refused.json()).toMatchObject({
      code: 'insufficient_credits',
      available: '0.000000',
      required: '0.050000',
      reason: 'empty',
      remedy: expect.stringContaining('create_invoice'),
      till: url,
    })
  },
  PATIENCE_MS,
)

describe('Hono', () => {
  test(
    'charges a stream by what was streamed',
    async () => {
      const people = await serving('hono.ts')
      const before = await available(rich)
      const answer = await fetch(`${people}?rows=20`, { headers: bearer(rich) })
      const rows = (await answer.text()).trimEnd().split('\n')
      expect(rows.map((row) => (JSON.parse(row) as { id: number }).id)).toEqual(
        Array.from({ length: 20 }, (_, row) => row + 1),
      )
      expect(before - (await available(rich))).toBe(20n * 150n)
      expect(await lastReceipt(rich)).toMatchObject({
        model: 'people',
        held: '0.003000',
        charged: '0.003000',
      })

      const refused = await fetch(`${people}?rows=20`, { headers: bearer(poor) })
      expect(refused.status).toBe(402)
      expect(await refused.json()).toMatchObject({ code: 'insufficient_credits', required: '0.003000' })
    },
    PATIENCE_MS,
  )

  test(
    'charges a buyer who leaves for the rows up to there, and gives the rest back',
    async () => {
      const people = await serving('hono.ts')
      const before = await available(rich)
      // More than all the buffers in between can take: it is not all sent before the buyer leaves, however fast.
      const client = httpRequest(`${people}?rows=1000000`, { headers: bearer(rich) })
      client.on('error', () => undefined)
      const [answer] = (await once(client.end(), 'response')) as [NodeJS.ReadableStream]
      await once(answer, 'data')
      answer.pause()
      expect(await rich.till.balance()).toMatchObject({ held: '150.000000' })
      client.destroy()
      await expect.poll(async () => (await rich.till.balance()).held, PATIENCE).toBe('0.000000')
      const charged = before - (await available(rich))
      expect(charged).toBeGreaterThan(0n)
      expect(charged).toBeLessThan(150_000_000n)
      expect(charged % 150n).toBe(0n)
    },
    PATIENCE_MS,
  )
})

test(
  'MCP server: charges for its own tools, and not for those that fail',
  async () => {
    const mcp = await serving('mcp-server.ts')
    expect((await fetch(mcp, { method: 'POST' })).status).toBe(401)
    const before = await available(rich)
    const session = await connect('auto', { kind: 'http', url: mcp, headers: bearer(rich) })
    expect((await session.listTools()).map(({ name }) => name)).toEqual(['compare_texts', 'json_paths'])
    expect(await ask(session, 'compare_texts', { before: 'one\ntwo', after: 'one\nthree\nfour' })).toEqual({
      removed: ['two'],
      added: ['three', 'four'],
    })
    expect(await lastReceipt(rich)).toMatchObject({
      model: 'compare_texts',
      held: '0.015000',
      charged: '0.013000',
    })
    expect(await ask(session, 'json_paths', { json: '{"items":[{"id":7}]}' })).toEqual({
      paths: ['/items/0/id'],
    })
    const failed = await session.call('json_paths', { json: 'no JSON' })
    expect(failed).toMatchObject({ isError: true, text: expect.stringContaining('SyntaxError') })
    expect(await lastReceipt(rich)).toMatchObject({ model: 'json_paths', charged: '0.000000' })
    expect(before - (await available(rich))).toBe(13_000n + 20_000n)
    expect(await rich.till.balance()).toMatchObject({ held: '0.000000' })
    await session.close()

    // A client of the first generation is told the same.
    const broke = await connect('first-generation SDK', { kind: 'http', url: mcp, headers: bearer(poor) })
    expect(await refusal(broke, 'insufficient_credits', 'json_paths', { json: '1' })).toMatchObject({
      required: '0.020000',
      till: url,
    })
    await broke.close()
  },
  PATIENCE_MS,
)

test(
  'AI SDK agent: runs out in the middle of its work, pays on-chain once, and goes on',
  async () => {
    const wallet = await stage.token.balance(stage.wallet)
    const agent = run('ai-sdk-agent.ts', { ...stage.env, BURSAR_KEY: short.key })
    await once(agent.child, 'close')
    const output = agent.output()
    expect(agent.child.exitCode, output).toBe(0)
    const paid = [...output.matchAll(/Out of credits\. Paid 1\.00 USD for 10 more: (0x[0-9a-f]{64})\n/g)]
    expect(paid, output).toHaveLength(1)
    const txid = paid[0]?.[1] ?? ''
    expect(output).toContain('Because a prepaid balance is a budget.')

    // Two calls reached the model, whole: the refused one did not, and cost nothing.
    expect(upstream.received.map(({ body }) => body['max_tokens'])).toEqual([2000, 2000])
    const { calls } = await short.till.usage().page()
    expect(calls.map(({ charged }) => charged)).toEqual(['0.012000', '0.183000'])
    expect(await available(short)).toBe(400_000n - 183_000n + 10_000_000n - 12_000n)
    expect(output).toContain('10.205000 credits are left.')

    // As the chain has it: one payment, of one dollar.
    expect(wallet - (await stage.token.balance(stage.wallet))).toBe(1_000_000n)
    expect((await stage.chain.mined(txid)).status).toBe('0x1')
    expect(
      stage.query("SELECT amount, credits FROM payment WHERE txid = ? AND state = 'credited'", txid),
    ).toEqual([{ amount: '1000000', credits: 10_000_000 }])
  },
  PATIENCE_MS,
)

test(
  'the books are in order after all of it',
  async () => {
    const { status, stdout } = await stage.run(['verify', '--json'])
    expect(status, stdout).toBe(0)
  },
  PATIENCE_MS,
)

/** At 30 and 120 micro-credits a token: a call of 0.183 credits that wants a tool, then one of 0.012 that answers. */
function asksThenAnswers(...[response, received]: Parameters<Behaviour>): void {
  const messages = received.body['messages'] as { role: string }[]
  const behaviour =
    messages.at(-1)?.role === 'tool'
      ? completes({
          text: 'Because a prepaid balance is a budget.',
          usage: { prompt_tokens: 200, completion_tokens: 50, total_tokens: 250 },
        })
      : answers(200, wantsTool())
  behaviour(response, received)
}

function wantsTool(): object {
  const usage = { prompt_tokens: 100, completion_tokens: 1500, total_tokens: 1600 }
  const call = { id: 'call_1', type: 'function', function: { name: 'credits_left', arguments: '{}' } }
  const message = { role: 'assistant', content: null, refusal: null, tool_calls: [call] }
  return {
    ...completion({ usage }),
    choices: [{ index: 0, message, logprobs: null, finish_reason: 'tool_calls' }],
  }
}
