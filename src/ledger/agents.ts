/** Who spends an account's credits under a name and an allowance of its own: the agents within an account. */
import { guard, type Statement, statement } from '../db/db.ts'
import { BursarError } from '../errors.ts'
import { accountExists, checkName } from './accounts.ts'
import {
  type AllowanceChange,
  type AllowanceStanding,
  allowanceStatements,
  checkAllowance,
  type StandingRow,
  standingColumns,
  standingOf,
} from './allowance.ts'
import type { Ledger } from './ledger.ts'

export interface Agent {
  readonly id: string
  readonly account: string
  readonly name: string
  /** The agent itself; its account may be frozen besides. */
  readonly frozen: boolean
  /** Unix milliseconds. */
  readonly createdAt: number
  /** Its limits, and what was used of them. */
  readonly allowance: AllowanceStanding
}

interface AgentRow extends StandingRow {
  readonly id: string
  readonly account: string
  readonly name: string
  readonly frozen_at: bigint | null
  readonly created_at: bigint
}

const SELECT_AGENT = `
  SELECT g.id, g.account, g.name, g.frozen_at, g.created_at, ${standingColumns('?1')} FROM agent g`

/**
 * Adds an agent to an account, with an allowance from its first moment on. A name that the account has already returns
 * that agent, with the limits that are given here: safe to repeat.
 *
 * @throws {BursarError} invalid_request, not_found (no such account)
 */
export async function createAgent(
  ledger: Ledger,
  {
    account,
    name,
    allowance = {},
  }: { readonly account: string; readonly name: string; readonly allowance?: AllowanceChange },
): Promise<Agent> {
  checkName(name, 'name', 80)
  checkAllowance(allowance)
  const { db, runtime } = ledger
  const [known] = await db.query<{ id: string }>('SELECT id FROM agent WHERE account = ? AND name = ?', [
    account,
    name,
  ])
  const id = known?.id ?? runtime.id('agt')
  await db.commit([
    accountExists(account),
    statement(
      `INSERT INTO agent (id, account, name, created_at) VALUES (?, ?, ?, ?)
       ON CONFLICT (account, name) DO NOTHING`,
      [id, account, name, BigInt(runtime.now())],
    ),
    ...allowanceStatements(id, allowance),
  ])
  const [row] = await db.query<AgentRow>(`${SELECT_AGENT} WHERE g.account = ?2 AND g.name = ?3`, [
    BigInt(runtime.now()),
    account,
    name,
  ])
  if (!row) throw noAgent()
  // Somebody else made one of this name at the same moment: it gets these limits too.
  return row.id === id ? agentOf(row) : updateAgent(ledger, { agent: row.id, allowance })
}

/** With an `account`, only an agent of that one. @throws {BursarError} not_found */
export async function getAgent(
  { db, runtime }: Ledger,
  { agent, account }: { readonly agent: string; readonly account?: string },
): Promise<Agent> {
  const [row] = await db.query<AgentRow>(
    `${SELECT_AGENT} WHERE g.id = ?2 AND g.account = coalesce(?3, g.account)`,
    [BigInt(runtime.now()), agent, account ?? null],
  )
  if (!row) throw noAgent()
  return agentOf(row)
}

/** The agent of that name. @throws {BursarError} not_found */
export async function findAgent(ledger: Ledger, account: string, name: string): Promise<Agent> {
  const [row] = await ledger.db.query<{ id: string }>('SELECT id FROM agent WHERE account = ? AND name = ?', [
    account,
    name,
  ])
  if (!row) throw noAgent()
  return getAgent(ledger, { agent: row.id })
}

/** The agents of an account, or all; oldest first, from the one behind `after` on. */
export async function listAgents(
  { db, runtime }: Ledger,
  { account, after, limit }: { readonly account?: string; readonly after?: string; readonly limit: number },
): Promise<Agent[]> {
  // With a plus the order by id tempts nobody to look through the agents of all other accounts.
  const of = account === undefined ? 'g.id > ?2 AND ?3 IS NULL' : '+g.id > ?2 AND g.account = ?3'
  const rows = await db.query<AgentRow>(`${SELECT_AGENT} WHERE ${of} ORDER BY g.id LIMIT ?4`, [
    BigInt(runtime.now()),
    after ?? '',
    account ?? null,
    BigInt(limit),
  ])
  return rows.map(agentOf)
}

export interface AgentChange {
  readonly agent: string
  /** Only an agent of this account. */
  readonly account?: string
  readonly allowance?: AllowanceChange
  readonly frozen?: boolean
}

/**
 * Changes what an agent may do, from the next hold in any process on; what it holds already still settles.
 *
 * @throws {BursarError} invalid_request, not_found
 */
export async function updateAgent(ledger: Ledger, change: AgentChange): Promise<Agent> {
  const { agent, account, allowance, frozen } = change
  if (allowance) checkAllowance(allowance)
  await ledger.db.commit([
    agentExists(agent, account),
    ...(allowance ? allowanceStatements(agent, allowance) : []),
    ...(frozen === undefined
      ? []
      : [
          statement('UPDATE agent SET frozen_at = iif(?2, coalesce(frozen_at, ?3), NULL) WHERE id = ?1', [
            agent,
            frozen ? 1n : 0n,
            BigInt(ledger.runtime.now()),
          ]),
        ]),
  ])
  return getAgent(ledger, { agent })
}

/** A guard: rolls the batch back unless the agent exists, and is of this account where one is named. */
export function agentExists(agent: string, account?: string): Statement {
  return guard(
    'EXISTS (SELECT 1 FROM agent WHERE id = ?1 AND account = coalesce(?2, account))',
    [agent, account ?? null],
    noAgent,
  )
}

function noAgent(): BursarError {
  return new BursarError('not_found', 'There is no such agent.', {
    remedy: 'Check its id and its account, as bursar agents list shows them.',
  })
}

function agentOf(row: AgentRow): Agent {
  return {
    id: row.id,
    account: row.account,
    name: row.name,
    frozen: row.frozen_at !== null,
    createdAt: Number(row.created_at),
    allowance: standingOf(row),
  }
}
