/**
 * What a human lets the purse pay out, in USD: for one payment, a calendar day and a calendar month (UTC), network
 * fees included. A payment counts in the day and month in which it was reserved, whenever it is mined.
 */
import type { PurseConfig } from '../config-schema.ts'
import { type Db, guard, type Statement } from '../db/db.ts'
import { BursarError } from '../errors.ts'
import { formatUsd, MAX_MICRO, type MicroUsd, max, parseUsd } from '../money.ts'

export interface Budget {
  readonly perPayment: MicroUsd
  readonly perDay: MicroUsd
  readonly perMonth: MicroUsd
}

/** The calendar day and month of a moment, UTC. */
export interface Period {
  /** `2026-11-23` */
  readonly day: string
  /** `2026-11` */
  readonly month: string
  /** Unix milliseconds at which the next day, the next month begins. */
  readonly dayEnds: number
  readonly monthEnds: number
}

export interface Usage {
  /** Finished payments, at what they truly cost. */
  readonly spent: MicroUsd
  /** Payments that are under way or whose outcome is unknown, at the most they can cost. */
  readonly reserved: MicroUsd
}

export interface BudgetUse {
  readonly day: Usage
  readonly month: Usage
}

type Limit = 'per_payment' | 'per_day' | 'per_month'

/** @throws {BursarError} invalid_config: finer than a micro-USD, or more than a ledger amount can be. */
export function budgetOf(config: PurseConfig['budget']): Budget {
  return {
    perPayment: limitOf(config.per_payment, 'per_payment'),
    perDay: limitOf(config.per_day, 'per_day'),
    perMonth: limitOf(config.per_month, 'per_month'),
  }
}

export function periodOf(now: number): Period {
  const date = new Date(now)
  const text = date.toISOString()
  const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()]
  return {
    day: text.slice(0, 10),
    month: text.slice(0, 7),
    dayEnds: Date.UTC(year, month, day + 1),
    monthEnds: Date.UTC(year, month + 1, 1),
  }
}

/** What the day and the month of `period` have taken so far. */
export async function readUse(db: Db, period: Pick<Period, 'day' | 'month'>): Promise<BudgetUse> {
  const sums = `coalesce(sum(usd) FILTER (WHERE state IN ('confirmed', 'failed')), 0) AS spent,
    coalesce(sum(usd) FILTER (WHERE state NOT IN ('confirmed', 'failed')), 0) AS reserved`
  const [day] = await db.query<Usage>(`SELECT ${sums} FROM payment WHERE day = ?`, [period.day])
  const [month] = await db.query<Usage>(`SELECT ${sums} FROM payment WHERE month = ?`, [period.month])
  const none = { spent: 0n, reserved: 0n }
  return { day: day ?? none, month: month ?? none }
}

/**
 * Checks a spend against all three limits. Pure; the commit that reserves checks again by `budgetGuards`.
 *
 * @param required micro-USD: the amount plus the highest network fee.
 * @throws {BursarError} budget_exceeded, with the limit, what is spent and reserved, and when it resets.
 */
export function checkBudget(budget: Budget, period: Period, use: BudgetUse, required: MicroUsd): void {
  if (required > budget.perPayment) {
    throw exceeded('per_payment', budget.perPayment, { spent: 0n, reserved: 0n }, required, null)
  }
  // The month first: waiting for tomorrow would not help.
  if (use.month.spent + use.month.reserved + required > budget.perMonth) {
    throw exceeded('per_month', budget.perMonth, use.month, required, period.monthEnds)
  }
  if (use.day.spent + use.day.reserved + required > budget.perDay) {
    throw exceeded('per_day', budget.perDay, use.day, required, period.dayEnds)
  }
}

/** Whether all three limits still have room for what a payment has reserved: they may have been lowered since. */
export async function stillFits(
  db: Db,
  budget: Budget,
  payment: Pick<Period, 'day' | 'month'> & { readonly usd: MicroUsd },
): Promise<boolean> {
  const { day, month } = await readUse(db, payment)
  return (
    payment.usd <= budget.perPayment &&
    day.spent + day.reserved <= budget.perDay &&
    month.spent + month.reserved <= budget.perMonth
  )
}

/** To be committed after a reservation is inserted: rolls it back if the day or the month has no room for it. */
export function budgetGuards(budget: Budget, period: Period, otherwise: () => BursarError): Statement[] {
  return [
    guard(
      '(SELECT coalesce(sum(usd), 0) FROM payment WHERE month = ?) <= ?',
      [period.month, budget.perMonth],
      otherwise,
    ),
    guard(
      '(SELECT coalesce(sum(usd), 0) FROM payment WHERE day = ?) <= ?',
      [period.day, budget.perDay],
      otherwise,
    ),
  ]
}

/** What may still be spent; a limit that was lowered below what is spent already leaves zero. */
export function budgetLeft(budget: Budget, use: BudgetUse): { day: MicroUsd; month: MicroUsd } {
  const left = (limit: MicroUsd, { spent, reserved }: Usage) => max(limit - spent - reserved, 0n)
  const month = left(budget.perMonth, use.month)
  const day = left(budget.perDay, use.day)
  return { day: day < month ? day : month, month }
}

function limitOf(text: string, field: Limit): MicroUsd {
  let limit: MicroUsd
  try {
    limit = parseUsd(text)
  } catch (cause) {
    throw new BursarError('invalid_config', `purse.budget.${field} has more than six decimals.`, {
      remedy: 'Write it in USD with at most six decimals.',
      cause,
    })
  }
  if (limit > 0n && limit <= MAX_MICRO) return limit
  throw new BursarError(
    'invalid_config',
    `purse.budget.${field} must be more than zero and at most ${formatUsd(MAX_MICRO)}.`,
    { remedy: 'Write what the purse may spend, in USD.' },
  )
}

const NAME: Record<Limit, string> = {
  per_payment: 'one payment',
  per_day: 'a day',
  per_month: 'a month',
}

function exceeded(
  limit: Limit,
  allowed: MicroUsd,
  use: Usage,
  required: MicroUsd,
  resetsAt: number | null,
): BursarError {
  const left = max(allowed - use.spent - use.reserved, 0n)
  const state =
    limit === 'per_payment'
      ? ''
      : `; $${formatUsd(use.spent)} is spent and $${formatUsd(use.reserved)} reserved, so $${formatUsd(left)} is left`
  return new BursarError(
    'budget_exceeded',
    `This payment needs up to $${formatUsd(required)}, network fee included. The budget for ${NAME[limit]} is $${formatUsd(allowed)}${state}.`,
    {
      remedy:
        resetsAt === null
          ? 'Buy less, or ask the human who owns the purse to raise purse.budget.per_payment.'
          : `Buy less, wait until ${new Date(resetsAt).toISOString()}, or ask the human who owns the purse to raise purse.budget.${limit}.`,
      details: {
        limit,
        limit_usd: formatUsd(allowed),
        spent_usd: formatUsd(use.spent),
        reserved_usd: formatUsd(use.reserved),
        required_usd: formatUsd(required),
        left_usd: formatUsd(left),
        resets_at: resetsAt === null ? null : new Date(resetsAt).toISOString(),
      },
    },
  )
}
