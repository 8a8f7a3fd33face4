/**
 * The world around the real programs, all of it local: an EVM chain (anvil), a USDC-like token, an upstream that
 * answers model calls, a buyer's funded wallet, and one configuration for till and purse. The demo plays on it too.
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Anvil, startAnvil } from './anvil.ts'
import type { Endpoint } from './mcp-clients.ts'
import { answerOf, BIN, type Environment, type Ran, run, type Server, serve } from './program.ts'
import { deployToken, type TestToken } from './token.ts'

/** Account m/44'/60'/0' of the mnemonic "abandon ... about": the seller's hardware wallet, as far as Bursar sees it. */
export const SELLER_XPUB =
  'xpub6DCoCpSuQZB2jawqnGMEPS63ePKWkwWPH4TU45Q7LPXWuNd8TMtVxRrgjtEshuqpK3mdhaWHPFsBngh5GFZaM6si3yZdUsT8ddYM3PwnATt'

export interface StageOptions {
  /** What answers model calls. It is stopped with the stage. */
  readonly upstream: {
    readonly baseUrl: string
    readonly apiKey?: string
    readonly model?: string
    stop(): Promise<unknown>
  }
  /** The seller, and the payee as the purse knows it. */
  readonly name?: string
  /** Of the temporary folder. */
  readonly prefix?: string
  /** Confirmations that credit a payment; 1 by default. */
  readonly confirmations?: number
  /** Where the key of the wallet is: in an encrypted file, or in the environment, which starts faster. */
  readonly wallet?: 'keystore' | 'environment'
  /** USD. */
  readonly budget?: { readonly per_payment: string; readonly per_day: string; readonly per_month: string }
  /** What programs connect to instead of the chain itself, such as a proxy before it. */
  readonly rpc?: (chain: Anvil) => Promise<{ readonly url: string; stop(): Promise<void> }>
}

export interface Stage {
  readonly chain: Anvil
  readonly token: TestToken
  /** Holds everything that the programs write. */
  readonly folder: string
  readonly configPath: string
  readonly database: string
  /** The till's public key. */
  readonly payee: string
  /** Address of the buyer's wallet. */
  readonly wallet: string
  readonly model: string
  /** What `bursar` needs in its environment. */
  readonly env: Environment
  /** The configuration as it is written, for tests that write another. */
  readonly config: Readonly<Record<string, unknown>>
  /** Writes the configuration with these members instead. */
  configure(members: Readonly<Record<string, unknown>>): Promise<void>
  run(args: readonly string[], env?: Environment): Promise<Ran>
  /** Starts a till over HTTP; it is stopped with the stage. */
  serve(env?: Environment): Promise<Server>
  /** Makes an API key for an account. */
  key(account: string): Promise<string>
  /** `bursar mcp` for an account. */
  stdio(account?: string, env?: Environment): Extract<Endpoint, { kind: 'stdio' }>
  /** Rows of the till's database, on a connection that cannot write. Integers as numbers. */
  query<T>(sql: string, ...args: readonly (string | number)[]): T[]
  /** What the running purse has announced, or null where none runs. */
  purse(): Promise<{ readonly pid: number; readonly address: string } | null>
  stop(): Promise<void>
}

const MODEL = 'test-model'
const BUDGET = { per_payment: '25.00', per_day: '1000.00', per_month: '1000.00' }

export async function setStage(options: StageOptions): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), options.prefix ?? 'bursar-stage-'))
  const closing: (() => Promise<unknown>)[] = [
    () => rm(folder, { recursive: true, force: true, maxRetries: 50 }),
    () => options.upstream.stop(),
  ]
  const stop = async (): Promise<void> => {
    const failures: unknown[] = []
    // What cannot be ended must not keep the rest up.
    for (const close of closing.splice(0).toReversed()) await close().catch((error) => failures.push(error))
    if (failures.length > 0) throw new AggregateError(failures, 'the stage could not be cleared')
  }
  try {
    return await set(options, folder, closing, stop)
  } catch (error) {
    await stop()
    throw error
  }
}

