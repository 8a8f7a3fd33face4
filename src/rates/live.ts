/**
 * Rates from the market: all sources of an asset are asked at once, and as soon as enough of them agree that the
 * rest could not outvote them, the slow ones are no longer waited for.
 */
import { BursarError } from '../errors.ts'
import { ceilDiv, formatDecimal, formatPrice, min, type Quote } from '../money.ts'
import type { Runtime } from '../runtime.ts'
import { type Agreement, agree, type Millionths, type Offer, spreadOf, type Terms } from './median.ts'
import { STABLECOINS, type SurveyedRates } from './rates.ts'
import { type RateSource, SourceError, type SourceReport } from './source.ts'

export interface LiveSettings {
  /** In the order in which an invoice names them. */
  readonly sources: readonly RateSource[]
  readonly maxAgeMs: number
  readonly maxSpread: Millionths
  readonly minSources: number
  readonly runtime: Pick<Runtime, 'now' | 'after' | 'log'>
}

/** No quote takes longer than this. */
const DEADLINE_MS = 4_000
/** An outcome, a refusal too, stands for this long: many invoices at once are one question. */
const KEPT_MS = 5_000
/** How long a source is left alone that asked for it. */
const REST_MS = 60_000
/** A clock may run ahead of another by this much. */
const SKEW_MS = 60_000
/** Markets of a stablecoin that differ by more than this are losing their peg. */
const STABLECOIN_SPREAD: Millionths = 10_000n

interface Outcome {
  readonly quote: Promise<Quote>
  /** When it was known, Unix milliseconds; null while it is on its way. */
  knownAt: number | null
}

export function liveRates(settings: LiveSettings): SurveyedRates {
  const { runtime } = settings
  const outcomes = new Map<string, Outcome>()
  const restsUntil = new Map<string, number>()
  const panelOf = (symbol: string): Panel => ({
    symbol,
    sources: settings.sources.filter((source) => source.prices(symbol)),
    restsUntil,
    settings,
  })

  async function decide(symbol: string): Promise<Quote> {
    const panel = panelOf(symbol)
    const terms = termsFor(symbol, settings)
    const reports = await ask(panel, (offers, voters) => agree(offers, terms, voters) !== null)
    const offers = offersIn(reports)
    const agreement = agree(offers, terms, offers.length)
    if (!agreement) {
      const refusal = refuse(symbol, reports, terms, runtime.now())
      runtime.log.warn({ symbol, ...refusal.details }, 'No rate can be trusted.')
      throw refusal
    }
    return { symbol, priceE8: agreement.priceE8, source: nameOf(agreement), at: runtime.now() }
  }

  return {
    quote(symbol) {
      const kept = outcomes.get(symbol)
      if (kept && isKept(kept, runtime.now())) return kept.quote
      const outcome: Outcome = { quote: decide(symbol), knownAt: null }
      outcomes.set(symbol, outcome)
      const known = () => {
        outcome.knownAt = runtime.now()
      }
      outcome.quote.then(known, known)
      return outcome.quote
    },
    survey: (symbol) => ask(panelOf(symbol), () => false),
  }
}

function isKept({ knownAt }: Outcome, now: number): boolean {
  // A clock that was set back ends it as well.
  return knownAt === null || (knownAt <= now && now - knownAt < KEPT_MS)
}

function termsFor(symbol: string, { maxSpread, minSources }: LiveSettings): Terms {
  return { minSources, maxSpread: STABLECOINS.has(symbol) ? min(maxSpread, STABLECOIN_SPREAD) : maxSpread }
}

interface Panel {
  readonly symbol: string
  readonly sources: readonly RateSource[]
  readonly restsUntil: Map<string, number>
  readonly settings: LiveSettings
}

/**
 * Asks every source and resolves with a report for each, in their order: when all have answered, when `enough` says
 * so, or at the deadline. `voters` counts those that answered or still might.
 */
function ask(
  panel: Panel,
  enough: (offers: readonly Offer[], voters: number) => boolean,
): Promise<SourceReport[]> {
  const { sources, settings } = panel
  const stop = new AbortController()
  const reports = new Map<RateSource, SourceReport>()
  return new Promise((resolve) => {
    const finish = () => {
      cancel()
      resolve(
        sources.map((source) => reports.get(source) ?? { source: source.name, problem: 'no answer in time' }),
      )
      stop.abort(new SourceError('no longer needed'))
    }
    const cancel = settings.runtime.after(DEADLINE_MS, finish)
    if (sources.length === 0) finish()
    const hear = async (source: RateSource): Promise<void> => {
      reports.set(source, await report(panel, source, stop.signal))
      const offers = offersIn([...reports.values()])
      const awaited = sources.length - reports.size
      if (awaited === 0 || enough(offers, offers.length + awaited)) finish()
    }
    for (const source of sources) void hear(source)
  })
}

/** Never rejects. */
async function report(
  { symbol, restsUntil, settings }: Panel,
  source: RateSource,
  signal: AbortSignal,
): Promise<SourceReport> {
  const { runtime } = settings
  const { name } = source
  const left = (restsUntil.get(name) ?? 0) - runtime.now()
  // A clock that was set back ends it as well.
  if (left > 0 && left <= REST_MS) {
    return { source: name, problem: 'left alone for a minute, as it asked' }
  }
  try {
    const quote = await source.quote(symbol, signal)
    const now = runtime.now()
    const age = now - quote.at
    // Written so that a time that is not a number is refused too.
    if (!(age >= -SKEW_MS)) return { source: name, problem: 'a price from the future: check the clock' }
    if (!(age <= (quote.maxAgeMs ?? settings.maxAgeMs))) {
      return { source: name, problem: `its price is ${Math.floor(age / 1000)} s old` }
    }
    return { source: name, priceE8: quote.priceE8, at: Math.min(quote.at, now) }
  } catch (error) {
    if (error instanceof SourceError && error.refused) restsUntil.set(name, runtime.now() + REST_MS)
    if (!signal.aborted) runtime.log.debug({ source: name, symbol, error }, 'A rate source failed.')
    return { source: name, problem: error instanceof SourceError ? error.problem : 'it failed' }
  }
}

function offersIn(reports: readonly SourceReport[]): Offer[] {
  return reports.flatMap((one) => ('priceE8' in one ? [one] : []))
}

function nameOf({ sources }: Agreement): string {
  return `median of ${sources.join(', ')}`
}

function refuse(symbol: string, reports: readonly SourceReport[], terms: Terms, now: number): BursarError {
  const offers = offersIn(reports)
  const spread = spreadOf(offers)
  const details = {
    symbol,
    sources_needed: terms.minSources,
    spread_percent: formatDecimal(ceilDiv(spread, 100n), 2, 2),
    max_spread_percent: formatDecimal(terms.maxSpread, 4, 2),
    sources: reports.map((one) =>
      'priceE8' in one
        ? {
            source: one.source,
            price_usd: formatPrice(one.priceE8),
            age_seconds: Math.floor((now - one.at) / 1000),
          }
        : one,
    ),
  }
  if (reports.length === 0) {
    return new BursarError('rate_unavailable', `No source of rates prices ${symbol}.`, {
      remedy: 'Choose another rail, or ask the seller.',
      details,
    })
  }
  const why =
    offers.length < terms.minSources
      ? `${offers.length} of ${reports.length} sources gave a fresh one, ${terms.minSources} are needed`
      : `the sources disagree by ${details.spread_percent} %`
  return new BursarError('rate_unavailable', `There is no price for ${symbol} that can be trusted: ${why}.`, {
    remedy: 'Try again in a minute, or choose another rail; the operator runs bursar doctor.',
    details,
  })
}
