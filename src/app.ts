/**
 * The composition root: a till put together in the order of a payment's story. Everything below receives what it
 * needs from here; nothing reaches for the clock, the network or the environment by itself.
 */
import type { Bursar, InvoiceView } from './bursar.ts'
import type { Chain } from './chains/chain.ts'
import { openChains, openEvmNetworks } from './chains/index.ts'
import type { Settings } from './config.ts'
import type { ConfigFile } from './config-schema.ts'
import { type Catalogue, readCatalogue } from './credits/packs.ts'
import { type Engine, embeddedBursar } from './embedded.ts'
import { BursarError } from './errors.ts'
import type { AccountService } from './http/account-routes.ts'
import type { ReadinessCheck } from './http/health.ts'
import type { Readings } from './http/metrics.ts'
import { limitedKeys, rateLimiter } from './http/rate-limit.ts'
import type { Authenticate } from './http/security.ts'
import { forBuyer } from './invoices/buyers.ts'
import { createChanges } from './invoices/changes.ts'
import { type ClaimPayment, claimPayment } from './invoices/claim.ts'
import { type InvoiceContext, railsOf } from './invoices/context.ts'
import { bindDeployment, type Terms } from './invoices/deployment.ts'
import { historyCheck } from './invoices/history.ts'
import { leastSale } from './invoices/pricing.ts'
import { haltedChain } from './invoices/resume.ts'
import { openTillKey } from './invoices/till-key.ts'
import { STALE_MS } from './invoices/waiting.ts'
import { type Watch, watchChain } from './invoices/watch.ts'
import { createAccount } from './ledger/accounts.ts'
import { type AccountPrincipal, type Keyring, keyring, type Principal } from './ledger/keys.ts'
import type { Ledger } from './ledger/ledger.ts'
import { refuseRestored } from './ledger/restored.ts'
import { keepUp } from './ledger/upkeep.ts'
import { readModels } from './models/catalogue.ts'
import { createCircuit } from './models/circuit.ts'
import type { CallContext } from './models/reserve.ts'
import { openRates } from './rates/open.ts'
import { takeReadings } from './readings.ts'
import type { Runtime } from './runtime.ts'
import { type OpenTillLedger, openTillLedger } from './till-ledger.ts'
import { HOUR_MS } from './time.ts'

export interface Till {
  /** The till's public key, which buyers pin. */
  readonly payee: string
  /** Rail ids, in the order of the configuration. */
  readonly rails: readonly string[]
  readonly checks: readonly ReadinessCheck[]
  /** What works less well than it should, though the till can do its work: upstreams that cannot be reached. */
  readonly degraded: () => string[]
  /** What can be read off now, for /metrics. */
  readonly readings: () => Promise<Readings>
  readonly authenticate: Authenticate
  /** What managing accounts, agents and keys needs. */
  readonly accounts: AccountService
  /** What model calls need, for the endpoints that forward them as they come. */
  readonly calls: CallContext
  /** Everything an agent can ask, bound to who asks. */
  readonly bursarFor: (principal: AccountPrincipal) => Bursar
  /** The same for an account by the seller's own name for it; made when it does not exist. */
  readonly bursarOf: (externalId: string) => Promise<Bursar>
  /** Records a payment that nobody saw by itself; who may claim it is the caller's to decide. */
  readonly claimPayment: (claim: ClaimPayment) => Promise<InvoiceView>
  /** Stops watching, writes down what is left to write, closes the database. */
  close(): Promise<void>
}

/**
 * Opens a till and starts watching its chains. Any number of processes may do so on one database: the lease decides
 * which of them watches. A chain that does not answer is watched as soon as it does.
 *
 * @throws {BursarError} invalid_config, database_unavailable
 */
