/**
 * Money is integers. Three units exist, each a bigint whose name says which it is:
 *
 * - micro-credits: 1 credit = 1,000,000
 * - micro-USD: 1 USD = 1,000,000
 * - atomic units of an asset: 1 ETH = 10^18 wei, 1 BTC = 10^8 satoshi, 1 USDC = 10^6
 *
 * A price is USD per whole unit of an asset times 10^8. Every division says which way it rounds: what a payer
 * owes rounds up, what is granted rounds down.
 */
import { invalid } from './errors.ts'

export type MicroCredits = bigint
export type MicroUsd = bigint
export type Atomic = bigint
/** USD per whole unit of an asset, times 10^8. */
export type PriceE8 = bigint

export const MICRO = 1_000_000n
export const PRICE_DECIMALS = 8
export const PRICE_SCALE = 10n ** BigInt(PRICE_DECIMALS)
/** The largest ledger amount accepted anywhere: far above any sale, far below SQLite's 64 bits. */
export const MAX_MICRO = 1_000_000_000_000_000n

export interface Asset {
  /** Ticker, as in a rail id: `ETH`, `USDC`, `BTC`. */
  readonly symbol: string
  /** Decimals of the atomic unit: 18 for ETH, 6 for USDC, 8 for BTC. */
  readonly decimals: number
  /** Token contract (EVM), jetton master (TON); absent for a chain's native coin. */
  readonly contract?: string
}

/** A price of an asset, with where and when it was seen. */
export interface Quote {
  readonly symbol: string
  readonly priceE8: PriceE8
  readonly source: string
  /** Unix milliseconds. */
  readonly at: number
}

export function ceilDiv(a: bigint, b: bigint): bigint {
  return (a + b - 1n) / b
}

export function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

export function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}

/**
 * Reads a plain decimal ("12", "0.5") as an integer of 10^-decimals units.
 *
 * @throws {BursarError} invalid_request: not a plain decimal, negative, or finer than the unit allows.
 */
export function parseDecimal(text: string, decimals: number, what = 'amount'): bigint {
  const match = /^(\d{1,40})(?:\.(\d{1,40}))?$/.exec(text)
  if (!match) {
    throw invalid(
      `${what} must be a plain decimal number such as "12.5", got ${JSON.stringify(text).slice(0, 60)}.`,
    )
  }
  const fraction = (match[2] ?? '').replace(/0+$/, '')
  if (fraction.length > decimals) {
    throw invalid(`${what} has ${fraction.length} decimals, the unit allows ${decimals}.`)
  }
  return BigInt(match[1] + fraction.padEnd(decimals, '0'))
}

/** Writes an integer of 10^-decimals units as a decimal, with at least `minimum` decimals. */
export function formatDecimal(value: bigint, decimals: number, minimum = 0): string {
  const digits = (value < 0n ? -value : value).toString().padStart(decimals + 1, '0')
  const whole = digits.slice(0, digits.length - decimals)
  const fraction = digits
    .slice(digits.length - decimals)
    .replace(/0+$/, '')
    .padEnd(minimum, '0')
  return (value < 0n ? '-' : '') + whole + (fraction ? `.${fraction}` : '')
}

/** Credits as people and agents see them: always six decimals. */
export function formatCredits(value: MicroCredits): string {
  return formatDecimal(value, 6, 6)
}

/** USD with at least two decimals, up to six. */
export function formatUsd(value: MicroUsd): string {
  return formatDecimal(value, 6, 2)
}

/** A price with at least two decimals, up to eight. */
export function formatPrice(priceE8: PriceE8): string {
  return formatDecimal(priceE8, PRICE_DECIMALS, 2)
}

export function parseCredits(text: string, what = 'credits'): MicroCredits {
  return parseDecimal(text, 6, what)
}

export function parseUsd(text: string, what = 'USD amount'): MicroUsd {
  return parseDecimal(text, 6, what)
}

/** What a payer owes in an asset for a USD price; rounds up. */
export function usdToAtomic(usd: MicroUsd, priceE8: PriceE8, decimals: number): Atomic {
  return ceilDiv(usd * 100n * 10n ** BigInt(decimals), priceE8)
}

/** What an on-chain amount is worth; rounds down. */
export function atomicToUsd(amount: Atomic, priceE8: PriceE8, decimals: number): MicroUsd {
  return (amount * priceE8) / (100n * 10n ** BigInt(decimals))
}

/** What an on-chain amount costs whoever pays it; rounds up, as budgets do. */
export function atomicToUsdCeil(amount: Atomic, priceE8: PriceE8, decimals: number): MicroUsd {
  return ceilDiv(amount * priceE8, 100n * 10n ** BigInt(decimals))
}

/** Credits bought by a USD amount at a price per credit; rounds down. */
export function usdToCredits(usd: MicroUsd, usdPerCredit: MicroUsd): MicroCredits {
  return (usd * MICRO) / usdPerCredit
}

/** The USD price of an amount of credits; rounds up. */
export function creditsToUsd(credits: MicroCredits, usdPerCredit: MicroUsd): MicroUsd {
  return ceilDiv(credits * usdPerCredit, MICRO)
}
