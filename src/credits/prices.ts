/**
 * What a model call costs, in integers. A price per token is kept as micro-credits per million tokens, rounded up
 * once when the configuration is read; a call's cost is rounded up once more, over input and output together.
 */
import type { ModelConfig } from '../config-schema.ts'
import { BursarError } from '../errors.ts'
import {
  ceilDiv,
  MAX_MICRO,
  type MicroCredits,
  type MicroUsd,
  max,
  parseCredits,
  parseDecimal,
} from '../money.ts'

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
  /** Part of the output; told, and priced as output. */
  readonly reasoningTokens?: number
}

export type Price = TokenPrice | { readonly kind: 'call'; readonly microPerCall: MicroCredits }

export interface TokenPrice {
  readonly kind: 'tokens'
  readonly microPerMillionInput: MicroCredits
  readonly microPerMillionOutput: MicroCredits
  /** Where a price of these is absent, they cost what input costs. */
  readonly microPerMillionCachedInput?: MicroCredits
  readonly microPerMillionCacheWrite?: MicroCredits
  /** Absent: what a cache write costs. */
  readonly microPerMillionCacheWrite1h?: MicroCredits
}

const MILLION = 1_000_000n
/** The configuration allows this many decimals in USD prices and margins. */
const DECIMALS = 18
const SCALE = 10n ** BigInt(DECIMALS)
/** A hold is more than zero: a free call still shows that its account exists and is not frozen. */
const SMALLEST_HOLD: MicroCredits = 1n

/**
 * A model's price from its configuration: USD per million tokens, plus the margin, over the price of a credit;
 * rounds up to whole micro-credits per million tokens. Null where the configuration names no price.
 *
 * @throws {BursarError} invalid_config: a price above the largest amount, or finer than a micro-credit per call.
 */
export function readPrice(model: ModelConfig, usdPerCredit: MicroUsd, name: string): Price | null {
  if (model.credits_per_call !== undefined) {
    return { kind: 'call', microPerCall: bounded(fixedPrice(model.credits_per_call, name), name) }
  }
  const { usd_per_million_input: input, usd_per_million_output: output, margin_percent: margin } = model
  if (input === undefined || output === undefined) return null
  const perMillion = (usd: string) => bounded(perMillionTokens(usd, margin, usdPerCredit), name)
  const {
    usd_per_million_cached_input: cached,
    usd_per_million_cache_write: write,
    usd_per_million_cache_write_1h: write1h,
  } = model
  return {
    kind: 'tokens',
    microPerMillionInput: perMillion(input),
    microPerMillionOutput: perMillion(output),
    ...(cached === undefined ? {} : { microPerMillionCachedInput: perMillion(cached) }),
    ...(write === undefined ? {} : { microPerMillionCacheWrite: perMillion(write) }),
    ...(write1h === undefined ? {} : { microPerMillionCacheWrite1h: perMillion(write1h) }),
  }
}

/** The cost of a call that used these tokens; rounds up. A price per call costs the same whatever was used. */
export function costOf(price: Price, usage: TokenCounts): MicroCredits {
  if (price.kind === 'call') return price.microPerCall
  const {
    cachedInputTokens: cached = 0,
    cacheWriteTokens: write = 0,
    cacheWrite1hTokens: write1h = 0,
  } = usage
  const plain = usage.inputTokens - cached - write - write1h
  const [perCached, perWrite, perWrite1h] = cachePrices(price)
  return ceilDiv(
    BigInt(plain) * price.microPerMillionInput +
      BigInt(cached) * perCached +
      BigInt(write) * perWrite +
      BigInt(write1h) * perWrite1h +
      BigInt(usage.outputTokens) * price.microPerMillionOutput,
    MILLION,
  )
}

/** Micro-credits per million tokens read from a cache, written to it, and written to it for an hour. */
function cachePrices(price: TokenPrice): [MicroCredits, MicroCredits, MicroCredits] {
  const { microPerMillionInput: input, microPerMillionCacheWrite: write = input } = price
  return [price.microPerMillionCachedInput ?? input, write, price.microPerMillionCacheWrite1h ?? write]
}

/** Nobody knows beforehand what a cache will read or write: all of the input at the highest of its prices. */
function dearestInput(price: TokenPrice): MicroCredits {
  return cachePrices(price).reduce(max, price.microPerMillionInput)
}

/** What to hold for a call within these bounds: never less than any cost within them, and more than zero. */
export function worstCase(price: Price, bounds: TokenCounts): MicroCredits {
  if (price.kind === 'call') return max(price.microPerCall, SMALLEST_HOLD)
  const input = BigInt(bounds.inputTokens) * dearestInput(price)
  const output = BigInt(bounds.outputTokens) * price.microPerMillionOutput
  return max(ceilDiv(input + output, MILLION), SMALLEST_HOLD)
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
  // Here an output token costs something, or `limit` would fit as one does. ceil(x / M) <= a means x <= a * M.
  const left = available * MILLION - BigInt(inputTokens) * dearestInput(price)
  return Number(left / price.microPerMillionOutput)
}

/** The price as a receipt keeps it, JSON; integers as text, with their unit in the name. */
export function describePrice(price: Price): string {
  return JSON.stringify(
    price.kind === 'call'
      ? { micro_credits_per_call: price.microPerCall.toString() }
      : {
          micro_credits_per_million_input: price.microPerMillionInput.toString(),
          micro_credits_per_million_output: price.microPerMillionOutput.toString(),
          // JSON leaves out what is undefined.
          micro_credits_per_million_cached_input: price.microPerMillionCachedInput?.toString(),
          micro_credits_per_million_cache_write: price.microPerMillionCacheWrite?.toString(),
          micro_credits_per_million_cache_write_1h: price.microPerMillionCacheWrite1h?.toString(),
        },
  )
}

function perMillionTokens(usd: string, margin: string, usdPerCredit: MicroUsd): MicroCredits {
  const withMargin = parseDecimal(usd, DECIMALS) * (100n * SCALE + parseDecimal(margin, DECIMALS))
  // (usd / SCALE) x (factor / 100 SCALE) USD, over usdPerCredit / 10^6 USD a credit, x 10^6 micro-credits a credit.
  return ceilDiv(withMargin * MILLION * MILLION, SCALE * 100n * SCALE * usdPerCredit)
}

function fixedPrice(credits: string, name: string): MicroCredits {
  try {
    return parseCredits(credits)
  } catch (cause) {
    throw new BursarError('invalid_config', `models.${name}.credits_per_call is finer than a micro-credit.`, {
      remedy: 'Give it at most six decimals.',
      cause,
    })
  }
}

function bounded(micro: MicroCredits, name: string): MicroCredits {
  if (micro <= MAX_MICRO) return micro
  throw new BursarError('invalid_config', `The price of models.${name} is absurdly high.`, {
    remedy:
      'Prices are USD per million tokens, or credits per call; check credit.usd and margin_percent too.',
  })
}