export async function openTill({
  settings,
  runtime,
}: {
  settings: Settings
  runtime: Runtime
}): Promise<Till> {
  const { config } = settings
  const chains = openChains({ config, runtime })
  const rates = openRates({
    config: config.rates,
    networks: chains,
    feeds: openEvmNetworks({ config, runtime }),
    runtime,
  })
  const catalogue = readCatalogue(config)
  const models = readModels(config)
  const tillKey = openTillKey({ dataDir: settings.dataDir, runtime })
  const ledger = await openBoundLedger(
    { settings, runtime },
    { chains, usdPerCredit: catalogue.usdPerCredit },
  )
  const watches = new Map<string, Watch>()
  const invoices: InvoiceContext = {
    db: ledger.db,
    runtime,
    chains: new Map(chains.map((chain) => [chain.id, chain])),
    rates,
    catalogue,
    tillKey,
    changes: createChanges(),
    lockMs: config.invoices.lock_minutes * 60_000,
    maxOpen: config.invoices.max_open_per_account,
    readable: async (chain) => watches.get(chain.id)?.readable(),
    hasHistory: historyCheck(chains, runtime),
  }
  const circuit = createCircuit()
  const rails = railsOf(invoices.chains).map((rail) => rail.id)
  const calls: CallContext = { ledger, models, circuit, rails, ...callSettings(config, catalogue) }
  const engine: Engine = { seller: config.seller.name, ledger, invoices, calls }
  const keys = keyring(ledger)
  const stop = new AbortController()
  for (const chain of chains) watches.set(chain.id, watchChain(invoices, chain, stop.signal))
  const background = [
    ...[...watches.values()].map(({ ended }) => ended),
    keepUp(ledger, { answersKeptMs: config.calls.keep_answers_hours * HOUR_MS }, stop.signal),
  ]
  return {
    payee: tillKey.payee,
    rails,
    checks: readiness(ledger, chains),
    authenticate: authenticator(config, keys, runtime),
    accounts: accountService(config, ledger, keys),
    degraded: () => circuit.down().map((name) => `upstream ${name}`),
    readings: () => takeReadings(invoices),
    calls,
    bursarFor: (principal) => embeddedBursar(engine, principal),
    async bursarOf(externalId) {
      const { id } = await createAccount(ledger, { externalId })
      return embeddedBursar(engine, { scope: 'account', key: 'local', account: id })
    },
    claimPayment: (claim) => forBuyer(claim.chain ?? 'The chain', () => claimPayment(invoices, claim)),
    async close() {
      stop.abort()
      await Promise.all(background)
      await keys.close()
      await ledger.close()
    },
  }
}

function callSettings(
  { calls }: ConfigFile,
  { usdPerCredit }: Catalogue,
): Pick<CallContext, 'fitFloorTokens' | 'storeAnswers' | 'leastSale'> {
  return {
    fitFloorTokens: calls.fit_floor_tokens,
    storeAnswers: calls.keep_answers_hours > 0,
    leastSale: leastSale(usdPerCredit),
  }
}

/** Whom a key speaks for, within the limits of requests. */
function authenticator({ rate_limits: limits }: ConfigFile, keys: Keyring, runtime: Runtime): Authenticate {
  const authenticate = (key: string): Promise<Principal> => keys.authenticate(key)
  if (!limits) return authenticate
  const { per_minute: count, burst = count, account_per_minute: ofAccount = count * 10 } = limits
  const limiter = (each: { count: number; burst: number }) =>
    rateLimiter(() => runtime.now(), { ...each, perMs: 60_000 })
  return limitedKeys(
    authenticate,
    limiter({ count, burst }),
    limiter({ count: ofAccount, burst: Math.max(burst, ofAccount) }),
  )
}

function accountService({ signup, http }: ConfigFile, ledger: Ledger, keys: Keyring): AccountService {
  const { open, per_hour_per_address: perHourPerAddress, per_hour: perHour } = signup
  return { ledger, keys, signup: { open, perHourPerAddress, perHour }, proxies: http.proxies }
}

/** @throws {BursarError} invalid_config: the database is bound to other keys, networks or prices */
async function openBoundLedger(given: OpenTillLedger, terms: Terms): Promise<Ledger> {
  const ledger = await openTillLedger(given)
  try {
    await bindDeployment(ledger, terms)
    return ledger
  } catch (thrown) {
    await ledger.close()
    throw thrown
  }
}

/** The database answers and can be written, and each chain was looked at lately by whichever process watches it. */
function readiness({ db, runtime }: Ledger, chains: readonly Chain[]): ReadinessCheck[] {
  return [
    {
      name: 'database',
      async check() {
        await db.query('SELECT 1')
        const unwritable = db.unwritable()
        if (unwritable) throw unwritable
      },
    },
    { name: 'restore', check: () => refuseRestored(db) },
    ...chains.map((chain) => ({
      name: `chain ${chain.id}`,
      async check() {
        const [cursor] = await db.query<{ updated_at: bigint; halted: string | null }>(
          'SELECT updated_at, halted FROM chain_cursor WHERE chain = ?',
          [chain.id],
        )
        if (cursor?.halted) throw haltedChain(chain.id, cursor.halted)
        if (cursor && runtime.now() - Number(cursor.updated_at) < STALE_MS) return
        throw new BursarError('chain_unavailable', `${chain.id} has not been read for a while.`, {
          remedy: `The operator checks the endpoints in chains.${chain.id}.rpc: bursar doctor.`,
        })
      },
    })),
  ]
}
