/**
 * The public list prices of providers, as seeded from @pydantic/genai-prices (`npm run prices:seed`). Read when a model
 * is first sold at its list price: who prices every model by hand never loads it.
 */
import { readFileSync } from 'node:fs'
import type { UsdPeriod, UsdRates, UsdSchedule } from '../../credits/schedule.ts'
import { formatDecimal } from '../../money.ts'

/** list.json. Prices are micro-USD per million tokens, in the order of `columns`; null or absent: the source has none. */
export interface PriceListFile {
  readonly source: string
  /** The day on which it was made, `2026-11-26`. */
  readonly seeded: string
  readonly unit: string
  readonly columns: readonly string[]
  readonly licence: string
  readonly providers: readonly ListedProvider[]
}

export interface ListedProvider {
  readonly id: string
  /** A regular expression: what the URLs of its API begin with. */
  readonly api: string
  readonly models: readonly ListedModel[]
}

export interface ListedModel {
  /** In lower case. `name*`: also with a date, or "latest", behind it; `name-*`: only so. */
  readonly names: readonly string[]
  /** The last one that applies does; the first applies where no other does. */
  readonly periods: readonly ListedPeriod[]
}

export interface ListedPeriod {
  /** From the beginning of this day, UTC. */
  readonly from?: string
  /** Every day between these times, UTC, `01:00`. */
  readonly daily?: readonly [string, string]
  readonly rates: readonly (number | null)[]
  /** Prices of the whole call when its input is above so many tokens, ascending. */
  readonly tiers?: readonly (readonly [number, readonly (number | null)[]])[]
}

export interface PriceList {
  /** `@pydantic/genai-prices 0.1.8 of 2026-11-26` */
  readonly source: string
  readonly providers: readonly string[]
  /**
   * A model's list price, with where it is from: `openai, @pydantic/genai-prices 0.1.8 of 2026-11-26`. Null: it has none.
   *
   * @param provider its id; undefined: told by the URL of its API.
   */
  find(provider: string | undefined, baseUrl: string, model: string): UsdSchedule | null
}

let opened: PriceList | undefined

/** The list that Bursar came with. */
export function priceList(): PriceList {
  opened ??= openList(
    JSON.parse(readFileSync(new URL('./list.json', import.meta.url), 'utf8')) as PriceListFile,
  )
  return opened
}

export function openList({ providers, source: made, seeded }: PriceListFile): PriceList {
  const source = `${made} of ${seeded}`
  return {
    source,
    providers: providers.map(({ id }) => id),
    find(id, baseUrl, name) {
      const provider = providers.find((one) =>
        id === undefined ? new RegExp(`^(?:${one.api})`).test(baseUrl) : one.id === id,
      )
      const model = provider && modelNamed(provider, name.toLowerCase())
      if (!model) return null
      return { source: `${provider.id}, ${source}`, periods: model.periods.map(periodOf) }
    },
  }
}

/** What names a snapshot: it has its model's price. A name that is listed with its date goes before. */
const SNAPSHOT = /[-@](?:20\d{6}|20\d\d-\d\d-\d\d|\d{4}|latest)$/

function modelNamed({ models }: ListedProvider, name: string): ListedModel | undefined {
  const undated = name.replace(SNAPSHOT, '')
  const patterns = undated === name ? [`${name}*`] : [`${undated}*`, `${undated}-*`]
  return (
    models.find(({ names }) => names.includes(name)) ??
    models.find(({ names }) => patterns.some((pattern) => names.includes(pattern)))
  )
}

function periodOf({ from, daily, rates, tiers = [] }: ListedPeriod): UsdPeriod {
  return {
    ...(from === undefined ? {} : { from: Date.parse(from) }),
    ...(daily === undefined ? {} : { daily: [minuteOf(daily[0]), minuteOf(daily[1])] }),
    rates: ratesOf(rates),
    tiers: tiers.map(([above, dearer]) => ({ aboveInputTokens: above, ...ratesOf(dearer) })),
  }
}

function minuteOf(time: string): number {
  const [hours, minutes] = time.split(':').map(Number)
  return (hours ?? 0) * 60 + (minutes ?? 0)
}

function ratesOf([input, output, cached, write, write1h, reasoning]: readonly (number | null)[]): UsdRates {
  const rate = (micro: number | null | undefined) =>
    typeof micro === 'number' ? formatDecimal(BigInt(micro), 6) : undefined
  const [cachedInput, cacheWrite, cacheWrite1h, ofReasoning] = [cached, write, write1h, reasoning].map(rate)
  return {
    input: rate(input) ?? '0',
    output: rate(output) ?? '0',
    ...(cachedInput === undefined ? {} : { cachedInput }),
    ...(cacheWrite === undefined ? {} : { cacheWrite }),
    ...(cacheWrite1h === undefined ? {} : { cacheWrite1h }),
    ...(ofReasoning === undefined ? {} : { reasoning: ofReasoning }),
  }
}
