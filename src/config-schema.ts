/**
 * bursar.config.json as a schema: every field with its meaning, unit and default. bursar.config.schema.json, from which
 * editors complete, is made from it (npm run config:schema).
 */
import { z } from 'zod'
import { decimal, name, positive, url, usd } from './config-fields.ts'
import { model, upstream } from './config-models.ts'

const lifetime = z
  .string()
  .regex(/^(never|[1-9]\d{0,4}d)$/, 'expected "never" or days such as "365d"')
  .describe('How long bought credits last: "never", or days such as "365d"')

const confirmations = z
  .array(
    z.strictObject({
      up_to_usd: usd
        .optional()
        .describe('This row covers payments up to this value; leave it out in the last row'),
      blocks: z.int().min(1).max(10_000).describe('Its own block counts as one'),
    }),
  )
  .min(1)
  .refine(
    (rows) =>
      rows.at(-1)?.up_to_usd === undefined && rows.slice(0, -1).every((row) => row.up_to_usd !== undefined),
    {
      error: 'expected up_to_usd in every row but the last',
    },
  )
  .describe('Confirmations that credit a payment, by its value')

/** One endpoint listed twice would second itself. */
const endpoints = z
  .array(url)
  .min(1)
  .refine((urls) => new Set(urls).size === urls.length, 'expected each endpoint once')

const pollMs = z
  .int()
  .min(50)
  .max(600_000)
  .optional()
  .describe('How often new blocks are looked for; known chains have it built in')

export const evmChain = z.strictObject({
  family: z.literal('evm').default('evm').describe('"evm", or "bitcoin"'),
  chain_id: z.int().positive().optional().describe('EIP-155 chain id; known chains have it built in'),
  rpc: endpoints.describe(
    'JSON-RPC endpoints, of different providers: two have to agree, where there are two',
  ),
  assets: z
    .array(z.string().regex(/^[A-Z0-9.]{2,10}$/))
    .min(1)
    .describe('Tickers to accept: "ETH", "USDC"'),
  tokens: z
    .record(
      z.string().regex(/^[A-Z0-9.]{2,10}$/),
      z.strictObject({
        contract: z
          .string()
          .regex(/^0x[0-9a-fA-F]{40}$/)
          .describe('Its address'),
        decimals: z.int().min(0).max(36).describe('As the contract says; 6 for USDC and USDT'),
      }),
    )
    .default({})
    .describe('Token contracts beyond the built-in ones; checked on the chain at start'),
  native: z
    .string()
    .regex(/^[A-Z0-9]{2,10}$/)
    .optional()
    .describe("Ticker of the chain's own coin; ETH by default"),
  confirmations: confirmations.optional(),
  finality_blocks: z
    .int()
    .min(1)
    .max(10_000)
    .optional()
    .describe('A reorganisation deeper than this halts crediting'),
  finality_stall_blocks: z
    .int()
    .min(1)
    .max(1_000_000)
    .optional()
    .describe('With more blocks than this that are not final, only final ones credit'),
  traces: z
    .boolean()
    .optional()
    .describe("false: endpoints are not asked for block traces, and a contract's payment has to be claimed"),
  poll_ms: pollMs,
})

export const bitcoinChain = z.strictObject({
  family: z.literal('bitcoin').describe('"evm", or "bitcoin"'),
  network: z.enum(['mainnet', 'testnet', 'regtest']).default('mainnet').describe('Which Bitcoin'),
  rpc: endpoints.describe('Bitcoin Core RPC, with user and password in the URL'),
  bech32: z
    .string()
    .regex(/^[a-z]{1,10}$/)
    .optional()
    .describe('Address prefix of a test network, where it differs'),
  confirmations: confirmations.optional(),
  finality_blocks: z
    .int()
    .min(1)
    .max(1_000)
    .optional()
    .describe('A reorganisation deeper than this halts crediting; 24 by default'),
  poll_ms: pollMs,
})

const keys = z.strictObject({
  evm: z.string().optional().describe("Extended public key of the account (m/44'/60'/0' or m/44'/60'/0'/0)"),
  bitcoin: z
    .union([
      z.string(),
      z.strictObject({
        xpub: z.string().describe('The key'),
        script: z.enum(['p2wpkh', 'p2tr']).default('p2wpkh').describe('Which addresses it derives'),
      }),
    ])
    .optional()
    .describe("Extended public key of the account (m/84'/0'/0'): xpub, zpub, tpub or vpub"),
})

