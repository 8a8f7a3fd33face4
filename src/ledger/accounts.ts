/** Who owns credits, and who spends them: accounts, and the agents within an account. */
import { guard, type Statement, statement } from '../db/db.ts'
import { BursarError, invalid } from '../errors.ts'
import type { Ledger } from './ledger.ts'

export interface Account {
  readonly id: string
  /** The seller's own name for this account. */
  readonly externalId: string | null
  readonly frozen: boolean
  /** Unix milliseconds. */
  readonly createdAt: number
}

export interface Agent {
  readonly id: string
  readonly account: string
  readonly name: string
  readonly frozen: boolean
  /** Unix milliseconds. */
  readonly createdAt: number
}

interface AccountRow {
  readonly id: string
  readonly external_id: string | null
  readonly frozen_at: bigint | null
  readonly created_at: bigint
}

interface AgentRow {
  readonly id: string
  readonly account: string
  readonly name: string
  readonly frozen_at: bigint | null
  readonly created_at: bigint
}

/**
 * Opens an account. With an `externalId` that has one already, returns that one: safe to repeat.
 *
 * @throws {BursarError} invalid_request
 */
export async function createAccount(
  { db, runtime }: Ledger,
  { externalId }: { readonly externalId?: string } = {},
): Promise<Account> {
  if (externalId !== undefined) checkName(externalId, 'external_id', 200)
  const id = runtime.id('acc')
  await db.commit([
    statement(
      `INSERT INTO account (id, external_id, created_at) VALUES (?, ?, ?)
       ON CONFLICT (external_id) DO NOTHING`,
      [id, externalId ?? null, BigInt(runtime.now())],
    ),
  ])
  const [row] = await db.query<AccountRow>(
    'SELECT id, external_id, frozen_at, created_at FROM account WHERE id = ? OR external_id = ?',
    [id, externalId ?? null],
  )
  if (!row) throw unknown('account', id)
  return accountOf(row)
}

/** @throws {BursarError} not_found */
export async function getAccount({ db }: Ledger, id: string): Promise<Account> {
  const [row] = await db.query<AccountRow>(
    'SELECT id, external_id, frozen_at, created_at FROM account WHERE id = ?',
    [id],
  )
  if (!row) throw unknown('account', id)
  return accountOf(row)
}

/**
 * Adds an agent to an account. A name that the account has already returns that agent: safe to repeat.
 *
 * @throws {BursarError} invalid_request, not_found (no such account)
 */
export async function createAgent(
  { db, runtime }: Ledger,
  { account, name }: { readonly account: string; readonly name: string },
): Promise<Agent> {
  checkName(name, 'name', 80)
  await db.commit([
    accountExists(account),
    statement(
      `INSERT INTO agent (id, account, name, created_at) VALUES (?, ?, ?, ?)
       ON CONFLICT (account, name) DO NOTHING`,
      [runtime.id('agt'), account, name, BigInt(runtime.now())],
    ),
  ])
  const [row] = await db.query<AgentRow>(
    'SELECT id, account, name, frozen_at, created_at FROM agent WHERE account = ? AND name = ?',
    [account, name],
  )
  if (!row) throw unknown('agent', name)
  return {
    id: row.id,
    account: row.account,
    name: row.name,
    frozen: row.frozen_at !== null,
    createdAt: Number(row.created_at),
  }
}

/**
 * Stops an account from spending: no new hold is taken for it or its agents. What is held already still settles,
 * and payments are still credited.
 *
 * @throws {BursarError} not_found
 */
export async function freezeAccount({ db, runtime }: Ledger, account: string): Promise<void> {
  await db.commit([
    accountExists(account),
    statement('UPDATE account SET frozen_at = coalesce(frozen_at, ?) WHERE id = ?', [
      BigInt(runtime.now()),
      account,
    ]),
  ])
}

/** @throws {BursarError} not_found */
export async function unfreezeAccount({ db }: Ledger, account: string): Promise<void> {
  await db.commit([
    accountExists(account),
    statement('UPDATE account SET frozen_at = NULL WHERE id = ?', [account]),
  ])
}

/** Stops one agent from spending. @throws {BursarError} not_found */
export async function freezeAgent({ db, runtime }: Ledger, agent: string): Promise<void> {
  await db.commit([
    agentExists(agent),
    statement('UPDATE agent SET frozen_at = coalesce(frozen_at, ?) WHERE id = ?', [
      BigInt(runtime.now()),
      agent,
    ]),
  ])
}

/** @throws {BursarError} not_found */
export async function unfreezeAgent({ db }: Ledger, agent: string): Promise<void> {
  await db.commit([agentExists(agent), statement('UPDATE agent SET frozen_at = NULL WHERE id = ?', [agent])])
}

/** A guard: rolls the batch back unless the account exists. */
export function accountExists(account: string): Statement {
  return guard('EXISTS (SELECT 1 FROM account WHERE id = ?)', [account], () => unknown('account', account))
}

/** A guard: rolls the batch back unless the agent exists, and is of this account where one is named. */
export function agentExists(agent: string, account?: string): Statement {
  return guard(
    'EXISTS (SELECT 1 FROM agent WHERE id = ?1 AND account = coalesce(?2, account))',
    [agent, account ?? null],
    () => unknown('agent', agent),
  )
}

/**
 * A name that people give and read: no control characters, no surrounding space.
 *
 * @throws {BursarError} invalid_request
 */
export function checkName(text: string, what: string, longest: number): void {
  if (text.length === 0 || text.length > longest || text !== text.trim() || /\p{Cc}/u.test(text)) {
    throw invalid(`${what} must be 1 to ${longest} characters, without control characters or outer spaces.`)
  }
}

function accountOf(row: AccountRow): Account {
  return {
    id: row.id,
    externalId: row.external_id,
    frozen: row.frozen_at !== null,
    createdAt: Number(row.created_at),
  }
}

function unknown(what: 'account' | 'agent', id: string): BursarError {
  return new BursarError('not_found', `There is no ${what} ${JSON.stringify(id).slice(0, 80)}.`, {
    remedy: `Check the id of the ${what}.`,
  })
}
