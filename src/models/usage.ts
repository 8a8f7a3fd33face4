/** Receipts of model calls, as `list_usage` pages through them. */
import { encodeTime } from 'ulid'
import type { ListUsage, TokenUsage, UsageEntry, UsagePage } from '../bursar.ts'
import { priceInWords } from '../credits/prices.ts'
import type { Db } from '../db/db.ts'
import { invalid } from '../errors.ts'
import { pageOf } from '../ledger/page.ts'
import { formatCredits } from '../money.ts'
import { isoTime } from '../time.ts'

const DEFAULT_LIMIT = 20
const MAX_LIMIT = 100
/** Sorts after every id: those are letters, digits and _. */
const AFTER_EVERY_ID = '~'
/** A hold waits its turn for half a minute at most, and begins then. */
const LONGEST_WAIT_MS = 60_000
/** After every time: the end of the year 9999. */
const LAST = 253_402_300_800_000n

/** Usage as a receipt stores it, JSON. */
export type StoredUsage = Readonly<TokenUsage>

interface ReceiptRow {
  readonly id: string
  readonly model: string
  readonly upstream: string
  readonly state: UsageEntry['state']
  readonly usage: string | null
  readonly price: string
  readonly held: bigint
  readonly charged: bigint
  readonly started_at: bigint
  readonly finished_at: bigint | null
  readonly upstream_request_id: string | null
  readonly note: string | null
}

/**
 * One page of an account's receipts, newest first. The cursor is the last receipt's id, so later calls never shift
 * a page.
 *
 * @param account whose calls.
 * @throws {BursarError} invalid_request: a limit outside 1 to 100, a cursor that is no receipt's id, or no time.
 */
export async function listUsage(
  db: Db,
  account: string,
  { limit = DEFAULT_LIMIT, cursor, model, since, until }: ListUsage,
): Promise<UsagePage> {
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    throw invalid(`limit must be a whole number from 1 to ${MAX_LIMIT}.`)
  }
  if (cursor !== undefined && !/^[A-Za-z0-9_-]{1,80}$/.test(cursor)) {
    throw invalid('cursor is not one that list_usage gave.', {
      remedy: 'Use next_cursor of the page before.',
    })
  }
  const from = timeOf(since, 'since') ?? 0n
  const read = (rows: number): Promise<ReceiptRow[]> =>
    db.query<ReceiptRow>(
      `SELECT id, model, upstream, state, usage, price, held, charged, started_at, finished_at,
       upstream_request_id, note
     FROM receipt
     WHERE account = ?1 AND id < ?2 AND id >= ?7 AND (?4 IS NULL OR model = ?4) AND started_at >= ?5 AND started_at < ?6
     ORDER BY id DESC LIMIT ?3`,
      [
        account,
        cursor ?? AFTER_EVERY_ID,
        BigInt(rows),
        model ?? null,
        from,
        timeOf(until, 'until') ?? LAST,
        firstIdOf(from),
      ],
    )
  const { page, next } = await pageOf(limit, read)
  return { calls: page.map(entryOf), next_cursor: next }
}

function entryOf(row: ReceiptRow): UsageEntry {
  const usage = row.usage === null ? null : (JSON.parse(row.usage) as StoredUsage)
  const price = priceInWords(row.price, usage?.input_tokens ?? null)
  return {
    receipt: row.id,
    model: row.model,
    state: row.state,
    usage,
    ...(price === null ? {} : { price }),
    price_version: price === null ? null : versionOf(row.price),
    held: formatCredits(row.held),
    charged: formatCredits(row.charged),
    started_at: isoTime(row.started_at),
    finished_at: row.finished_at === null ? null : isoTime(row.finished_at),
    upstream: row.upstream,
    upstream_request_id: row.upstream_request_id,
    note: row.note,
  }
}

/** As `describePrice` wrote it. */
function versionOf(price: string): string | null {
  return (JSON.parse(price) as { readonly source?: string }).source ?? null
}

function timeOf(text: string | undefined, name: string): bigint | null {
  if (text === undefined) return null
  const at = /^\d{4}-\d\d-\d\d(?:T[\d:.]{5,15}(?:Z|[+-]\d\d:\d\d))?$/.test(text)
    ? Date.parse(text)
    : Number.NaN
  if (Number.isNaN(at)) throw invalid(`${name} must be a time such as 2026-11-01 or 2026-11-01T12:00:00Z.`)
  return BigInt(at)
}

/** A receipt's id begins with the time at which its hold was asked for: what is older is not even read. */
function firstIdOf(since: bigint): string {
  return `hold_${encodeTime(Math.max(0, Number(since) - LONGEST_WAIT_MS), 10)}`
}
