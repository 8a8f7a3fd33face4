/**
 * Ten thousand calls at once for credits that pay for a thousand, through two `bursar serve` on one database. Not one
 * is sold too many, not one credit is lost, and a refusal leaves nothing behind.
 */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Answer, type Crowd, gatherCrowd } from '../support/crowd.ts'
import { type Buyer, type Serving, startServing } from '../support/serving.ts'
import { completes, type ScriptedUpstream, startScriptedUpstream } from '../support/upstream.ts'

const CALLS = 10_000
const AFFORDABLE = 1_000
/** An idle machine of two cores takes much less. */
const PATIENCE = 900_000

let upstream: ScriptedUpstream
let serving: Serving
let buyer: Buyer
let crowd: Crowd

beforeEach(async () => {
  upstream = await startScriptedUpstream()
})
afterEach(async () => {
  await crowd?.disperse()
  await serving?.close()
  await upstream.stop()
})

async function open(model: object, credits: string): Promise<void> {
  const config = {
    upstreams: { main: { base_url: upstream.baseUrl } },
    models: { sold: { upstream: 'main', ...model } },
  }
  serving = await startServing(config, 2)
  buyer = await serving.buyer(credits)
  crowd = gatherCrowd(
    serving.tills.map(({ url }) => url),
    buyer.key,
  )
}

const ask = (maxTokens?: number) => ({
  model: 'sold',
  messages: [{ role: 'user', content: 'Good day?' }],
  ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
})

const sold = (answers: readonly Answer[]) => answers.filter(({ status }) => status === 200)

/** What there was, each once. */
function kinds(answers: readonly Answer[]): string[] {
  return [
    ...new Set(answers.map(({ status, code }) => (code === null ? `${status}` : `${status} ${code}`))),
  ].sort()
}

/** The least that the account ever had: every moment of it is a beginning of the journal. */
async function lowest(): Promise<bigint | undefined> {
  const [row] = await serving.db.query<{ lowest: bigint }>(
    `SELECT min(had) AS lowest FROM
       (SELECT sum(available) OVER (ORDER BY id) AS had FROM posting WHERE account = ?)`,
    [buyer.account],
  )
  return row?.lowest
}

/** Only what was sold has left anything. */
async function expectTraces(calls: number): Promise<void> {
  const [traces] = await serving.db.query(
    `SELECT (SELECT count(*) FROM hold) AS holds, (SELECT count(*) FROM receipt) AS receipts,
       (SELECT count(*) FROM posting WHERE kind = 'hold') AS held,
       (SELECT count(*) FROM posting WHERE kind = 'capture') AS captured`,
  )
  const all = BigInt(calls)
  expect(traces).toEqual({ holds: 0n, receipts: all, held: all, captured: all })
  expect(upstream.received).toHaveLength(calls)
}

test('at a fixed price exactly a thousand are sold, and the balance is 0', {
  timeout: PATIENCE,
}, async () => {
  await open({ credits_per_call: '0.25' }, '250')
  const watching = crowd.watch(() => serving.balance(buyer.account))
  // One at each till comes before the rest.
  const first = await crowd.ask(2, ask())
  const answers = [...first, ...(await crowd.ask(CALLS - 2, ask()))]
  const seen = await watching.stop()

  expect(sold(answers)).toHaveLength(AFFORDABLE)
  expect(new Set(sold(answers).map(({ till }) => till)).size, 'both tills sold').toBe(2)
  expect(kinds(answers)).toEqual(['200', '402 insufficient_credits'])
  await expectTraces(AFFORDABLE)
  expect(seen.every(({ available, held }) => available >= 0n && held >= 0n)).toBe(true)
  expect(await lowest()).toBe(0n)
  expect(await serving.balance(buyer.account)).toEqual({ available: 0n, held: 0n })
  expect(await serving.verified()).toMatchObject({ ok: true, findings: [] })
})

test('with holds of ten times the charge it is never below 0, and every credit can be spent', {
  timeout: PATIENCE,
}, async () => {
  // A call asks for 10,000 tokens and gets 1,000: 0.2 credits are held, 0.02 are charged.
  upstream.behave((response, received) => {
    const usage = {
      prompt_tokens: 12,
      completion_tokens: Math.min(1_000, Number(received.body['max_tokens'])),
    }
    completes({ usage: { ...usage, total_tokens: 12 + usage.completion_tokens } })(response, received)
  })
  const price = { usd_per_million_input: '0', usd_per_million_output: '2', max_output_tokens: 10_000 }
  await open(price, '20.01999')
  const watching = crowd.watch(() => serving.balance(buyer.account))
  const burst = await crowd.ask(CALLS, ask(10_000), { 'x-bursar-fit': 'off' })
  expect(sold(burst).length, 'what fits at once').toBeGreaterThanOrEqual(100)
  expect(sold(burst).length).toBeLessThanOrEqual(AFFORDABLE)
  const rest = await crowd.askUntilRefused(16, ask(10_000), { 'x-bursar-fit': '1000' })
  const seen = await watching.stop()

  expect(kinds([...burst, ...rest])).toEqual(['200', '402 insufficient_credits'])
  expect(sold([...burst, ...rest])).toHaveLength(AFFORDABLE)
  await expectTraces(AFFORDABLE)
  expect(seen.every(({ available, held }) => available >= 0n && held >= 0n)).toBe(true)
  expect(await lowest()).toBeGreaterThanOrEqual(0n)
  expect(await serving.balance(buyer.account)).toEqual({ available: 19_990n, held: 0n })
  expect(await serving.verified()).toMatchObject({ ok: true, findings: [] })
})