const rates = z
  .strictObject({
    fixed: z
      .record(z.string(), positive)
      .optional()
      .describe('USD per whole coin; for test networks only. Stablecoins are $1 without it'),
    sources: z
      .array(z.enum(['kraken', 'coinbase', 'bitstamp', 'bitfinex', 'chainlink']))
      .min(2)
      .refine((names) => new Set(names).size === names.length, 'expected each source once')
      .optional()
      .describe(
        'Who is asked for prices; all by default. Chainlink is read through the nodes under `chains`',
      ),
    max_age_seconds: z
      .int()
      .min(10)
      .max(3_600)
      .default(120)
      .describe("An older price is not counted; Chainlink's may be as old as its feed's heartbeat"),
    max_spread_percent: positive
      .refine((text) => /^([0-9](\.\d{1,4})?|10(\.0{1,4})?)$/.test(text), {
        error: 'expected at most "10", with at most four decimals',
      })
      .default('1.5')
      .describe('How far apart prices may lie that count as agreeing; stablecoins: 1 at most'),
    min_sources: z.int().min(2).max(5).default(2).describe('How many sources must agree'),
  })
  .refine(({ sources, min_sources }) => sources === undefined || sources.length >= min_sources, {
    error: 'expected at least as many sources as min_sources',
    path: ['sources'],
  })

const pack = z.strictObject({
  id: name.describe('What buyers name it'),
  credits: positive.describe('Credits in the pack'),
  price: positive
    .optional()
    .describe('USD; by default credits times the price of a credit. Less is a discount'),
  expires: lifetime.default('365d'),
})

const purseFields = z.strictObject({
  wallet: z
    .union([
      z.strictObject({
        keystore: z.string().describe('Path of an encrypted keystore (Web3 Secret Storage v3)'),
        password: z.string().min(1).describe('"${BURSAR_WALLET_PASSWORD}"'),
      }),
      z.strictObject({
        private_key: z.string().min(1).describe('"${BURSAR_WALLET_KEY}"; never the key itself'),
      }),
    ])
    .exactOptional()
    .describe('The EVM key that pays. Only the purse reads it'),
  budget: z
    .strictObject({
      per_payment: positive.describe('USD, network fee included'),
      per_day: positive.describe('USD a calendar day, UTC'),
      per_month: positive.describe('USD a calendar month, UTC'),
    })
    .exactOptional()
    .describe('What the purse may pay out'),
  payees: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(80).describe('Your own name for it'),
        key: z
          .string()
          .regex(
            /^ed25519:[A-Za-z0-9_-]{43}$/,
            'expected "ed25519:" and 43 characters, as bursar payee prints it at the seller',
          )
          .describe('Its public key, as bursar payee prints it at the seller'),
      }),
    )
    .default([])
    .describe('Tills that may be paid, by their public key'),
  database: z.string().optional().describe('Path of its database; by default purse.db in the data folder'),
  url: url
    .optional()
    .describe(
      'Where the purse listens: with `token`, and without wallet and budget, one that somebody else runs',
    ),
  token: z.string().min(16).optional().describe('What whoever pays with the purse has to show'),
})

/** One that runs here has both; of one that another user runs, url and token are enough. */
const purse = purseFields.refine(
  ({ wallet, budget, url: place, token }) =>
    (wallet !== undefined && budget !== undefined) ||
    (wallet === undefined && budget === undefined && place !== undefined && token !== undefined),
  'expected wallet and budget, or url and token of a purse that runs elsewhere',
)

