/** The opening half of a group: holds with their idempotency rows and receipts, or the reason why not. */
import { type Row, type Statement, statement } from '../db/db.ts'
import { BursarError } from '../errors.ts'
import { allowanceRefusal, type StandingRow, standingColumns, standingOf } from './allowance.ts'
import { frozen, insufficient, unknownAccount, unknownAgent } from './errors.ts'
import type { Changed, OpenHold } from './ledger.ts'
import { IS_RESTORED, restored } from './restored.ts'

/** Amounts travel as text and are cast: a JSON number would be a float on the JavaScript side. */
export function openStatements(opening: readonly OpenHold[], at: number): Statement[] {
  const holds = opening.map(({ ref, expiresAt, request: r }) => [
    ref,
    r.account,
    r.agent ?? null,
    String(r.amount),
    String(r.lapseCharge ?? 0n),
    expiresAt,
    r.idempotency?.route ?? null,
    r.idempotency?.key ?? null,
    r.receipt?.model ?? null,
  ])
  const claims = opening.flatMap(({ ref, request: { account, idempotency: claim } }) =>
    claim ? [[ref, account, claim.route, claim.key, claim.bodyHash]] : [],
  )
  const receipts = opening.flatMap(({ ref, request: { account, agent, amount, receipt: r } }) =>
    r ? [[ref, account, agent ?? null, r.route, r.model, r.upstream, r.price, String(amount)]] : [],
  )
  return [
    overJson(hasAgents(opening) ? INSERT_HOLDS_OF_AGENTS : INSERT_HOLDS, holds, at),
    ...(claims.length > 0 ? [overJson(INSERT_CLAIMS, claims, at)] : []),
    ...(receipts.length > 0 ? [overJson(INSERT_RECEIPTS, receipts, at)] : []),
  ]
}

/** Without agents no statement has to be prepared for them. */
function hasAgents(opening: readonly OpenHold[]): boolean {
  return opening.some(({ request }) => request.agent !== undefined)
}

function overJson(sql: string, items: readonly unknown[], at: number): Statement {
  return statement(sql, [JSON.stringify(items), BigInt(at)])
}

// Triggers leave out what cannot be held and post the rest. A key that was used before is not held again.
const INSERT_HOLDS = `
  INSERT INTO hold (ref, account, agent, amount, lapse_charge, at, expires_at)
  SELECT value ->> 0, value ->> 1, value ->> 2, CAST(value ->> 3 AS INTEGER), CAST(value ->> 4 AS INTEGER), ?2, value ->> 5
  FROM json_each(?1) AS item
  WHERE NOT ${IS_RESTORED} AND (value ->> 6 IS NULL OR NOT EXISTS (
    SELECT 1 FROM idempotency i WHERE i.account = value ->> 1 AND i.route = value ->> 6 AND i.key = value ->> 7))`

// Models are not the triggers' business: a hold does not know its model. Without agents nothing is looked up.
const INSERT_HOLDS_OF_AGENTS = `${INSERT_HOLDS} AND NOT EXISTS (
    SELECT 1 FROM agent g WHERE g.id = item.value ->> 2 AND g.models IS NOT NULL AND NOT EXISTS (
      SELECT 1 FROM json_each(g.models) AS model WHERE model.value = item.value ->> 8))`

const INSERT_CLAIMS = `
  INSERT INTO idempotency (ref, account, route, key, body_hash, at)
  SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, ?2
  FROM json_each(?1) WHERE EXISTS (SELECT 1 FROM hold h WHERE h.ref = value ->> 0)`

const INSERT_RECEIPTS = `
  INSERT INTO receipt (id, account, agent, route, model, upstream, price, held, state, started_at)
  SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    CAST(value ->> 7 AS INTEGER), 'pending', ?2
  FROM json_each(?1) WHERE EXISTS (SELECT 1 FROM hold h WHERE h.ref = value ->> 0)`

