/** Puts a purse together from its configuration. */
import { evmNetwork } from '../chains/evm/network.ts'
import type { Settings } from '../config.ts'
import type { Db } from '../db/db.ts'
import { BursarError } from '../errors.ts'
import { openRates } from '../rates/open.ts'
import type { Runtime } from '../runtime.ts'
import { budgetOf } from './budget.ts'
import type { Network, Purse } from './purse.ts'
import { purseConfig } from './settings.ts'
import { createTurns } from './turns.ts'
import { openWallet, refuseTestKey, type Wallet } from './wallet.ts'

export interface Parts {
  readonly settings: Settings
  readonly runtime: Runtime
  readonly db: Db
  readonly wallet: Wallet
}

/** @throws {BursarError} invalid_config */
export function purseOf({ settings, runtime, db, wallet }: Parts): Purse {
  const config = purseConfig(settings)
  const networks = purseNetworks(settings, runtime)
  return {
    db,
    runtime,
    wallet,
    networks,
    rates: openRates({ config: settings.config.rates, networks, feeds: networks, runtime }),
    budget: budgetOf(config.budget),
    payees: config.payees,
    turns: createTurns(),
  }
}

/**
 * The wallet of a configuration, unless everybody has its key and real money is at stake.
 *
 * @throws {BursarError} invalid_config
 */
export async function openConfiguredWallet(settings: Settings, runtime: Runtime): Promise<Wallet> {
  const wallet = await openWallet(purseConfig(settings).wallet)
  const main = purseNetworks(settings, runtime).filter((network) => network.main)
  refuseTestKey(
    wallet.address,
    main.map(({ id }) => id),
  )
  return wallet
}

/**
 * The EVM chains of a configuration: the purse pays on no others yet.
 *
 * @throws {BursarError} invalid_config
 */
export function purseNetworks({ config }: Settings, runtime: Runtime): Network[] {
  const networks = Object.entries(config.chains).flatMap(([id, chain]) =>
    chain.family === 'evm' ? [evmNetwork({ id, config: chain, runtime })] : [],
  )
  const seen = new Map<string, string>()
  for (const { id, caip2 } of networks) {
    const other = seen.get(caip2)
    if (other !== undefined) {
      throw new BursarError('invalid_config', `chains.${other} and chains.${id} are both ${caip2}.`, {
        remedy: 'Keep one of them, with all its endpoints.',
      })
    }
    seen.set(caip2, id)
  }
  return networks
}
