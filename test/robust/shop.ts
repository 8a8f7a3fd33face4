/** A whole till on a database file of the test's choice: a chain, an upstream, HTTP, and a buyer with a key. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openTill } from '../../src/app.ts'
import { readSettings, type Settings } from '../../src/config.ts'
import { startHttp } from '../../src/http/server.ts'
import { createAccount } from '../../src/ledger/accounts.ts'
import { createKey } from '../../src/ledger/keys.ts'
import { type Verified, verifyDatabase } from '../../src/ledger/verify/verify.ts'
import type { Runtime } from '../../src/runtime.ts'
import { openTillLedger } from '../../src/till-ledger.ts'
import { SHOP_KEY } from '../invoices/shop.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { seededRuntime } from '../support/chance.ts'
import { type ScriptedUpstream, startScriptedUpstream } from '../support/upstream.ts'

export interface World {
  readonly folder: string
  readonly anvil: Anvil
  readonly upstream: ScriptedUpstream
  /** For a till on this file; everything else of it lies in `folder`. */
  settings(database: string): Settings
  readonly runtime: Runtime
  stop(): Promise<void>
}

export interface Shop {
  readonly key: string
  call(idempotencyKey: string): Promise<Answer>
  ask(idempotencyKey: string): Promise<Answer>
  get(path: string): Promise<Answer>
  /** Buys 100 credits and waits until they are there. */
  buy(): Promise<void>
  close(): Promise<void>
}

export interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

export async function startWorld(): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'bursar-robust-'))
  const [anvil, upstream] = await Promise.all([startAnvil(), startScriptedUpstream()])
  const config = join(folder, 'bursar.config.json')
  await writeFile(
    config,
    JSON.stringify({
      keys: { evm: SHOP_KEY },
      chains: {
        local: {
          chain_id: anvil.chainId,
          rpc: [anvil.url],
          assets: ['ETH'],
          confirmations: [{ blocks: 1 }],
          poll_ms: 50,
        },
      },
      rates: { fixed: { ETH: '2500' } },
      upstreams: { main: { base_url: upstream.baseUrl } },
      models: { fixed: { upstream: 'main', credits_per_call: '0.25' } },
    }),
  )
  return {
    folder,
    anvil,
    upstream,
    runtime: seededRuntime(),
    settings: (database) =>
      readSettings({
        env: { BURSAR_CONFIG: config, BURSAR_DATA: folder, BURSAR_DB: database },
        cwd: folder,
        folders: [],
      }),
    async stop() {
      await Promise.all([anvil.stop(), upstream.stop()])
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** @param key of an earlier till on the same database; without one, an account and its key are made. */
export async function openShop(world: World, database: string, key?: string): Promise<Shop> {
  const { runtime, anvil } = world
  const settings = world.settings(database)
  const mine = key ?? (await makeKey(world, settings))
  const till = await openTill({ settings, runtime })
  const server = await startHttp({
    // No deadline of a probe: what a busy machine is late with is waited for.
    runtime: { ...runtime, after: () => () => undefined },
    version: '0.0.0-test',
    host: '127.0.0.1',
    port: 0,
    allowedHosts: [],
    checks: till.checks,
    authenticate: till.authenticate,
    bursarFor: till.bursarFor,
    calls: till.calls,
  })
  const send = async (path: string, idempotencyKey?: string, body?: object): Promise<Answer> => {
    const answer = await fetch(`${server.url}${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        'content-type': 'application/json',
        'x-api-key': mine,
        ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
  }
  const ask = (idempotencyKey: string): Promise<Answer> =>
    send('/v1/invoices', idempotencyKey, { rail: 'local:ETH', credits: '100' })
  return {
    key: mine,
    ask,
    get: (path) => send(path),
    call: (idempotencyKey) =>
      send('/v1/chat/completions', idempotencyKey, {
        model: 'fixed',
        messages: [{ role: 'user', content: 'Good day?' }],
      }),
    async buy() {
      const { body } = await ask(`buy-${runtime.id('once')}`)
      const { address, amount, id } = body as { address: string; amount: string; id: string }
      await anvil.mined(await anvil.send({ to: address, value: BigInt(amount) }))
      while ((await send(`/v1/invoices/${id}`)).body['state'] !== 'paid') await runtime.sleep(30)
    },
    async close() {
      await server.close()
      await till.close()
    },
  }
}

async function makeKey({ runtime }: World, settings: Settings): Promise<string> {
  const ledger = await openTillLedger({ settings, runtime })
  try {
    const { id } = await createAccount(ledger, { externalId: 'buyer' })
    return (await createKey(ledger, { scope: 'account', account: id, name: 'test' })).key
  } finally {
    await ledger.close()
  }
}

export function verify({ runtime }: World, database: string): Promise<Verified> {
  return verifyDatabase({ url: `file:${database}`, runtime })
}
