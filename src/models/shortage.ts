/** What a caller is told whose credits, or whose allowance, do not cover a call: what is missing, and what would fit. */
import { BursarError } from '../errors.ts'
import type { Balance } from '../ledger/ledger.ts'
import { formatCredits, type MicroCredits, max } from '../money.ts'

/** The ledger's own words, and how many tokens would fit. */
export function beyondAllowance(perChoice: number, refused: BursarError): BursarError {
  const fits = perChoice > 0 ? `Ask for at most ${perChoice} max_tokens. Or: ` : ''
  return new BursarError(refused.code, refused.message, {
    remedy: `${fits}${refused.remedy ?? ''}`,
    details: { ...refused.details, max_affordable_tokens: perChoice },
    cause: refused,
  })
}

/** In a sentence; all of them are in the details. */
const RAILS_NAMED = 4

interface Shortage {
  /** Output tokens that would fit, for each choice. */
  readonly perChoice: number
  readonly required: MicroCredits
  /** The same for a call that is fitted. */
  readonly least: MicroCredits
  readonly refused: BursarError
  readonly rails?: readonly string[]
  /** The fewest credits that are sold at once. */
  readonly leastSale?: MicroCredits
}

export function tooFewCredits(
  { available, held }: Pick<Balance, 'available' | 'held'>,
  { perChoice, required, least, refused, rails = [], leastSale = 0n }: Shortage,
): BursarError {
  const missing = max(required - available, 0n)
  const enough = max(least - available, 0n)
  // With what running calls give back, it might at least be fitted.
  const reason = available + held >= least ? 'held' : 'empty'
  const advice = [
    ...(perChoice > 0 ? [`ask for at most ${perChoice} max_tokens`] : []),
    ...(reason === 'held' ? ['wait until running calls give back what they hold'] : []),
    ...(missing > 0n
      ? [
          `buy at least ${amounts(max(missing, leastSale), enough > 0n ? max(enough, leastSale) : 0n)}: create_invoice (POST /v1/invoices), ${paidWith(rails)}`,
        ]
      : []),
  ].join('; or ')
  return new BursarError(
    'insufficient_credits',
    `This call can cost up to ${formatCredits(required)} credits; ${formatCredits(available)} are available.`,
    {
      remedy: `${advice.charAt(0).toUpperCase()}${advice.slice(1)}.`,
      details: {
        available: formatCredits(available),
        held: formatCredits(held),
        required: formatCredits(required),
        missing: formatCredits(missing),
        max_affordable_tokens: perChoice,
        reason,
        ...(rails.length > 0 ? { rails } : {}),
      },
      cause: refused,
    },
  )
}

/** A call that may be fitted runs with less than it asks for. */
function amounts(missing: MicroCredits, enough: MicroCredits): string {
  if (enough === 0n || enough === missing) return `${formatCredits(missing)} credits`
  return `${formatCredits(enough)} credits, or ${formatCredits(missing)} for all the output that it asks for`
}

/** Named here, it saves whoever reads it a look at the offers. */
function paidWith(rails: readonly string[]): string {
  if (rails.length === 0) return 'with a pack or rail of list_offers'
  const named = rails.slice(0, RAILS_NAMED)
  const more = rails.length > named.length ? ', or another rail of list_offers' : ''
  return `paid with ${named.join(' or ')}${more}`
}
