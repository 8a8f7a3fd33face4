/**
 * What a model call costs, in integers. A price per token is kept as micro-credits per million tokens, rounded up
 * once when it is read (schedule.ts); a call's cost is rounded up once more, over input and output together.
 */
import { ceilDiv, formatDecimal, type MicroCredits, max, min } from '../money.ts'

/** Tokens of one call, as counted, estimated or bounded: non-negative safe integers. */
export interface TokenCounts {
  /** All of the input, with what a cache read or wrote; those three together are never more. */
  readonly inputTokens: number
  /** All of the output, reasoning included. */
  readonly outputTokens: number
  readonly cachedInputTokens?: number
  readonly cacheWriteTokens?: number
  /** Written to a cache that keeps them for an hour, which costs more than the usual five minutes. */
  readonly cacheWrite1hTokens?: number
  /** Part of the output. */
  readonly reasoningTokens?: number
}

export type Price = TokenPrice | { readonly kind: 'call'; readonly microPerCall: MicroCredits }

export interface TokenRates {
  readonly microPerMillionInput: MicroCredits
  readonly microPerMillionOutput: MicroCredits
  /** Where a price of these is absent, they cost what input costs. */
  readonly microPerMillionCachedInput?: MicroCredits
  readonly microPerMillionCacheWrite?: MicroCredits
  /** Absent: what a cache write costs. */
  readonly microPerMillionCacheWrite1h?: MicroCredits
  /** Absent: what output costs. */
  readonly microPerMillionReasoning?: MicroCredits
}

/** The rates of a whole call, once its input is above a size. */
export interface PriceTier extends TokenRates {
  readonly aboveInputTokens: number
}

export interface TokenPrice extends TokenRates {
  readonly kind: 'tokens'
  /** Ascending. */
  readonly tiers?: readonly PriceTier[]
}

const MILLION = 1_000_000n
/** A hold is more than zero: a free call still shows that its account exists and is not frozen. */
const SMALLEST_HOLD: MicroCredits = 1n

/** The cost of a call that used these tokens; rounds up. A price per call costs the same whatever was used. */
export function costOf(price: Price, usage: TokenCounts): MicroCredits {
  if (price.kind === 'call') return price.microPerCall
  const {
    cachedInputTokens: cached = 0,
    cacheWriteTokens: write = 0,
    cacheWrite1hTokens: write1h = 0,
    reasoningTokens: reasoning = 0,
  } = usage
  const rates = ratesFor(price, usage.inputTokens)
  const plain = usage.inputTokens - cached - write - write1h
  const [perCached, perWrite, perWrite1h] = cacheRates(rates)
  return ceilDiv(
    BigInt(plain) * rates.microPerMillionInput +
      BigInt(cached) * perCached +
      BigInt(write) * perWrite +
      BigInt(write1h) * perWrite1h +
      BigInt(usage.outputTokens - reasoning) * rates.microPerMillionOutput +
      BigInt(reasoning) * (rates.microPerMillionReasoning ?? rates.microPerMillionOutput),
    MILLION,
  )
}

/** The tier of a call with this much input: the last one that it is above. */
function ratesFor(price: TokenPrice, inputTokens: number): TokenRates {
  return price.tiers?.findLast(({ aboveInputTokens }) => inputTokens > aboveInputTokens) ?? price
}

/** Micro-credits per million tokens read from a cache, written to it, and written to it for an hour. */
function cacheRates(rates: TokenRates): [MicroCredits, MicroCredits, MicroCredits] {
  const { microPerMillionInput: input, microPerMillionCacheWrite: write = input } = rates
  return [rates.microPerMillionCachedInput ?? input, write, rates.microPerMillionCacheWrite1h ?? write]
}

/**
 * The most that a call can cost in one tier, before rounding: micro-credits times a million. Nobody knows beforehand
 * what a cache will read or write, nor how much will be reasoning: all of it at the highest of its prices.
 */
interface Ceiling {
  readonly input: bigint
  /** For each output token. */
  readonly perOutput: bigint
}

function ceiling(rates: TokenRates, inputTokens: number): Ceiling {
  const { microPerMillionInput: input, microPerMillionCacheWrite: write = input } = rates
  const cached = rates.microPerMillionCachedInput ?? input
  const write1h = rates.microPerMillionCacheWrite1h ?? write
  const { microPerMillionOutput: output, microPerMillionReasoning: reasoning = output } = rates
  return {
    input: BigInt(inputTokens) * max(max(input, cached), max(write, write1h)),
    perOutput: max(output, reasoning),
  }
}

/** One for each tier that input of at most this size can reach, with as much of it as stays in that tier. */
function ceilings(price: TokenPrice, inputTokens: number): Ceiling[] {
  const { tiers = [] } = price
  const within = (next: number) => Math.min(inputTokens, tiers[next]?.aboveInputTokens ?? inputTokens)
  const all = [ceiling(price, within(0))]
  for (const [index, tier] of tiers.entries()) {
    if (inputTokens > tier.aboveInputTokens) all.push(ceiling(tier, within(index + 1)))
  }
  return all
}

