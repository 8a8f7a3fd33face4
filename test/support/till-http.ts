/** A till's HTTP server over a test's ledger and upstreams, and a key to use it with. */

import { configSchema } from '../../src/config-schema.ts'
import type { SignupPolicy } from '../../src/http/account-routes.ts'
import { type HttpServer, startHttp } from '../../src/http/server.ts'
import { getBalance } from '../../src/ledger/balance.ts'
import { createKey, keyring } from '../../src/ledger/keys.ts'
import { callModel } from '../../src/models/call.ts'
import { readModels } from '../../src/models/catalogue.ts'
import { createCircuit } from '../../src/models/circuit.ts'
import { type TestLedger, testLedger } from './database.ts'
import { type MemoryTill, memoryTill } from './memory-bursar.ts'
import { DEADLINE_MS, DRAIN_MS, UPSTREAM_KEY } from './models.ts'

export interface HttpTill extends TestLedger {
  readonly url: string
  /** URL of the database. */
  readonly database: string
  readonly key: string
  /** The account of the key. */
  readonly buyer: string
  readonly server: HttpServer
  /** What answers for offers, invoices and call_model. */
  readonly memory: MemoryTill
  keyFor(account: string): Promise<string>
  sellerKey(): Promise<string>
  /** A request with the key, JSON. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>
  /** The last receipt of an account, with what no view shows. */
  receipt(account?: string): Promise<ReceiptRow>
  /** What was charged in all; nothing is held, and the journal agrees. */
  charged(): Promise<bigint>
}

export interface ReceiptRow {
  readonly id: string
  readonly state: string
  readonly upstream: string
  /** JSON. */
  readonly price: string
  readonly usage: Record<string, unknown> | null
  readonly charged: bigint
  readonly held: bigint
  readonly note: string | null
  readonly upstream_request_id: string | null
}

export const START_CREDITS = 1_000_000n

/** At $0.10 a credit: 10 and 20 micro-credits a token; 1 for what a cache read, 12 and 20 for what it wrote. */
export const PRICE = {
  usd_per_million_input: '1',
  usd_per_million_output: '2',
  usd_per_million_cached_input: '0.1',
  usd_per_million_cache_write: '1.2',
  usd_per_million_cache_write_1h: '2',
}

export async function httpTill(
  upstreams: { readonly openai: string; readonly anthropic?: string },
  {
    credits = START_CREDITS,
    upstream = {},
    floor = 0,
    signup = { open: false, perHourPerAddress: 1, perHour: 1 },
    more = {},
    engine = false,
  }: {
    credits?: bigint
    upstream?: object
    floor?: number
    signup?: SignupPolicy
    /** Beside the upstreams and models below. */
    more?: { readonly upstreams?: Record<string, object>; readonly models?: Record<string, object> }
    /** `call_model` asks the models below, in place of the memory. */
    engine?: boolean
  } = {},
): Promise<HttpTill> {
  const till = await testLedger()
  const shared = { api_key: UPSTREAM_KEY, timeout_ms: DEADLINE_MS, drain_ms: DRAIN_MS, ...upstream }
  const models = readModels(
    configSchema.parse({
      upstreams: {
        main: { base_url: upstreams.openai, ...shared },
        claude: { format: 'anthropic', base_url: upstreams.anthropic ?? upstreams.openai, ...shared },
        ...more.upstreams,
      },
      models: {
        gpt: { upstream: 'main', upstream_model: 'upstream-model', max_output_tokens: 100, ...PRICE },
        newer: { upstream: 'main', token_limit_field: 'max_completion_tokens', ...PRICE },
        text: { upstream: 'main', image_tokens: 0, ...PRICE },
        fixed: { upstream: 'main', credits_per_call: '0.25', max_output_tokens: 50 },
        claude: { upstream: 'claude', upstream_model: 'upstream-claude', max_output_tokens: 4096, ...PRICE },
        ...more.models,
      },
    }),
  )
  const buyer = await till.account(credits)
  const keys = keyring(till.ledger)
  const memory = memoryTill()
  const calls = { ledger: till.ledger, models, fitFloorTokens: floor, circuit: createCircuit() }
  const server = await startHttp({
    runtime: till.runtime,
    version: '0.0.0-test',
    host: '127.0.0.1',
    port: 0,
    allowedHosts: [],
    checks: [],
    authenticate: (key) => keys.authenticate(key),
    bursarFor: ({ account }) => ({
      ...memory.forAccount(account),
      ...(engine ? { callModel: (input) => callModel(calls, { account }, input) } : {}),
    }),
    claimPayment: async (claim) => memory.claim(claim),
    calls,
    accounts: {
      ledger: till.ledger,
      keys,
      signup,
      proxies: 0,
    },
  })
  const keyFor = async (account: string) =>
    (await createKey(till.ledger, { scope: 'account', account, name: 'test' })).key
  const key = await keyFor(buyer)
  return {
    ...till,
    url: server.url,
    database: till.url,
    key,
    buyer,
    server,
    memory,
    keyFor,
    sellerKey: async () => (await createKey(till.ledger, { scope: 'seller', name: 'desk' })).key,
    post: (path, body, headers = {}) =>
      fetch(`${server.url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${key}`, ...headers },
        body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
      }),
    async receipt(account = buyer) {
      const [row] = await till.db.query<Omit<ReceiptRow, 'usage'> & { usage: string | null }>(
        'SELECT * FROM receipt WHERE account = ? ORDER BY id DESC LIMIT 1',
        [account],
      )
      if (!row) throw new Error('expected a receipt')
      return { ...row, usage: row.usage === null ? null : (JSON.parse(row.usage) as Record<string, unknown>) }
    },
    async charged() {
      const { available, held } = await getBalance(till.ledger, buyer)
      const [sums] = await till.db.query<{ available: bigint; held: bigint }>(
        'SELECT sum(available) AS available, sum(held) AS held FROM posting WHERE account = ?',
        [buyer],
      )
      if (held !== 0n || sums?.held !== 0n || sums.available !== available)
        throw new Error('credits are held')
      return credits - available
    },
    async close() {
      await server.close()
      await keys.close()
      await till.close()
    },
  }
}
