/**
 * Prices over time. A price in USD per million tokens becomes one in micro-credits here: plus the margin, over the price
 * of a credit, rounded up once to whole micro-credits per million tokens.
 */
import type { PriceConfig } from '../config-schema.ts'
import { BursarError } from '../errors.ts'
import { ceilDiv, MAX_MICRO, type MicroCredits, type MicroUsd, parseCredits, parseDecimal } from '../money.ts'
import { DAY_MS } from '../time.ts'
import { describePrice, type Price, type TokenRates } from './prices.ts'

/** USD per million tokens, decimals as text; what is absent costs as in `TokenRates`. */
export interface UsdRates {
  readonly input: string
  readonly output: string
  readonly cachedInput?: string
  readonly cacheWrite?: string
  readonly cacheWrite1h?: string
  readonly reasoning?: string
}

/** A price, and when it applies: by default always. */
export interface UsdPeriod {
  /** From this time on, Unix milliseconds. */
  readonly from?: number
  /** Every day from one minute of the day until before another, UTC; over midnight, where the second is lower. */
  readonly daily?: readonly [number, number]
  readonly rates: UsdRates
  /** Ascending by input. */
  readonly tiers: readonly (UsdRates & { readonly aboveInputTokens: number })[]
}

export interface PricePeriod extends Pick<UsdPeriod, 'from' | 'daily'> {
  readonly price: Price
  /** The same as receipts keep it. */
  readonly text: string
  /** Null: a fixed price per call. */
  readonly usd: Pick<UsdPeriod, 'rates' | 'tiers'> | null
}

/** What a model costs at an upstream, over time. */
export interface PriceSchedule {
  /** Who says so: `configuration`, or a list with its version and date. */
  readonly source: string
  /** Percent, a decimal as text; on top of `usd`. */
  readonly margin: string
  /** At least one. The last one that applies does; the first, where no other does. */
  readonly periods: readonly PricePeriod[]
}

/** A model's price in USD, wherever it comes from. */
export interface UsdSchedule {
  readonly source: string
  readonly periods: readonly UsdPeriod[]
}

export interface ScheduleTerms {
  readonly usdPerCredit: MicroUsd
  /** Percent, where the model has none of its own. */
  readonly margin: string
  /** For errors: `models.gpt-5-mini`. */
  readonly name: string
}

/** The configuration allows this many decimals in USD prices and margins. */
const DECIMALS = 18
const SCALE = 10n ** BigInt(DECIMALS)
const MILLION = 1_000_000n

/** The price of a call that begins now; it stays the call's price, however long that runs. */
export function priceAt({ periods }: PriceSchedule, now: number): PricePeriod {
  const period = periods.findLast((one) => applies(one, now)) ?? periods[0]
  if (!period) throw new Error('A schedule has at least one price.')
  return period
}

function applies({ from, daily }: PricePeriod, now: number): boolean {
  if (from !== undefined && now < from) return false
  if (daily === undefined) return true
  const [start, end] = daily
  const minute = (now % DAY_MS) / 60_000
  return end < start ? minute >= start || minute < end : minute >= start && minute < end
}

/**
 * A model's price: what its configuration says, else its list price. Null: it has neither.
 *
 * @throws {BursarError} invalid_config: a price above the largest amount, or finer than a micro-credit per call.
 */
