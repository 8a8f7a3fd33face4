/**
 * What is on sale: packs from the configuration, and any other amount of credits at the plain price. A pack that
 * costs less than its credits has a discount; payments themselves always grant at the plain price, and the
 * discount is a grant of its own, given once the pack's price has arrived in time.
 */
import type { ConfigFile, PackConfig } from '../config-schema.ts'
import { BursarError, invalid } from '../errors.ts'
import {
  creditsToUsd,
  formatCredits,
  formatDecimal,
  formatUsd,
  MAX_MICRO,
  type MicroCredits,
  type MicroUsd,
  parseCredits,
  parseUsd,
  usdToCredits,
} from '../money.ts'
import { DAY_MS } from '../time.ts'

const DEFAULT_LIFETIME = '365d'

/** What a buyer gets for a price. */
export interface Sale {
  /** The pack's id; null for a free amount of credits. */
  readonly pack: string | null
  /** All credits, the discount included. */
  readonly credits: MicroCredits
  /** The price; rounded up from the credits where the seller set none. */
  readonly usd: MicroUsd
  /** The part of `credits` that the price does not buy undiscounted. */
  readonly discount: MicroCredits
  /** How long the credits last, or null: forever. */
  readonly lifetimeMs: number | null
}

export interface Pack extends Sale {
  readonly pack: string
}

export interface Catalogue {
  readonly usdPerCredit: MicroUsd
  readonly packs: ReadonlyMap<string, Pack>
  /** The most credits that one invoice without a pack may ask for. */
  readonly maxCredits: MicroCredits
}

/** @throws {BursarError} invalid_config, naming the pack or field that cannot be sold, and why. */
export function readCatalogue(config: Pick<ConfigFile, 'credit' | 'packs' | 'invoices'>): Catalogue {
  const usdPerCredit = fromConfig('credit.usd', () => parseUsd(config.credit.usd))
  const maxCredits = fromConfig('invoices.max_credits', () => parseCredits(config.invoices.max_credits))
  if (maxCredits > MAX_MICRO) throw tooLarge('invoices.max_credits')
  const packs = new Map<string, Pack>()
  for (const entry of config.packs) {
    if (packs.has(entry.id)) {
      throw new BursarError('invalid_config', `Two packs are called ${entry.id}.`, {
        remedy: 'Give each pack an id of its own.',
      })
    }
    packs.set(entry.id, readPack(entry, usdPerCredit))
  }
  return { usdPerCredit, packs, maxCredits }
}

/**
 * The sale that a buyer asks for: one of `pack` (its id) and `credits` (a decimal).
 *
 * @throws {BursarError} not_found: no such pack; invalid_request: both or neither, zero, too many, or finer than a
 *   micro-credit.
 */
export function saleOf(
  catalogue: Catalogue,
  asked: { readonly pack?: string; readonly credits?: string },
): Sale {
  if ((asked.pack === undefined) === (asked.credits === undefined)) {
    throw invalid('An invoice is for one of: a pack, or an amount of credits.', {
      remedy: 'Give either `pack` (an id from the offers) or `credits` (a decimal), not both.',
    })
  }
  if (asked.pack !== undefined) return packNamed(catalogue, asked.pack)
  const credits = parseCredits(asked.credits ?? '')
  if (credits === 0n) {
    throw invalid('credits must be more than zero.', { remedy: 'Ask for at least 0.000001 credits.' })
  }
  if (credits > catalogue.maxCredits) {
    throw invalid(`One invoice is for at most ${formatCredits(catalogue.maxCredits)} credits.`, {
      remedy: 'Ask for less, or make several invoices.',
      details: { max_credits: formatCredits(catalogue.maxCredits) },
    })
  }
  const sale = plainSale(credits, catalogue.usdPerCredit)
  if (sale.usd > MAX_MICRO) throw invalid('This amount of credits costs more than one invoice can carry.')
  return sale
}

/** So many credits at the plain price. */
export function plainSale(credits: MicroCredits, usdPerCredit: MicroUsd): Sale {
  const usd = creditsToUsd(credits, usdPerCredit)
  return { pack: null, credits, usd, discount: 0n, lifetimeMs: lifetimeOf(DEFAULT_LIFETIME) }
}

/** How much cheaper a pack is than its credits one by one: percent with up to two decimals, rounded down. */
export function discountPercent(pack: Sale, usdPerCredit: MicroUsd): string {
  const plain = creditsToUsd(pack.credits, usdPerCredit)
  return formatDecimal(((plain - pack.usd) * 10_000n) / plain, 2)
}

function packNamed(catalogue: Catalogue, id: string): Pack {
  const pack = catalogue.packs.get(id)
  if (pack) return pack
  const known = [...catalogue.packs.keys()]
  throw new BursarError('not_found', `There is no pack ${JSON.stringify(id).slice(0, 80)}.`, {
    remedy:
      known.length > 0
        ? `Choose one of: ${known.join(', ')}.`
        : 'No packs are on sale: ask for `credits` instead.',
    details: { packs: known },
  })
}

function readPack(entry: PackConfig, usdPerCredit: MicroUsd): Pack {
  const field = `The pack ${entry.id}`
  const credits = fromConfig(`${field}: credits`, () => parseCredits(entry.credits))
  const plain = creditsToUsd(credits, usdPerCredit)
  const usd =
    entry.price === undefined ? plain : fromConfig(`${field}: price`, () => parseUsd(entry.price ?? ''))
  if (credits > MAX_MICRO || plain > MAX_MICRO) throw tooLarge(field)
  if (usd > plain) {
    throw new BursarError(
      'invalid_config',
      `The pack ${entry.id} costs ${formatUsd(usd)} USD, more than its credits one by one (${formatUsd(plain)} USD).`,
      { remedy: `Lower its price to at most ${formatUsd(plain)}, or leave the price out.` },
    )
  }
  // Rounding a price up can buy a hair more than the pack holds: then there is no discount to speak of.
  const bought = usdToCredits(usd, usdPerCredit)
  const discount = credits > bought ? credits - bought : 0n
  return { pack: entry.id, credits, usd, discount, lifetimeMs: lifetimeOf(entry.expires) }
}

function lifetimeOf(text: string): number | null {
  return text === 'never' ? null : Number.parseInt(text, 10) * DAY_MS
}

function fromConfig(field: string, read: () => bigint): bigint {
  let value: bigint
  try {
    value = read()
  } catch (cause) {
    throw new BursarError('invalid_config', `${field} must be a decimal with at most six decimals.`, {
      remedy: 'Correct the configuration.',
      cause,
    })
  }
  if (value > 0n) return value
  throw new BursarError('invalid_config', `${field} must be more than zero.`, {
    remedy: 'Correct the configuration.',
  })
}

function tooLarge(field: string): BursarError {
  return new BursarError('invalid_config', `${field} is larger than the ledger can hold.`, {
    remedy: `Stay below ${formatDecimal(MAX_MICRO, 6)} credits and USD.`,
  })
}