async function set(
  options: StageOptions,
  folder: string,
  closing: (() => Promise<unknown>)[],
  stop: () => Promise<void>,
): Promise<Stage> {
  const configPath = join(folder, 'bursar.config.json')
  const env: Environment = {
    PATH: process.env['PATH'] ?? '',
    BURSAR_CONFIG: configPath,
    BURSAR_DATA: folder,
    BURSAR_WALLET_PASSWORD: randomBytes(16).toString('hex'),
    BURSAR_WALLET_KEY: `0x${randomBytes(32).toString('hex')}`,
    PORT: '0',
  }
  const keystore = options.wallet === 'keystore' ? join(folder, 'wallet.json') : null
  // The buyer's wallet and the seller's key exist before the configuration that names them.
  await writeFile(configPath, JSON.stringify(keystore ? {} : withWalletOnly()))
  const [{ chain, token, rpc }, { address: wallet }, { payee }] = await Promise.all([
    startChain(options, closing),
    answerOf<{ address: string }>(['wallet', ...(keystore ? ['create', keystore] : ['address'])], env),
    answerOf<{ payee: string }>(['payee'], env),
  ])
  const config = configuration(options, { chain, token, rpc, folder, payee, keystore })
  const configure = (members: Readonly<Record<string, unknown>>): Promise<void> =>
    writeFile(configPath, JSON.stringify({ ...config, ...members }, null, 2))
  await configure({})
  await chain.mined(await chain.send({ to: wallet, value: 10n ** 18n }))
  await chain.mined(await token.mint(wallet, 1_000_000_000n))
  return {
    chain,
    token,
    folder,
    configPath,
    database: join(folder, 'till.db'),
    payee,
    wallet,
    model: options.upstream.model ?? MODEL,
    env,
    config,
    configure,
    run: (args, more = {}) => run(args, { ...env, ...more }),
    async serve(more = {}) {
      const server = await serve({ ...env, ...more })
      closing.push(() => server.stop())
      return server
    },
    key: async (account) =>
      (await answerOf<{ key: string }>(['keys', 'create', '--account', account], env)).key,
    stdio: (account = 'local', more = {}) => ({
      kind: 'stdio',
      command: process.execPath,
      args: [BIN, 'mcp', '--account', account],
      env: { ...env, ...more },
    }),
    query<T>(sql: string, ...args: readonly (string | number)[]) {
      const database = new DatabaseSync(join(folder, 'till.db'), { readOnly: true })
      try {
        return database.prepare(sql).all(...args) as T[]
      } finally {
        database.close()
      }
    },
    purse: () => announcedPurse(folder),
    stop,
  }
}

async function startChain(
  { rpc }: StageOptions,
  closing: (() => Promise<unknown>)[],
): Promise<{ chain: Anvil; token: TestToken; rpc: string }> {
  const chain = await startAnvil()
  closing.push(() => chain.stop())
  const token = await deployToken(chain)
  const before = await rpc?.(chain)
  if (before) closing.push(() => before.stop())
  return { chain, token, rpc: before?.url ?? chain.url }
}

interface Parts {
  readonly chain: Anvil
  readonly token: TestToken
  readonly rpc: string
  readonly folder: string
  readonly payee: string
  readonly keystore: string | null
}

function configuration(
  { upstream, name = 'Test Credits', confirmations = 1, budget = BUDGET }: StageOptions,
  { chain, token, rpc, folder, payee, keystore }: Parts,
): Record<string, unknown> {
  return {
    seller: { name },
    database: join(folder, 'till.db'),
    keys: { evm: SELLER_XPUB },
    chains: {
      ethereum: {
        chain_id: chain.chainId,
        rpc: [rpc],
        assets: ['ETH', 'USDC'],
        tokens: { USDC: { contract: token.address, decimals: token.decimals } },
        confirmations: [{ blocks: confirmations }],
        poll_ms: 100,
      },
    },
    rates: { fixed: { ETH: '3000', USDC: '1' } },
    packs: [{ id: 'starter', credits: '100', expires: '365d' }],
    upstreams: { main: { base_url: upstream.baseUrl, api_key: upstream.apiKey ?? 'emulator' } },
    models: {
      [upstream.model ?? MODEL]: {
        upstream: 'main',
        usd_per_million_input: '2.50',
        usd_per_million_output: '10.00',
        margin_percent: '20',
        max_output_tokens: 2_000_000,
      },
    },
    purse: {
      wallet: keystore
        ? { keystore, password: '${BURSAR_WALLET_PASSWORD}' }
        : { private_key: '${BURSAR_WALLET_KEY}' },
      budget,
      payees: [{ name, key: payee }],
    },
  }
}

/** Enough for `bursar wallet address`. */
function withWalletOnly(): Record<string, unknown> {
  return { purse: { wallet: { private_key: '${BURSAR_WALLET_KEY}' }, budget: BUDGET } }
}

async function announcedPurse(folder: string): Promise<{ pid: number; address: string } | null> {
  const notice = (await readdir(folder)).find((name) => /^purse-0x[0-9a-f]{40}\.json$/i.test(name))
  if (notice === undefined) return null
  return JSON.parse(await readFile(join(folder, notice), 'utf8')) as { pid: number; address: string }
}
