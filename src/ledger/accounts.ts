/** Who owns credits: accounts. */
import { guard, type Statement, statement } from '../db/db.ts'
import { invalid } from '../errors.ts'
import type { MicroCredits } from '../money.ts'
import { unknownAccount } from './errors.ts'
import type { Ledger } from './ledger.ts'
import { unbookedLapse } from './lots.ts'

export interface Account {
  readonly id: string
  /** The seller's own name for this account. */
  readonly externalId: string | null
  readonly frozen: boolean
  /** Unix milliseconds. */
  readonly createdAt: number
}

/** With what it has now, as its balance says (balance.ts). */
export interface ListedAccount extends Account {
  readonly available: MicroCredits
  readonly held: MicroCredits
}

interface AccountRow {
  readonly id: string
  readonly external_id: string | null
  readonly frozen_at: bigint | null
  readonly created_at: bigint
}

const COLUMNS = 'id, external_id, frozen_at, created_at'

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
  const [row] = await db.query<AccountRow>(`SELECT ${COLUMNS} FROM account WHERE id = ? OR external_id = ?`, [
    id,
    externalId ?? null,
  ])
  if (!row) throw unknownAccount(id)
  return accountOf(row)
}

/** @throws {BursarError} not_found */
export async function getAccount({ db }: Ledger, id: string): Promise<Account> {
  const [row] = await db.query<AccountRow>(`SELECT ${COLUMNS} FROM account WHERE id = ?`, [id])
  if (!row) throw unknownAccount(id)
  return accountOf(row)
}

/**
 * By its id, or by the seller's own name for it; null: there is none. The id counts first: names may come from the
 * seller's own users, and one could call himself by another's id.
 */
export async function findAccount({ db }: Ledger, name: string): Promise<Account | null> {
  const [row] = await db.query<AccountRow>(
    `SELECT ${COLUMNS} FROM account WHERE id = ?1
     UNION ALL SELECT ${COLUMNS} FROM account WHERE external_id = ?1 LIMIT 1`,
    [name],
  )
  return row ? accountOf(row) : null
}

/** Accounts with their balances, oldest first, from the one behind `after` on; or the one of that name. */
export async function listAccounts(
  { db, runtime }: Ledger,
  {
    after = '',
    limit,
    externalId,
  }: { readonly after?: string; readonly limit: number; readonly externalId?: string },
): Promise<ListedAccount[]> {
  const named = externalId === undefined ? '' : 'AND a.external_id = ?4'
  const rows = await db.query<AccountRow & { available: bigint; held: bigint }>(
    `SELECT ${COLUMNS}, a.available - ${unbookedLapse('?3')} AS available, a.held
     FROM account a WHERE a.id > ?1 ${named} ORDER BY a.id LIMIT ?2`,
    [after, BigInt(limit), BigInt(runtime.now()), ...(externalId === undefined ? [] : [externalId])],
  )
  return rows.map((row) => ({ ...accountOf(row), available: row.available, held: row.held }))
}

/**
 * Stops an account from spending, or lets it go on: while it is frozen no new hold is taken for it or its agents, in
 * any process. What is held already still settles, and payments are still credited.
 *
 * @throws {BursarError} not_found
 */
export async function freezeAccount({ db, runtime }: Ledger, account: string, frozen = true): Promise<void> {
  await db.commit([
    accountExists(account),
    statement('UPDATE account SET frozen_at = iif(?2, coalesce(frozen_at, ?3), NULL) WHERE id = ?1', [
      account,
      frozen ? 1n : 0n,
      BigInt(runtime.now()),
    ]),
  ])
}

/** A guard: rolls the batch back unless the account exists. */
export function accountExists(account: string): Statement {
  return guard('EXISTS (SELECT 1 FROM account WHERE id = ?)', [account], () => unknownAccount(account))
}

/**
 * A name that people give and read: no control characters, no surrounding space.
 *
 * @throws {BursarError} invalid_request
 */
export function checkName(text: string, what: string, longest: number): void {
  // Half a surrogate pair is no character: SQLite makes bytes of it that are not UTF-8, and the driver dies of them.
  if (text.length === 0 || text.length > longest || text !== text.trim() || /[\p{Cc}\p{Cs}]/u.test(text)) {
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
