/** What stands around the till and is not killed: a chain, an upstream, a configuration, buyers' keys. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { connect, type McpSession } from '../support/mcp-clients.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { deployToken, type TestToken } from '../support/token.ts'
import type { Dice } from './dice.ts'
import type { Life } from './lives.ts'
import { startTeller, type Teller } from './teller.ts'
import { type CountingUpstream, startCountingUpstream } from './upstream.ts'

export const BIN = fileURLToPath(new URL('../../bin/bursar.js', import.meta.url))
const CLOCK = new URL('../support/clock-ahead.ts', import.meta.url).href
/** Account m/44'/60'/0' of the mnemonic "abandon ... about": its addresses are empty on a local chain. */
const SELLER_XPUB =
  'xpub6DCoCpSuQZB2jawqnGMEPS63ePKWkwWPH4TU45Q7LPXWuNd8TMtVxRrgjtEshuqpK3mdhaWHPFsBngh5GFZaM6si3yZdUsT8ddYM3PwnATt'

export const ACCOUNTS = ['alice', 'bob'] as const
export type AccountName = (typeof ACCOUNTS)[number]

/** A life of `bursar serve`: one MCP session over HTTP for each account. */
export type Sessions = Readonly<Record<AccountName, McpSession>>

export interface Stage {
  readonly folder: string
  readonly database: string
  readonly chain: Anvil
  readonly token: TestToken
  readonly upstream: CountingUpstream
  /** Ids by name. */
  readonly accounts: Readonly<Record<AccountName, string>>
  /** Starts `bursar serve` with a clock that is so far ahead. */
  serve(aheadMs: number): Life<Sessions>
  teller(aheadMs: number): Life<Teller>
  /** Runs a `bursar` command to its end; its answer, or its problem, as JSON. */
  command(args: readonly string[]): Promise<Record<string, unknown>>
  stop(): Promise<void>
}

export async function setStage(folder: string, dice: Dice): Promise<Stage> {
  await mkdir(folder, { recursive: true })
  const closing: (() => Promise<unknown>)[] = []
  const stop = async (): Promise<void> => {
    for (const close of closing.splice(0).toReversed()) await close()
  }
  try {
    const chain = await startAnvil()
    closing.push(() => chain.stop())
    const [token, upstream] = await Promise.all([deployToken(chain), startCountingUpstream(dice)])
    closing.push(() => upstream.stop())
    for (const { address } of chain.accounts) await chain.mined(await token.mint(address, 10n ** 15n))
    const database = join(folder, 'till.db')
    const config = join(folder, 'bursar.config.json')
    await writeFile(config, JSON.stringify(configuration(chain, token.address, upstream.baseUrl, database)))
    const env = {
      PATH: process.env['PATH'] ?? '',
      BURSAR_CONFIG: config,
      BURSAR_DATA: folder,
      PORT: '0',
      // Starting is most of what a killed program does; what its first, ended life has compiled is not compiled again.
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? join(folder, 'compiled'),
    }
    const keys = await createKeys(env)
    const errors = openSync(join(folder, 'till.log'), 'a')
    const clock = (aheadMs: number): NodeJS.ProcessEnv => ({ ...env, CLOCK_AHEAD_MS: String(aheadMs) })
    const serve = (aheadMs: number): Life<Sessions> => startServe(keys, clock(aheadMs), errors)
    const first = serve(0)
    await first.ready
    first.child.kill('SIGTERM')
    await first.ended
    return {
      folder,
      database,
      chain,
      token,
      upstream,
      accounts: { alice: keys.alice.account, bob: keys.bob.account },
      serve,
      command: (args) => command(env, args),
      teller: (aheadMs) =>
        startTeller(`file:${database}`, ['--no-warnings', '--import', CLOCK], clock(aheadMs)),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function configuration(
  chain: Anvil,
  token: string,
  upstream: string,
  database: string,
): Record<string, unknown> {
  return {
    seller: { name: 'Crash Credits' },
    database,
    keys: { evm: SELLER_XPUB },
    chains: {
      ethereum: {
        chain_id: chain.chainId,
        rpc: [chain.url],
        assets: ['ETH', 'USDC'],
        tokens: { USDC: { contract: token, decimals: 6 } },
        confirmations: [{ blocks: 2 }],
        finality_blocks: 64,
        poll_ms: 50,
      },
    },
    rates: { fixed: { ETH: '2500', USDC: '1' } },
    packs: [{ id: 'sale', credits: '10', price: '0.80' }],
    invoices: { lock_minutes: 1440 },
    upstreams: { main: { base_url: upstream, timeout_ms: PATIENCE_MS } },
    models: {
      'per-token': {
        upstream: 'main',
        usd_per_million_input: '1',
        usd_per_million_output: '2',
        max_output_tokens: 100,
      },
      fixed: { upstream: 'main', credits_per_call: '0.25', max_output_tokens: 50 },
    },
  }
}

interface Key {
  readonly key: string
  readonly account: string
}

async function createKeys(env: Record<string, string>): Promise<Record<AccountName, Key>> {
  const create = async (name: AccountName): Promise<Key> => {
    const { key, account } = await command(env, ['keys', 'create', '--account', name])
    return { key: String(key), account: String(account) }
  }
  const [alice, bob] = [await create('alice'), await create('bob')]
  return { alice, bob }
}

async function command(
  env: Record<string, string>,
  args: readonly string[],
): Promise<Record<string, unknown>> {
  const ran = promisify(execFile)(process.execPath, ['--no-warnings', BIN, ...args, '--json'], { env })
  // A refusal is printed as well as an answer.
  const { stdout } = await ran.catch((thrown: unknown) => thrown as { stdout: string })
  return JSON.parse(stdout) as Record<string, unknown>
}

function startServe(keys: Record<AccountName, Key>, env: NodeJS.ProcessEnv, errors: number): Life<Sessions> {
  const child = spawn(process.execPath, ['--no-warnings', '--import', CLOCK, BIN, 'serve', '--json'], {
    env,
    stdio: ['ignore', 'pipe', errors],
  })
  const open = async (url: string, { key }: Key): Promise<McpSession> =>
    connect('2026-07-28', { kind: 'http', url, headers: { authorization: `Bearer ${key}` } })
  const { stdout } = child
  if (!stdout) throw new Error('bursar serve has no output')
  const ended = once(child, 'exit')
  const ready = new Promise<Sessions>((resolve) => {
    createInterface(stdout).once('line', (line) => {
      const { mcp } = JSON.parse(line) as { mcp: string }
      Promise.all(ACCOUNTS.map((name) => open(mcp, keys[name]))).then(
        ([alice, bob]) => alice && bob && resolve({ alice, bob }),
        () => undefined, // It was killed while they connected.
      )
    })
  })
  // A client does not notice by itself, and waits a minute for what was asked last.
  void Promise.all([ready, ended]).then(([sessions]) =>
    Promise.all(ACCOUNTS.map((name) => sessions[name].close())),
  )
  return { child, ready, ended: ended.then(() => undefined) }
}