// Only what was not held has a row: the rest needs no answer but silence.
const selectRefused = (more: string): string => `
  SELECT value ->> 0 AS ref, a.id IS NOT NULL AS account_exists, a.available, a.held,
    a.frozen_at IS NOT NULL AS account_frozen, g.id IS NOT NULL AS agent_exists, g.frozen_at IS NOT NULL AS agent_frozen,
    i.ref AS first_ref, i.body_hash, i.response, EXISTS (SELECT 1 FROM hold h WHERE h.ref = i.ref) AS running,
    ${IS_RESTORED} AS restored${more}
  FROM json_each(?1)
  LEFT JOIN account a ON a.id = value ->> 1
  LEFT JOIN agent g ON g.id = value ->> 2 AND g.account = a.id
  LEFT JOIN idempotency i ON i.account = value ->> 1 AND i.route = value ->> 3 AND i.key = value ->> 4
  WHERE NOT EXISTS (SELECT 1 FROM posting p WHERE p.ref = value ->> 0 AND p.phase = 0)`

const SELECT_REFUSED = selectRefused('')
const SELECT_REFUSED_OF_AGENTS = selectRefused(`, ${standingColumns('?2')}`)

interface RefusedRow extends StandingRow {
  // The standing is there for agents only.
  readonly ref: string
  readonly account_exists: bigint
  readonly available: bigint
  readonly held: bigint
  readonly account_frozen: bigint
  readonly agent_exists: bigint
  readonly agent_frozen: bigint
  readonly first_ref: string | null
  readonly body_hash: string | null
  readonly response: string | null
  readonly running: bigint
  readonly restored: bigint
}

export function readOpened(
  opening: readonly OpenHold[],
  at: number,
): {
  readonly select: Statement
  results(rows: readonly Row[]): Map<string, Changed | BursarError>
} {
  const asked = opening.map(({ ref, request: r }) => [
    ref,
    r.account,
    r.agent ?? null,
    r.idempotency?.route ?? null,
    r.idempotency?.key ?? null,
  ])
  return {
    select: hasAgents(opening)
      ? overJson(SELECT_REFUSED_OF_AGENTS, asked, at)
      : statement(SELECT_REFUSED, [JSON.stringify(asked)]),
    results(rows) {
      const refused = new Map(rows.map((row) => [row['ref'], row as unknown as RefusedRow]))
      return new Map(
        opening.map((change) => {
          const row = refused.get(change.ref)
          return [change.ref, row ? refusalOf(change, row, at) : { kind: 'held' }]
        }),
      )
    },
  }
}

function refusalOf({ request }: OpenHold, row: RefusedRow, at: number): Changed | BursarError {
  if (row.first_ref !== null) return repeated(request.idempotency?.bodyHash, row, row.first_ref)
  if (row.restored === 1n) return restored()
  if (row.account_exists === 0n) return unknownAccount(request.account)
  if (row.account_frozen === 1n) return frozen('account')
  if (request.agent !== undefined && row.agent_exists === 0n) return unknownAgent()
  if (row.agent_frozen === 1n) return frozen('agent')
  // Before the balance: topping up would not help.
  const wish = { required: request.amount, model: request.receipt?.model ?? null, at }
  const refused = request.agent === undefined ? null : allowanceRefusal(standingOf(row), wish)
  return refused ?? insufficient(row.available, row.held, request.amount)
}

function repeated(bodyHash: string | undefined, row: RefusedRow, ref: string): Changed | BursarError {
  if (row.body_hash !== bodyHash) {
    return new BursarError(
      'idempotency_conflict',
      'This idempotency key was used for another request before.',
      {
        remedy: 'Use a new idempotency key for a new request.',
        details: { receipt: ref },
      },
    )
  }
  if (row.response !== null) return { kind: 'replayed', ref, response: row.response }
  if (row.running === 1n) return { kind: 'running', ref }
  return new BursarError(
    'idempotency_conflict',
    'The request with this idempotency key has ended; its answer is not kept.',
    {
      remedy: `See what receipt ${ref} was charged (list_usage); use a new key to ask again.`,
      details: { receipt: ref },
    },
  )
}
