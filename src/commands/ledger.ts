/** What the commands that look into the till's database share, and how people name things in it. */
import { openDb } from '../db/client.ts'
import type { Db } from '../db/db.ts'
import { BursarError, invalid } from '../errors.ts'
import { type Account, createAccount, findAccount } from '../ledger/accounts.ts'
import { type Agent, findAgent, getAgent } from '../ledger/agents.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { openTillLedger } from '../till-ledger.ts'
import type { Context } from './command.ts'

export async function withLedger(
  { settings, runtime }: Context,
  use: (ledger: Ledger) => Promise<void>,
): Promise<void> {
  const ledger = await openTillLedger({ settings, runtime })
  try {
    await use(ledger)
  } finally {
    await ledger.close()
  }
}

export async function withDb({ settings, runtime }: Context, use: (db: Db) => Promise<void>): Promise<void> {
  const db = await openDb({ url: settings.database, runtime })
  try {
    await use(db)
  } finally {
    await db.close()
  }
}

/** By its id, or by the seller's own name for it. @throws {BursarError} not_found */
export async function accountNamed(ledger: Ledger, name: string): Promise<Account> {
  const account = await findAccount(ledger, name)
  if (account) return account
  throw new BursarError('not_found', `There is no account ${JSON.stringify(name).slice(0, 80)}.`, {
    remedy: 'See: bursar accounts list',
  })
}

/** The same, and made where it does not exist: an id never is. */
export async function accountFor(ledger: Ledger, name: string): Promise<Account> {
  const account = await findAccount(ledger, name)
  if (account) return account
  return name.startsWith('acc_') ? accountNamed(ledger, name) : createAccount(ledger, { externalId: name })
}

/** By its id, or as `account/agent`, by the names of both. @throws {BursarError} not_found, invalid_request */
export async function agentNamed(ledger: Ledger, name: string): Promise<Agent> {
  if (/^agt_\w+$/.test(name)) return getAgent(ledger, { agent: name })
  const slash = name.lastIndexOf('/')
  if (slash < 1) {
    throw invalid(`${JSON.stringify(name).slice(0, 80)} names no agent.`, {
      remedy: 'Give its id (agt_...), or account/agent, as bursar agents list shows them.',
    })
  }
  const account = await accountNamed(ledger, name.slice(0, slash))
  return findAgent(ledger, account.id, name.slice(slash + 1))
}

/** Rows as aligned columns, under a head. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** `--limit` of a list. @throws {BursarError} invalid_request */
export function pageSize(text: string | undefined): number {
  if (text === undefined) return 100
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text)
  throw invalid('--limit must be a whole number from 1 to 9999.')
}
