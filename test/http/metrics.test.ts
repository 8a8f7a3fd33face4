/** /metrics and /readyz of a till as it is started, with a call that was answered and one that moved on. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BursarError } from '../../src/errors.ts'
import { openMetrics, type Readings } from '../../src/http/metrics.ts'
import { startHttp } from '../../src/http/server.ts'
import { createKey } from '../../src/ledger/keys.ts'
import { seededRuntime } from '../support/chance.ts'
import { type TestLedger, testLedger } from '../support/database.ts'
import { memoryTill } from '../support/memory-bursar.ts'
import { NOWHERE } from '../support/nowhere.ts'
import { type Server, serve } from '../support/program.ts'
import { type ScriptedUpstream, startScriptedUpstream } from '../support/upstream.ts'

const ADMIN = 'an-operators-token-of-enough-length'

let folder: string
let upstream: ScriptedUpstream
let ledger: TestLedger
let till: Server
let keys: { buyer: string; seller: string }
let account: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bursar-metrics-'))
  upstream = await startScriptedUpstream()
  ledger = await testLedger()
  account = await ledger.account(1_000_000n)
  keys = {
    buyer: (await createKey(ledger.ledger, { scope: 'account', account, name: 'b' })).key,
    seller: (await createKey(ledger.ledger, { scope: 'seller', name: 's' })).key,
  }
  const price = { usd_per_million_input: '1', usd_per_million_output: '2', max_output_tokens: 10 }
  const config = join(folder, 'bursar.config.json')
  await writeFile(
    config,
    JSON.stringify({
      upstreams: { main: { base_url: upstream.baseUrl }, gone: { base_url: `${NOWHERE}/v1` } },
      models: {
        direct: { upstream: 'main', ...price },
        spare: { upstreams: ['gone', 'main'], ...price },
      },
    }),
  )
  till = await serve({
    HOME: folder,
    PATH: process.env['PATH'] ?? '',
    BURSAR_CONFIG: config,
    BURSAR_DATA: folder,
    BURSAR_DB: ledger.url,
    BURSAR_ADMIN_TOKEN: ADMIN,
    PORT: '0',
  })
})
afterAll(async () => {
  await till?.stop()
  await ledger?.close()
  await upstream?.stop()
  await rm(folder, { recursive: true, force: true })
})

const read = (headers: Record<string, string> = {}) => fetch(`${till.url}/metrics`, { headers })
const bearer = (key: string) => ({ authorization: `Bearer ${key}` })

describe('a till that is served', () => {
  test('shows its numbers to its operator and to the seller only', async () => {
    expect((await read()).status).toBe(401)
    expect((await read(bearer('bk_nonsense'))).status).toBe(401)
    expect((await read(bearer(`${ADMIN}x`))).status).toBe(401)
    const buyer = await read(bearer(keys.buyer))
    expect([buyer.status, await buyer.json()]).toEqual([403, expect.objectContaining({ code: 'forbidden' })])
    expect((await read(bearer(keys.seller))).status).toBe(200)
    expect((await read({ 'x-api-key': ADMIN })).status).toBe(200)
    expect((await fetch(`${till.url}/metrics`, { method: 'POST', headers: bearer(ADMIN) })).status).toBe(405)
  })

  test('counts calls by how they ended, and says which upstream is down without being unready', async () => {
    expect(await (await fetch(`${till.url}/readyz`)).json()).toEqual({
      status: 'ok',
      checks: ['database', 'restore'],
    })
    for (const model of ['direct', 'direct', 'spare']) {
      const response = await fetch(`${till.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { ...bearer(keys.buyer), 'content-type': 'application/json' },
        body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Good day?' }] }),
      })
      expect(response.status).toBe(200)
      await response.text()
    }
    const response = await read(bearer(ADMIN))
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
    const text = await response.text()
    const value = (name: string) => {
      const line = text.split('\n').find((each) => each.startsWith(`${name} `))
      return line === undefined ? null : Number(line.slice(name.length + 1))
    }
    const calls = (model: string, name: string, outcome: string) =>
      value(`bursar_calls_total{model="${model}",upstream="${name}",outcome="${outcome}"}`)
    expect(calls('direct', 'main', 'answered')).toBe(2)
    expect(calls('spare', 'main', 'answered')).toBe(1)
    expect(calls('spare', 'gone', 'passed_over')).toBe(1)
    expect(value('bursar_call_seconds_count{model="direct",upstream="main"}')).toBe(2)
    // 12 tokens at 10 and 5 at 20 micro-credits, three times.
    expect(value('bursar_credits_captured_total')).toBeCloseTo(0.00066, 9)
    expect(value('bursar_commit_changes_sum')).toBe(6)
    expect(value('bursar_commit_seconds_count')).toBeGreaterThan(0)
    expect(value('bursar_holds_open')).toBe(0)
    expect(value('bursar_invoices{state="open"}')).toBe(0)
    expect(value('nodejs_eventloop_lag_p99_seconds')).toBeGreaterThan(0)
    expect(value('process_resident_memory_bytes')).toBeGreaterThan(0)
    expect(text).not.toContain(account)
    expect(await (await fetch(`${till.url}/readyz`)).json()).toEqual({
      status: 'ok',
      checks: ['database', 'restore'],
      degraded: ['upstream gone'],
    })
  })
})

describe('who may read', () => {
  const NO_KEY = async () => {
    throw new BursarError('unauthorized', 'This API key is not known.')
  }
  async function status(
    access: 'key' | 'loopback' | null,
    headers: Record<string, string> = {},
  ): Promise<number | undefined> {
    const server = await startHttp({
      runtime: seededRuntime(),
      version: '0.0.0-test',
      host: '127.0.0.1',
      port: 0,
      allowedHosts: [],
      checks: [],
      authenticate: NO_KEY,
      bursarFor: ({ account: id }) => memoryTill().forAccount(id),
      ...(access
        ? {
            metrics: {
              access,
              adminToken: undefined,
              read: async () => ({ type: 'text/plain', text: 'x 1\n' }),
            },
          }
        : {}),
    })
    try {
      const { promise, resolve, reject } = Promise.withResolvers<number | undefined>()
      // fetch sets the Host by itself.
      request(`${server.url}/metrics`, { headers }, (response) => {
        response.resume()
        response.on('end', () => resolve(response.statusCode))
      })
        .on('error', reject)
        .end()
      return await promise
    } finally {
      await server.close()
    }
  }

  test('without a key: nobody, unless this machine is trusted, and then nobody behind a proxy or a page', async () => {
    expect(await status('key')).toBe(401)
    expect(await status('loopback')).toBe(200)
    expect(await status('loopback', { 'x-forwarded-for': '203.0.113.7' })).toBe(401)
    expect(await status('loopback', { host: 'evil.example' })).toBe(401)
    expect(await status('loopback', { origin: 'https://evil.example' })).toBe(401)
    expect(await status(null)).toBe(404)
  })
})

test('readings that fail are left out, not repeated', async () => {
  const watched = await openMetrics()
  const now: Readings = {
    holds: { open: 2, micro: 1_500_000n },
    invoices: { open: 3 },
    chains: [{ chain: 'base', blocksBehind: 4, readSecondsAgo: 1.5, halted: true }],
  }
  const { text } = await watched.read(async () => now)
  for (const line of [
    'bursar_holds_open 2',
    'bursar_credits_held 1.5',
    'bursar_invoices{state="open"} 3',
    'bursar_chain_blocks_behind{chain="base"} 4',
    'bursar_chain_read_seconds_ago{chain="base"} 1.5',
    'bursar_chain_halted{chain="base"} 1',
  ]) {
    expect(text.split('\n')).toContain(line)
  }
  const failed = await watched.read(() => Promise.reject(new Error('busy')))
  expect(failed.text).toContain('bursar_holds_open Nan')
  expect(failed.text).not.toContain('{chain="base"}')
  expect(failed.text).toContain('bursar_readings_failed_total 1')
})

test('an endpoint that does not answer is counted', async () => {
  const { metrics, read: page } = await openMetrics()
  metrics.endpointFailed('base', 'rpc.example')
  const { text } = await page(() => Promise.reject(new Error('none')))
  expect(text).toContain('bursar_endpoint_failures_total{chain="base",endpoint="rpc.example"} 1')
})