export function readSchedule(
  config: PriceConfig,
  terms: ScheduleTerms,
  listPrice: () => UsdSchedule | null,
): PriceSchedule | null {
  const margin = config.margin_percent ?? terms.margin
  if (config.credits_per_call !== undefined) {
    const price: Price = { kind: 'call', microPerCall: fixedPrice(config.credits_per_call, terms.name) }
    return {
      source: CONFIGURATION,
      margin: '0',
      periods: [{ price, text: describePrice(price), usd: null }],
    }
  }
  const own = ownPrice(config)
  const usd = own ?? listPrice()
  if (!usd) return null
  const source = own ? undefined : usd.source
  const periods = usd.periods.map(({ rates, tiers, ...when }): PricePeriod => {
    const price: Price = {
      kind: 'tokens',
      ...creditRates(rates, margin, terms),
      ...(tiers.length === 0
        ? {}
        : {
            tiers: tiers.map(({ aboveInputTokens, ...dearer }) => ({
              aboveInputTokens,
              ...creditRates(dearer, margin, terms),
            })),
          }),
    }
    return { ...when, price, text: describePrice(price, source), usd: { rates, tiers } }
  })
  return { source: usd.source, margin, periods }
}

const CONFIGURATION = 'configuration'

/** Null: it names no price. */
function ownPrice(config: PriceConfig): UsdSchedule | null {
  const rates = usdRates(config)
  if (!rates) return null
  const tiers = (config.tiers ?? []).flatMap((tier) => {
    const dearer = usdRates(tier)
    return dearer ? [{ aboveInputTokens: tier.above_input_tokens, ...dearer }] : []
  })
  return { source: CONFIGURATION, periods: [{ rates, tiers }] }
}

function usdRates(config: Omit<PriceConfig, 'tiers'>): UsdRates | null {
  const { usd_per_million_input: input, usd_per_million_output: output } = config
  if (input === undefined || output === undefined) return null
  return defined({
    input,
    output,
    cachedInput: config.usd_per_million_cached_input,
    cacheWrite: config.usd_per_million_cache_write,
    cacheWrite1h: config.usd_per_million_cache_write_1h,
    reasoning: config.usd_per_million_reasoning,
  })
}

function creditRates(rates: UsdRates, margin: string, { usdPerCredit, name }: ScheduleTerms): TokenRates {
  const per = (usd: string | undefined): MicroCredits | undefined =>
    usd === undefined ? undefined : bounded(perMillionTokens(usd, margin, usdPerCredit), name)
  return defined({
    microPerMillionInput: bounded(perMillionTokens(rates.input, margin, usdPerCredit), name),
    microPerMillionOutput: bounded(perMillionTokens(rates.output, margin, usdPerCredit), name),
    microPerMillionCachedInput: per(rates.cachedInput),
    microPerMillionCacheWrite: per(rates.cacheWrite),
    microPerMillionCacheWrite1h: per(rates.cacheWrite1h),
    microPerMillionReasoning: per(rates.reasoning),
  })
}

type Defined<T> = {
  [K in keyof T as undefined extends T[K] ? never : K]: T[K]
} & { [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined> }

/** Without the members that are undefined. */
function defined<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Defined<T>
}

function perMillionTokens(usd: string, margin: string, usdPerCredit: MicroUsd): MicroCredits {
  const withMargin = parseDecimal(usd, DECIMALS) * (100n * SCALE + parseDecimal(margin, DECIMALS))
  // (usd / SCALE) x (factor / 100 SCALE) USD, over usdPerCredit / 10^6 USD a credit, x 10^6 micro-credits a credit.
  return ceilDiv(withMargin * MILLION * MILLION, SCALE * 100n * SCALE * usdPerCredit)
}

function fixedPrice(credits: string, name: string): MicroCredits {
  try {
    return bounded(parseCredits(credits), name)
  } catch (cause) {
    if (cause instanceof BursarError && cause.code === 'invalid_config') throw cause
    throw new BursarError('invalid_config', `${name}.credits_per_call is finer than a micro-credit.`, {
      remedy: 'Give it at most six decimals.',
      cause,
    })
  }
}

function bounded(micro: MicroCredits, name: string): MicroCredits {
  if (micro <= MAX_MICRO) return micro
  throw new BursarError('invalid_config', `The price of ${name} is absurdly high.`, {
    remedy:
      'Prices are USD per million tokens, or credits per call; check credit.usd and margin_percent too.',
  })
}
