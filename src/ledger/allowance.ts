/**
 * What an agent may spend of its account's credits: a call, a UTC day, a UTC month, and on which models. A hold counts
 * in full on the day on which it was taken, its charge on that same day, and what it gives back is free again. The
 * triggers of migration 0004 enforce it where a hold is taken; here is what it says and what is left of it.
 */
import type { Arg, Statement } from '../db/db.ts'
import { statement } from '../db/db.ts'
import { BursarError, invalid } from '../errors.ts'
import { formatCredits, MAX_MICRO, type MicroCredits, max, min } from '../money.ts'
import { DAY_MS } from '../time.ts'
import type { Ledger } from './ledger.ts'

export interface Allowance {
  /** Each null where there is no limit. */
  readonly perCall: MicroCredits | null
  readonly perDay: MicroCredits | null
  readonly perMonth: MicroCredits | null
  /** Ids of models, exactly as they are sold; null allows all. */
  readonly models: readonly string[] | null
}

/** What is not named stays as it is; null lifts a limit. */
export type AllowanceChange = { readonly [Limit in keyof Allowance]?: Allowance[Limit] }

export interface Spent {
  readonly held: MicroCredits
  readonly charged: MicroCredits
}

/** An allowance and what has been used of it, counted since a limit by day or month was set. */
export interface AllowanceStanding extends Allowance {
  readonly day: Spent
  readonly month: Spent
}

/** Each null where there is no limit; never below zero, also after a limit was lowered. */
export interface AllowanceLeft {
  readonly perCall: MicroCredits | null
  readonly perDay: MicroCredits | null
  readonly perMonth: MicroCredits | null
}

const MOST_MODELS = 200

/** @throws {BursarError} invalid_request */
export function checkAllowance({ models, ...limits }: AllowanceChange): void {
  for (const limit of Object.values(limits)) {
    if (limit !== null && (limit < 0n || limit > MAX_MICRO)) {
      throw invalid('A limit of an allowance must be zero to a billion credits.')
    }
  }
  if (!models) return
  if (models.length > MOST_MODELS || models.some((id) => id.length === 0 || id.length > 200)) {
    throw invalid(`An allowance names at most ${MOST_MODELS} models, each of 1 to 200 characters.`)
  }
}

/**
 * Changes an agent's allowance, from the next hold on. The first limit by day or month starts the counting: what the
 * agent spent before is not counted. Without such a limit the counters go.
 */
export function allowanceStatements(agent: string, change: AllowanceChange): Statement[] {
  const models = change.models ? JSON.stringify([...new Set(change.models)]) : null
  const args: Arg[] = [
    agent,
    ...given(change.perCall),
    ...given(change.perDay),
    ...given(change.perMonth),
    change.models === undefined ? 0n : 1n,
    models,
  ]
  return [
    statement(CHANGE_ALLOWANCE, args),
    statement(
      `DELETE FROM agent_spend
       WHERE agent = ?1 AND EXISTS (SELECT 1 FROM agent WHERE id = ?1 AND counted_after IS NULL)`,
      [agent],
    ),
  ]
}

function given(limit: MicroCredits | null | undefined): Arg[] {
  return limit === undefined ? [0n, null] : [1n, limit]
}

const CHANGE_ALLOWANCE = `
  UPDATE agent SET per_call = iif(?2, ?3, per_call), per_day = iif(?4, ?5, per_day),
    per_month = iif(?6, ?7, per_month), models = iif(?8, ?9, models),
    counted_after = iif(iif(?4, ?5, per_day) IS NULL AND iif(?6, ?7, per_month) IS NULL, NULL,
      coalesce(counted_after, (SELECT coalesce(max(id), 0) FROM posting)))
  WHERE id = ?1`

/** Columns of a query over `agent g`; `at` is SQL for the time, Unix milliseconds. */
export function standingColumns(at: string): string {
  const today = `s.agent = g.id AND s.day = ${at} - ${at} % ${DAY_MS}`
  const month = (more: string): string =>
    `unixepoch(${at} / 1000, 'unixepoch', 'start of month'${more}) * 1000`
  const thisMonth = `s.agent = g.id AND s.day >= ${month('')} AND s.day < ${month(", '+1 month'")}`
  return `g.per_call, g.per_day, g.per_month, g.models,
    (SELECT s.held FROM agent_spend s WHERE ${today}) AS day_held,
    (SELECT s.charged FROM agent_spend s WHERE ${today}) AS day_charged,
    (SELECT sum(s.held) FROM agent_spend s WHERE ${thisMonth}) AS month_held,
    (SELECT sum(s.charged) FROM agent_spend s WHERE ${thisMonth}) AS month_charged`
}

export interface StandingRow {
  readonly per_call: bigint | null
  readonly per_day: bigint | null
  readonly per_month: bigint | null
  readonly models: string | null
  readonly day_held: bigint | null
  readonly day_charged: bigint | null
  readonly month_held: bigint | null
  readonly month_charged: bigint | null
}

