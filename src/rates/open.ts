/** The registry of rate sources, and the rates that a configuration asks for. */
import type { ConfigFile } from '../config-schema.ts'
import { BursarError } from '../errors.ts'
import { parseDecimal } from '../money.ts'
import type { Runtime } from '../runtime.ts'
import { bitfinexSource } from './bitfinex.ts'
import { bitstampSource } from './bitstamp.ts'
import { chainlinkSource, type FeedChain } from './chainlink.ts'
import { coinbaseSource } from './coinbase.ts'
import { fixedRates } from './fixed.ts'
import { krakenSource } from './kraken.ts'
import { liveRates } from './live.ts'
import type { SurveyedRates } from './rates.ts'
import type { RateSource } from './source.ts'

export type RatesConfig = ConfigFile['rates']
type SourceName = NonNullable<RatesConfig['sources']>[number]

export interface RateSettings {
  readonly config: RatesConfig
  /** The configured chains; a price from a file must not sell real money. */
  readonly networks: readonly { readonly id: string; readonly main: boolean }[]
  /** Configured EVM chains, through whose nodes Chainlink's feeds are read. */
  readonly feeds: readonly FeedChain[]
  readonly runtime: Runtime
}

/**
 * Market rates where there is a main network, or where `rates.sources` asks for them; otherwise fixed ones. Nothing
 * is asked of the network yet.
 *
 * @throws {BursarError} invalid_config: fixed rates beside a main network or beside sources, or a price finer than
 *   10^-8 USD.
 */
export function openRates({ config, networks, feeds, runtime }: RateSettings): SurveyedRates {
  const main = networks.find((network) => network.main)
  if (config.fixed && main) {
    throw new BursarError('invalid_config', `rates.fixed is set, but ${main.id} is a main network.`, {
      remedy: `Remove rates.fixed, or the chain ${main.id}: a fixed price is never used for real money.`,
    })
  }
  if (config.fixed && config.sources) {
    throw new BursarError('invalid_config', 'rates.fixed and rates.sources are both set.', {
      remedy: 'Keep rates.fixed for prices of your own, or rates.sources for those of the market.',
    })
  }
  if (!main && !config.sources) return fixedRates(config.fixed ?? {}, () => runtime.now())
  const open: Record<SourceName, () => RateSource> = {
    kraken: () => krakenSource(runtime),
    coinbase: () => coinbaseSource(runtime),
    bitstamp: () => bitstampSource(runtime),
    bitfinex: () => bitfinexSource(runtime),
    chainlink: () => chainlinkSource(feeds),
  }
  const names: readonly SourceName[] = config.sources ?? SOURCES
  return liveRates({
    sources: names.map((name) => open[name]()),
    maxAgeMs: config.max_age_seconds * 1000,
    maxSpread: parseDecimal(config.max_spread_percent, 4),
    minSources: config.min_sources,
    runtime,
  })
}

const SOURCES: readonly SourceName[] = ['kraken', 'coinbase', 'bitstamp', 'bitfinex', 'chainlink']