export const configSchema = z.strictObject({
  $schema: z.string().optional().describe('Path of bursar.config.schema.json, for editors'),
  seller: z
    .strictObject({
      name: z.string().min(1).max(80).default('Bursar').describe('What buyers see'),
    })
    .prefault({})
    .describe('Who sells'),
  database: z.string().optional().describe('file:, http(s):// or libsql:// URL; BURSAR_DB overrides it'),
  credit: z
    .strictObject({ usd: positive.default('0.10').describe('USD, a decimal as text') })
    .prefault({})
    .describe('Price of one credit'),
  keys: keys.prefault({}).describe('Extended public keys, from which addresses are derived; never private'),
  chains: z
    .record(name, z.union([evmChain, bitcoinChain]))
    .default({})
    .describe(
      'Where payments are taken, and where the purse pays: ethereum, polygon, base, or a name of yours',
    ),
  rates: rates.prefault({}).describe('Where prices in USD come from'),
  packs: z.array(pack).default([]).describe('Credits sold together; any other amount is sold too'),
  invoices: z
    .strictObject({
      lock_minutes: z.int().min(1).max(1440).default(15).describe('How long the rate of an invoice holds'),
      max_credits: positive.default('100000').describe('The most that one invoice is for'),
      max_open_per_account: z
        .int()
        .min(1)
        .max(1_000_000)
        .default(100)
        .describe('Open invoices without a payment, each with an address of its own; more are refused'),
    })
    .prefault({})
    .describe('Requests to pay'),
  http: z
    .strictObject({
      allowed_hosts: z
        .array(
          z
            .string()
            .regex(
              /^([a-z0-9.-]{1,253}|\[[0-9a-f:]+\])$/,
              'expected a host name in lower case, without port',
            ),
        )
        .default([])
        .describe('Names under which this server is reached, besides those of the loopback interface'),
      proxies: z
        .int()
        .min(0)
        .max(5)
        .default(0)
        .describe(
          'Proxies of yours that every request passes: so many addresses at the end of X-Forwarded-For are trusted',
        ),
      metrics: z
        .enum(['key', 'loopback', 'off'])
        .default('key')
        .describe(
          'Who may read /metrics: whoever has BURSAR_ADMIN_TOKEN or a seller key; also anybody on this machine ("loopback"); nobody ("off")',
        ),
    })
    .prefault({})
    .describe('How the till is reached'),
  signup: z
    .strictObject({
      open: z
        .boolean()
        .default(false)
        .describe('Whether anybody may open an account (bursar signup); it starts without credits'),
      per_hour_per_address: z.int().min(1).max(100_000).default(5).describe('In IPv6 a /64 is one address'),
      per_hour: z.int().min(1).max(1_000_000).default(200).describe('From all addresses together'),
    })
    .prefault({})
    .describe('Accounts that strangers open'),
  rate_limits: z
    .strictObject({
      per_minute: z.int().min(1).max(1_000_000).describe('Requests a minute of one key'),
      burst: z.int().min(1).max(1_000_000).optional().describe('At once, after a pause; by default as many'),
      account_per_minute: z
        .int()
        .min(1)
        .max(10_000_000)
        .optional()
        .describe('Of all keys of one account together; by default ten times per_minute'),
    })
    .optional()
    .describe('Of the keys of accounts and agents, in each process by itself; none by default'),
  calls: z
    .strictObject({
      fit_floor_tokens: z
        .int()
        .min(0)
        .max(10_000_000)
        .default(1024)
        .describe(
          'A call whose output limit the balance cannot cover gets the limit that it can, down to this many tokens; 0 refuses instead. A caller may set its own, with x-bursar-fit or bursar_fit',
        ),
      keep_answers_hours: z
        .int()
        .min(0)
        .max(8_760)
        .default(24)
        .describe(
          'How long the answer of a call with an idempotency key is kept, to be given again; 0 stores none. A repeat never runs again either way',
        ),
      margin_percent: decimal
        .default('0')
        .describe('Added to the price per token of every model that has no margin of its own'),
    })
    .prefault({})
    .describe('What applies to every model call'),
  upstreams: z.record(name, upstream).default({}).describe('Where model calls go, by a name of yours'),
  models: z
    .record(z.string().min(1).max(200), model)
    .default({})
    .describe('What is sold, by the name that buyers use'),
  purse: purse.optional().describe("A buyer's wallet, and what it may pay"),
})

/** The same for editors. What takes more than one field to say is checked by Bursar alone. */
export function configJsonSchema(): object {
  return { title: 'bursar.config.json', ...z.toJSONSchema(configSchema, { io: 'input' }) }
}

export type ConfigFile = z.output<typeof configSchema>
export type EvmChainConfig = z.output<typeof evmChain>
export type BitcoinChainConfig = z.output<typeof bitcoinChain>
export type PurseSection = NonNullable<ConfigFile['purse']>
/** Of a purse that runs here. */
export type PurseConfig = PurseSection & Required<Pick<PurseSection, 'wallet' | 'budget'>>
export type ModelConfig = ConfigFile['models'][string]
export type { PriceConfig } from './config-models.ts'
export type UpstreamConfig = ConfigFile['upstreams'][string]
export type PackConfig = ConfigFile['packs'][number]