/** What to hold for a call within these bounds: never less than any cost within them, and more than zero. */
export function worstCase(price: Price, { inputTokens, outputTokens }: TokenCounts): MicroCredits {
  if (price.kind === 'call') return max(price.microPerCall, SMALLEST_HOLD)
  const tokens = BigInt(outputTokens)
  let most = SMALLEST_HOLD * MILLION
  for (const { input, perOutput } of ceilings(price, inputTokens))
    most = max(most, input + tokens * perOutput)
  return ceilDiv(most, MILLION)
}

/**
 * The most output tokens, up to `limit`, whose worst case fits into `available` beside this much input; 0 when not
 * even one fits.
 */
export function affordableTokens(
  price: Price,
  available: MicroCredits,
  { inputTokens, limit }: { readonly inputTokens: number; readonly limit: number },
): number {
  const fits = (outputTokens: number) => worstCase(price, { inputTokens, outputTokens }) <= available
  if (fits(limit)) return limit
  if (price.kind === 'call' || !fits(1)) return 0
  let most = BigInt(limit)
  for (const { input, perOutput } of ceilings(price, inputTokens)) {
    // ceil(x / M) <= a means x <= a * M.
    if (perOutput > 0n) most = min(most, (available * MILLION - input) / perOutput)
  }
  return Number(most)
}

/** The price as a receipt keeps it, JSON; integers as text, with their unit in the name. */
export function describePrice(price: Price, source?: string): string {
  if (price.kind === 'call') return JSON.stringify({ micro_credits_per_call: String(price.microPerCall) })
  return JSON.stringify({
    ...describeRates(price),
    // JSON leaves out what is undefined.
    tiers: price.tiers?.map(({ aboveInputTokens, ...rates }) => ({
      above_input_tokens: aboveInputTokens,
      ...describeRates(rates),
    })),
    source,
  })
}

function describeRates(rates: TokenRates): Readonly<Record<string, string | undefined>> {
  return {
    micro_credits_per_million_input: rates.microPerMillionInput.toString(),
    micro_credits_per_million_output: rates.microPerMillionOutput.toString(),
    micro_credits_per_million_cached_input: rates.microPerMillionCachedInput?.toString(),
    micro_credits_per_million_cache_write: rates.microPerMillionCacheWrite?.toString(),
    micro_credits_per_million_cache_write_1h: rates.microPerMillionCacheWrite1h?.toString(),
    micro_credits_per_million_reasoning: rates.microPerMillionReasoning?.toString(),
  }
}

interface RatesOnReceipt {
  readonly micro_credits_per_million_input?: string
  readonly micro_credits_per_million_output?: string
  readonly micro_credits_per_million_cached_input?: string
  readonly micro_credits_per_million_cache_write?: string
  readonly micro_credits_per_million_cache_write_1h?: string
  readonly micro_credits_per_million_reasoning?: string
}

interface PriceOnReceipt extends RatesOnReceipt {
  readonly micro_credits_per_call?: string
  readonly tiers?: readonly (RatesOnReceipt & { readonly above_input_tokens: number })[]
}

/**
 * A receipt's price in words, in credits: "0.25 a call", or "30 in, 3 cached, 120 out per million tokens".
 *
 * @param text what `describePrice` made, or another kind of receipt keeps.
 * @param inputTokens of the call, which tell the tier; null where nobody knows: every tier is named.
 * @returns null: the receipt has no price of its own.
 */
export function priceInWords(text: string, inputTokens: number | null): string | null {
  const { tiers = [], micro_credits_per_call: perCall, ...base } = JSON.parse(text) as PriceOnReceipt
  if (perCall !== undefined) return `${inCredits(perCall)} a call`
  if (base.micro_credits_per_million_input === undefined) return null
  if (inputTokens !== null) {
    const tier = tiers.findLast(({ above_input_tokens: above }) => inputTokens > above)
    return `${ratesInWords(tier ?? base)} per million tokens`
  }
  const dearer = tiers.map((tier) => `; above ${tier.above_input_tokens} in: ${ratesInWords(tier)}`)
  return `${ratesInWords(base)} per million tokens${dearer.join('')}`
}

function ratesInWords(rates: RatesOnReceipt): string {
  const named: readonly (readonly [string | undefined, string])[] = [
    [rates.micro_credits_per_million_input, 'in'],
    [rates.micro_credits_per_million_cached_input, 'cached'],
    [rates.micro_credits_per_million_cache_write, 'cache write'],
    [rates.micro_credits_per_million_cache_write_1h, 'cache write 1h'],
    [rates.micro_credits_per_million_output, 'out'],
    [rates.micro_credits_per_million_reasoning, 'reasoning'],
  ]
  return named
    .flatMap(([micro, what]) => (micro === undefined ? [] : [`${inCredits(micro)} ${what}`]))
    .join(', ')
}

const inCredits = (micro: string): string => formatDecimal(BigInt(micro), 6)
