/** What every model costs, for the seller's eyes: in credits and in USD, with where the price is from and how long it holds. */
import type { TokenRates } from '../../credits/prices.ts'
import { type PricePeriod, type PriceSchedule, priceAt, type UsdRates } from '../../credits/schedule.ts'
import { formatCredits, formatDecimal, parseDecimal } from '../../money.ts'
import { type Model, type Models, placed } from '../catalogue.ts'

export interface PriceReport {
  readonly model: string
  /** One for each upstream, in the order in which they are asked; none: it has no price, and is not sold. */
  readonly upstreams: readonly PlacePrice[]
}

export interface PlacePrice extends PeriodPrice {
  readonly upstream: string
  readonly upstream_model: string
  readonly source: string
  readonly margin_percent: string
  /** Other prices that are known: those of certain hours, and those that will come. */
  readonly others: readonly PeriodPrice[]
}

export interface PeriodPrice {
  /** From this day on, UTC; null: as long as is known. */
  readonly from: string | null
  /** `01:00-04:00`, UTC; null: all day. */
  readonly daily: string | null
  readonly credits_per_call?: string
  readonly rates?: readonly RateRow[]
}

/** A kind of token that costs what another one costs has null. */
export interface RateRow {
  /** 0: from the first token on. */
  readonly above_input_tokens: number
  readonly credits_per_million: Columns
  /** Without the margin. */
  readonly usd_per_million: Columns
}

export interface Columns {
  readonly input: string
  readonly output: string
  readonly cached_input: string | null
  readonly cache_write: string | null
  readonly cache_write_1h: string | null
  readonly reasoning: string | null
}

export function priceReport(models: Models, now: number): PriceReport[] {
  return Array.from(models, ([model, sold]) => ({
    model,
    upstreams: sold ? placed(sold).map((place) => placePrice(place, now)) : [],
  }))
}

function placePrice({ upstream, upstreamModel, prices }: Model, now: number): PlacePrice {
  const current = priceAt(prices, now)
  return {
    upstream: upstream.name,
    upstream_model: upstreamModel,
    source: prices.source,
    margin_percent: prices.margin,
    ...periodPrice(current),
    others: othersOf(prices, current, now).map(periodPrice),
  }
}

/** Not what has been: what comes, what some hours cost, and within those what the others do. */
function othersOf(prices: PriceSchedule, current: PricePeriod, now: number): PricePeriod[] {
  const allDay = prices.periods.filter(({ daily }) => daily === undefined)
  const between = priceAt({ ...prices, periods: allDay }, now)
  return prices.periods.filter(
    (period) =>
      period !== current && (period === between || period.daily !== undefined || (period.from ?? 0) > now),
  )
}

function periodPrice({ from, daily, price, usd }: PricePeriod): PeriodPrice {
  const when = {
    from: from === undefined ? null : new Date(from).toISOString().slice(0, 10),
    daily: daily === undefined ? null : daily.map(clock).join('-'),
  }
  if (price.kind === 'call' || !usd) {
    return price.kind === 'call' ? { ...when, credits_per_call: formatCredits(price.microPerCall) } : when
  }
  const tiers = (price.tiers ?? []).flatMap(({ aboveInputTokens, ...rates }, index) => {
    const dearer = usd.tiers[index]
    return dearer ? [rateRow(aboveInputTokens, rates, dearer)] : []
  })
  return { ...when, rates: [rateRow(0, price, usd.rates), ...tiers] }
}

function rateRow(above: number, rates: TokenRates, usd: UsdRates): RateRow {
  const credits = (micro: bigint | undefined) => (micro === undefined ? null : formatCredits(micro))
  const dollars = (text: string | undefined) => (text === undefined ? null : usdText(text))
  return {
    above_input_tokens: above,
    credits_per_million: {
      input: formatCredits(rates.microPerMillionInput),
      output: formatCredits(rates.microPerMillionOutput),
      cached_input: credits(rates.microPerMillionCachedInput),
      cache_write: credits(rates.microPerMillionCacheWrite),
      cache_write_1h: credits(rates.microPerMillionCacheWrite1h),
      reasoning: credits(rates.microPerMillionReasoning),
    },
    usd_per_million: {
      input: usdText(usd.input),
      output: usdText(usd.output),
      cached_input: dollars(usd.cachedInput),
      cache_write: dollars(usd.cacheWrite),
      cache_write_1h: dollars(usd.cacheWrite1h),
      reasoning: dollars(usd.reasoning),
    },
  }
}

/** As exact as it was written, with two decimals at least. */
function usdText(text: string): string {
  return formatDecimal(parseDecimal(text, 18), 18, 2)
}

function clock(minute: number): string {
  return new Date(minute * 60_000).toISOString().slice(11, 16)
}