export function standingOf(row: StandingRow): AllowanceStanding {
  return {
    perCall: row.per_call,
    perDay: row.per_day,
    perMonth: row.per_month,
    models: row.models === null ? null : (JSON.parse(row.models) as string[]),
    day: { held: row.day_held ?? 0n, charged: row.day_charged ?? 0n },
    month: { held: row.month_held ?? 0n, charged: row.month_charged ?? 0n },
  }
}

/** @throws {BursarError} not_found, database_unavailable */
export async function readAllowance({ db, runtime }: Ledger, agent: string): Promise<AllowanceStanding> {
  const [row] = await db.query<StandingRow>(`SELECT ${standingColumns('?2')} FROM agent g WHERE g.id = ?1`, [
    agent,
    BigInt(runtime.now()),
  ])
  if (!row) throw new BursarError('not_found', 'There is no such agent.')
  return standingOf(row)
}

/** Whether it has any limit at all. */
export function isLimited({ perCall, perDay, perMonth, models }: Allowance): boolean {
  return perCall !== null || perDay !== null || perMonth !== null || models !== null
}

export function leftOf({ perCall, perDay, perMonth, day, month }: AllowanceStanding): AllowanceLeft {
  return { perCall, perDay: leftWithin(perDay, day), perMonth: leftWithin(perMonth, month) }
}

function leftWithin(limit: MicroCredits | null, { held, charged }: Spent): MicroCredits | null {
  return limit === null ? null : max(limit - held - charged, 0n)
}

/** The most that one call may hold now; `available` where no limit is lower. */
export function spendableOf(standing: AllowanceStanding, available: MicroCredits): MicroCredits {
  const { perCall, perDay, perMonth } = leftOf(standing)
  return [perCall, perDay, perMonth].reduce<bigint>(
    (most, left) => (left === null ? most : min(most, left)),
    available,
  )
}

export interface Wish {
  readonly required: MicroCredits
  /** Null: of no model. */
  readonly model: string | null
  /** Unix milliseconds. */
  readonly at: number
}

/** Why an allowance does not cover a hold: of several reasons the one that lasts longest. Null: it does. */
export function allowanceRefusal(standing: AllowanceStanding, wish: Wish): BursarError | null {
  const { perCall, perDay, perMonth, models, day, month } = standing
  const { required, model, at } = wish
  if (models !== null && (model === null || !models.includes(model))) return otherModel(models, model)
  if (perCall !== null && required > perCall) {
    return exceeded('per_call', 'a call', { limit: perCall, spent: null, required, resetsAt: null })
  }
  const [left, now] = [leftOf(standing), new Date(at)]
  if (perMonth !== null && required > (left.perMonth ?? 0n)) {
    const resetsAt = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1)
    return exceeded('per_month', 'a month', { limit: perMonth, spent: month, required, resetsAt })
  }
  if (perDay !== null && required > (left.perDay ?? 0n)) {
    const resetsAt = at - (at % DAY_MS) + DAY_MS
    return exceeded('per_day', 'a day', { limit: perDay, spent: day, required, resetsAt })
  }
  return null
}

interface Exceeded {
  readonly limit: MicroCredits
  /** Null where nothing adds up. */
  readonly spent: Spent | null
  readonly required: MicroCredits
  readonly resetsAt: number | null
}

function exceeded(
  which: 'per_call' | 'per_day' | 'per_month',
  each: string,
  { limit, spent, required, resetsAt }: Exceeded,
): BursarError {
  const { held, charged } = spent ?? { held: 0n, charged: 0n }
  const left = max(limit - held - charged, 0n)
  const waits = held > 0n && required <= limit - charged
  const until = resetsAt === null ? null : new Date(resetsAt).toISOString()
  const rest = spent === null ? '' : `, of which ${formatCredits(left)} are left`
  const ways = [
    ...(waits ? ['wait until running calls give back what they hold'] : []),
    ...(until !== null && required <= limit ? [`wait until ${until}`] : []),
    ...(left > 0n ? ['ask for less'] : []),
    'ask whoever manages the account to raise the allowance',
  ].join('; or ')
  return new BursarError(
    'allowance_exceeded',
    `This needs ${formatCredits(required)} credits; this agent may spend ${formatCredits(limit)} ${each}${rest}.`,
    {
      remedy: `${ways.charAt(0).toUpperCase()}${ways.slice(1)}.`,
      details: {
        allowance: which,
        limit: formatCredits(limit),
        spent: formatCredits(charged),
        held: formatCredits(held),
        required: formatCredits(required),
        resets_at: until,
        reason: waits ? 'held' : 'spent',
      },
    },
  )
}

function otherModel(models: readonly string[], model: string | null): BursarError {
  const allowed = models.slice(0, 10).join(', ')
  return new BursarError(
    'allowance_exceeded',
    `The allowance of this agent does not include ${model === null ? 'this' : `the model ${model}`}.`,
    {
      remedy:
        allowed === '' ? 'Ask whoever manages the account to allow a model.' : `Use one of: ${allowed}.`,
      details: { allowance: 'models', models, resets_at: null },
    },
  )
}
