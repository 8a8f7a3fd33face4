/** What an agent's key sees of a till that sells more than it may use, in the till's process and over HTTP. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTill, type Till } from '../../src/app.ts'
import type { Bursar } from '../../src/bursar.ts'
import { readSettings } from '../../src/config.ts'
import { type HttpServer, startHttp } from '../../src/http/server.ts'
import { createAccount } from '../../src/ledger/accounts.ts'
import { createAgent } from '../../src/ledger/agents.ts'
import { grantStatements } from '../../src/ledger/grant.ts'
import { type AccountPrincipal, createKey } from '../../src/ledger/keys.ts'
import { createClient } from '../../src/sdk/client.ts'
import { remoteBursar } from '../../src/sdk/remote.ts'
import { callModel } from '../../tools/call-model.ts'
import { listOffers } from '../../tools/list-offers.ts'
import { listUsage } from '../../tools/list-usage.ts'
import type { Tool, ToolAnswer } from '../../tools/tool.ts'
import { seededRuntime } from '../support/chance.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { type ScriptedUpstream, startScriptedUpstream } from '../support/upstream.ts'

let folder: string
let upstream: ScriptedUpstream
let till: Till
let server: HttpServer
let account: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bursar-scope-'))
  upstream = await startScriptedUpstream()
  const path = join(folder, 'bursar.config.json')
  const tokens = { usd_per_million_input: '1', usd_per_million_output: '4', max_output_tokens: 100 }
  await writeFile(
    path,
    JSON.stringify({
      upstreams: { main: { base_url: upstream.baseUrl } },
      models: {
        small: { upstream: 'main', ...tokens, usd_per_million_cached_input: '0.125' },
        large: { upstream: 'main', ...tokens },
        fixed: { upstream: 'main', credits_per_call: '0.25' },
      },
    }),
  )
  const runtime = seededRuntime()
  till = await openTill({
    settings: readSettings({
      env: { BURSAR_CONFIG: path, BURSAR_DATA: folder },
      cwd: folder,
      folders: [],
    }),
    runtime,
  })
  server = await startHttp({
    runtime,
    version: '0.0.0-test',
    host: '127.0.0.1',
    port: 0,
    allowedHosts: [],
    checks: till.checks,
    authenticate: till.authenticate,
    bursarFor: till.bursarFor,
    calls: till.calls,
  })
  const { ledger } = till.calls
  account = (await createAccount(ledger, { externalId: 'team' })).id
  await ledger.db.commit(
    grantStatements({
      ref: 'grant_1',
      account,
      credits: 10_000_000n,
      kind: 'grant',
      expiresAt: null,
      at: runtime.now(),
    }),
  )
})
afterAll(async () => {
  await server?.close()
  await till?.close()
  await upstream?.stop()
  await rm(folder, { recursive: true, force: true })
})

/** Both ways to the same till, for an agent that may call these models. */
async function waysTo(models: readonly string[] | null): Promise<[string, Bursar][]> {
  const { ledger } = till.calls
  const name = ledger.runtime.id('agent')
  const { id: agent } = await createAgent(ledger, { account, name, allowance: { models } })
  const { key } = await createKey(ledger, { scope: 'agent', account, agent, name })
  const principal: AccountPrincipal = { scope: 'agent', key: 'local', account, agent }
  return [
    ['in process', till.bursarFor(principal)],
    ['over HTTP', remoteBursar(createClient({ url: server.url, key }))],
  ]
}

const run = (tool: Tool, bursar: Bursar, input: object = {}): Promise<ToolAnswer<Record<string, unknown>>> =>
  tool.run({ bursar, signal: AbortSignal.timeout(PATIENCE_MS), progress: () => undefined }, input)

const idsOf = ({ data }: ToolAnswer<Record<string, unknown>>): string[] =>
  (data['models'] as { id: string }[]).map(({ id }) => id)

test.each<[string, readonly string[] | null, string[]]>([
  ['names models', ['fixed', 'small', 'no longer sold'], ['small', 'fixed']],
  ['names none', [], []],
  ['does not name any', null, ['small', 'large', 'fixed']],
])('an agent whose allowance %s is offered what it may call', async (_, allowed, offered) => {
  for (const [way, bursar] of await waysTo(allowed)) {
    const answer = await run(listOffers, bursar)
    expect(idsOf(answer), way).toEqual(offered)
    expect(answer.text[0], way).toContain(
      offered[0] ? `Model ${offered[0]}: ` : 'No model that you may call.',
    )
  }
})

test('its account is offered everything', async () => {
  expect(idsOf(await run(listOffers, till.bursarFor({ scope: 'account', key: 'local', account })))).toEqual([
    'small',
    'large',
    'fixed',
  ])
})

test('usage is that of one model, or of a time, when asked so, and shows the price of each call beside its charge', async () => {
  for (const [way, bursar] of await waysTo(null)) {
    for (const model of ['small', 'fixed']) {
      await run(callModel, bursar, { model, messages: [{ role: 'user', content: 'Good day?' }] })
    }
    const { data, text } = await run(listUsage, bursar, { limit: 2 })
    expect(data['calls'], way).toMatchObject([
      { model: 'fixed', price: '0.25 a call', charged: '0.250000' },
      // 12 tokens in at 10 micro-credits and 5 out at 40.
      { model: 'small', price: '10 in, 1.25 cached, 40 out per million tokens', charged: '0.000320' },
    ])
    const only = async (input: object) =>
      ((await run(listUsage, bursar, input)).data['calls'] as { model: string }[]).map(({ model }) => model)
    expect(new Set(await only({ model: 'small' })), way).toEqual(new Set(['small']))
    expect(await only({ until: '2001-01-01' }), way).toEqual([])
    expect(await only({ since: '2001-01-01', limit: 2 }), way).toEqual(['fixed', 'small'])
    expect(text[0], way).toMatch(/ 0\.250000 of 0\.250000 credits held, at 0\.25 a call, receipt /)
  }
})
