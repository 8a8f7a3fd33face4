/** The closing half of a group: outcomes of holds, with their receipts and stored answers. */
import { type Row, type Statement, statement } from '../db/db.ts'
import { BursarError } from '../errors.ts'
import type { Changed, CloseHold } from './ledger.ts'

/**
 * A hold that has an outcome has no row any more, so all of these touch only the holds that get theirs now. The posting
 * comes last, because it ends the hold.
 */
export function closeStatements(closing: readonly CloseHold[], at: number): Statement[] {
  const items = closing.map(({ ref, kind, cost, outcome }) => [
    ref,
    kind,
    String(cost),
    outcome.usage ?? null,
    outcome.upstreamRequestId ?? null,
    outcome.note ?? null,
    ...(outcome.upstream === undefined ? [] : [outcome.upstream, outcome.price ?? null]),
  ])
  const answers = closing.flatMap(({ ref, outcome: { response } }) =>
    response === undefined ? [] : [[ref, response]],
  )
  const freed = closing
    .filter(({ kind, outcome, lapsed }) => kind === 'release' && outcome.response === undefined && !lapsed)
    .map(({ ref }) => ref)
  const json = JSON.stringify(items)
  return [
    statement(COMPLETE_RECEIPTS, [json, BigInt(at)]),
    ...(answers.length > 0 ? [statement(STORE_ANSWERS, [JSON.stringify(answers)])] : []),
    ...(freed.length > 0 ? [statement(FREE_KEYS, [JSON.stringify(freed)])] : []),
    statement(POST_OUTCOMES, [json, BigInt(at)]),
  ]
}

const CHARGE = 'min(h.amount, CAST(value ->> 2 AS INTEGER))'

const COMPLETE_RECEIPTS = `
  UPDATE receipt SET state = done.state, charged = done.charged, usage = done.usage,
    upstream_request_id = done.request, note = done.note, finished_at = ?2,
    upstream = coalesce(done.upstream, receipt.upstream), price = coalesce(done.price, receipt.price)
  FROM (
    SELECT h.account, h.ref, iif(value ->> 1 = 'capture', 'charged', 'released') AS state, ${CHARGE} AS charged,
      value ->> 3 AS usage, value ->> 4 AS request, value ->> 5 AS note,
      value ->> 6 AS upstream, value ->> 7 AS price
    FROM json_each(?1) JOIN hold h ON h.ref = value ->> 0
  ) AS done
  WHERE receipt.account = done.account AND receipt.id = done.ref`

const STORE_ANSWERS = `
  UPDATE idempotency SET response = answer.value ->> 1
  FROM json_each(?1) AS answer JOIN hold h ON h.ref = answer.value ->> 0
  WHERE idempotency.ref = h.ref`

const FREE_KEYS = `
  DELETE FROM idempotency
  WHERE ref IN (SELECT value FROM json_each(?1)) AND EXISTS (SELECT 1 FROM hold h WHERE h.ref = idempotency.ref)`

const POST_OUTCOMES = `
  INSERT INTO posting (ref, phase, kind, account, agent, available, held, book, counter, at)
  SELECT h.ref, 1, value ->> 1, h.account, h.agent, h.amount - ${CHARGE}, -h.amount,
    iif(value ->> 1 = 'capture', 'revenue', NULL), ${CHARGE}, ?2
  FROM json_each(?1) JOIN hold h ON h.ref = value ->> 0`

const SELECT_CLOSED = `
  SELECT p.ref, p.counter, a.available FROM json_each(?1)
  JOIN posting p ON p.ref = value AND p.phase = 1 JOIN account a ON a.id = p.account`

export function readClosed(closing: readonly CloseHold[]): {
  readonly select: Statement
  results(rows: readonly Row[]): Map<string, Changed | BursarError>
} {
  return {
    select: statement(SELECT_CLOSED, [JSON.stringify(closing.map(({ ref }) => ref))]),
    results(rows) {
      const closed = new Map(
        rows.map((row) => {
          const settled = { charged: row['counter'] as bigint, available: row['available'] as bigint }
          return [row['ref'] as string, { kind: 'closed', settled } as const]
        }),
      )
      return new Map(closing.map(({ ref }) => [ref, closed.get(ref) ?? unknownHold()]))
    },
  }
}

function unknownHold(): BursarError {
  return new BursarError('not_found', 'There is no such hold.')
}
