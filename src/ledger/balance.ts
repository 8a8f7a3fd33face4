/** What an account has, as it stands now. */
import type { BalanceView } from '../bursar.ts'
import { formatCredits, formatDecimal } from '../money.ts'
import { DAY_MS } from '../time.ts'
import { getAgent } from './agents.ts'
import { type AllowanceStanding, leftOf } from './allowance.ts'
import { unknownAccount } from './errors.ts'
import type { Balance, Ledger } from './ledger.ts'
import { NEVER, unbookedLapse } from './lots.ts'

const DAY = BigInt(DAY_MS)
const WINDOW = 7n * DAY

interface BalanceRow {
  readonly available: bigint
  readonly held: bigint
  readonly frozen: bigint
  readonly lapsed: bigint
  readonly expires_at: bigint | null
  readonly expiring: bigint | null
  readonly first_hour: bigint | null
  readonly charged: bigint
}

/** @throws {BursarError} not_found, database_unavailable */
export async function getBalance({ db, runtime }: Ledger, account: string): Promise<Balance> {
  const now = BigInt(runtime.now())
  const [row] = await db.query<BalanceRow>(
    `SELECT a.available, a.held, a.frozen_at IS NOT NULL AS frozen,
       ${unbookedLapse('?2')} AS lapsed,
       next.expires_at,
       (SELECT sum(l.remaining) FROM lot l
         WHERE l.account = a.id AND l.remaining > 0 AND l.expires_at = next.expires_at) AS expiring,
       (SELECT min(s.hour) FROM spend s WHERE s.account = a.id) AS first_hour,
       (SELECT coalesce(sum(s.charged), 0) FROM spend s WHERE s.account = a.id AND s.hour > ?3) AS charged
     FROM account a LEFT JOIN (
       SELECT account, min(expires_at) AS expires_at FROM lot
       WHERE account = ?1 AND remaining > 0 AND expires_at > ?2 AND expires_at < ?4
     ) next ON next.account = a.id
     WHERE a.id = ?1`,
    [account, now, now - WINDOW, NEVER],
  )
  if (!row) throw unknownAccount(account)
  return {
    available: row.available - row.lapsed,
    held: row.held,
    frozen: row.frozen === 1n,
    nextExpiry: row.expires_at === null ? null : { credits: row.expiring ?? 0n, at: Number(row.expires_at) },
    burnPerDay: burnPerDay(row.charged, row.first_hour, now),
  }
}

/** Rounds down. Less than a day's history counts as a day: ten minutes say nothing about the other 1,430. */
function burnPerDay(charged: bigint, firstHour: bigint | null, now: bigint): bigint {
  if (firstHour === null || charged === 0n) return 0n
  const since = now - firstHour
  const span = since < DAY ? DAY : since < WINDOW ? since : WINDOW
  return (charged * DAY) / span
}

/**
 * The balance as an account sees it, or as one of its agents does, with what its allowance leaves.
 *
 * @throws {BursarError} not_found, database_unavailable
 */
export async function balanceView(ledger: Ledger, account: string, agent?: string): Promise<BalanceView> {
  const [balance, spender] = await Promise.all([
    getBalance(ledger, account),
    agent === undefined ? null : getAgent(ledger, { agent, account }),
  ])
  const { available, held, nextExpiry, burnPerDay: burn } = balance
  return {
    account,
    available: formatCredits(available),
    held: formatCredits(held),
    next_expiry: nextExpiry && {
      credits: formatCredits(nextExpiry.credits),
      at: new Date(nextExpiry.at).toISOString(),
    },
    burn_rate_per_day: formatCredits(burn),
    runway_days: burn === 0n ? null : runwayDays(available, burn),
    frozen: balance.frozen || spender?.frozen === true,
    allowance: spender && allowanceView(spender.allowance),
  }
}

function allowanceView(standing: AllowanceStanding): BalanceView['allowance'] {
  const { perCall, perDay, perMonth } = leftOf(standing)
  if (perCall === null && perDay === null && perMonth === null) return null
  const credits = (left: bigint | null): string | null => (left === null ? null : formatCredits(left))
  return { per_call: credits(perCall), day_left: credits(perDay), month_left: credits(perMonth) }
}

/** One decimal, rounded down; none left is 0.0. */
function runwayDays(available: bigint, burn: bigint): string {
  const tenths = available > 0n ? (available * 10n) / burn : 0n
  return formatDecimal(tenths, 1, 1)
}
