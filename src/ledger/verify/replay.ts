/**
 * Replays the journal: what each account and each lot must hold by the postings alone, compared at the end with what
 * the tables say. Keeps accounts and open lots in memory, not the journal.
 */
import type { Snapshot } from '../../db/snapshot.ts'
import { outOfOrder } from './check.ts'
import type { Findings } from './finding.ts'
import type { Follower, Posting } from './journal.ts'

interface OpenLot {
  readonly ref: string
  readonly expiresAt: bigint
  remaining: bigint
}

interface Account {
  available: bigint
  held: bigint
  /** In the order in which they are spent: oldest expiry first, then by ref. */
  lots: OpenLot[]
  /** The sum of what remains of them. */
  inLots: bigint
}

type Accounts = ReadonlyMap<string, Account>

const PAGE = 1_000n

export function replayJournal(snapshot: Snapshot, findings: Findings): Follower {
  const accounts = new Map<string, Account>()

  function accountOf(id: string): Account {
    const known = accounts.get(id)
    if (known) return known
    const made: Account = { available: 0n, held: 0n, lots: [], inLots: 0n }
    accounts.set(id, made)
    return made
  }

  function apply(posting: Posting, expiries: ReadonlyMap<string, bigint>): void {
    const account = accountOf(posting.account)
    // A reversal and the posting that takes back what its lot had lapsed belong together.
    const takesBack = posting.kind === 'expire' && posting.available > 0n
    if (!takesBack) spendLots(account)
    account.available += posting.available
    account.held += posting.held
    if (posting.kind === 'hold' && account.available < 0n) findings.add(overdrawn(posting, account.available))
    if (posting.kind === 'grant' || posting.kind === 'discount') {
      const expiresAt = expiries.get(posting.ref)
      if (expiresAt !== undefined)
        addLot(account, { ref: posting.ref, expiresAt, remaining: posting.available })
    } else if (posting.kind === 'reverse') {
      const gone = account.lots.find(({ ref }) => ref === posting.ref)
      account.inLots -= gone?.remaining ?? 0n
      account.lots = account.lots.filter((lot) => lot !== gone)
    } else if (posting.kind === 'expire' && !takesBack) {
      const lot = account.lots.find(({ ref }) => ref === lapsedLot(posting.ref))
      if (!lot) return
      lot.remaining += posting.available
      account.inLots += posting.available
    }
  }

  return {
    async page(postings) {
      const expiries = await readExpiries(snapshot, postings)
      for (const posting of postings) apply(posting, expiries)
    },
    async end() {
      for (const account of accounts.values()) spendLots(account)
      await compareAccounts(snapshot, findings, accounts)
      await compareLots(snapshot, findings, accounts)
    },
  }
}

async function compareAccounts(snapshot: Snapshot, findings: Findings, accounts: Accounts): Promise<void> {
  const unseen = new Set(accounts.keys())
  for await (const row of pages<AccountRow>(snapshot, ACCOUNTS)) {
    unseen.delete(row.key)
    const { available, held } = accounts.get(row.key) ?? { available: 0n, held: 0n }
    if (row.available === available && row.held === held) continue
    findings.add({
      kind: 'balance_mismatch',
      table: 'account',
      row: row.key,
      message: `Account ${row.key} says ${row.available} available and ${row.held} held; its postings add up to ${available} and ${held} micro-credits.`,
    })
  }
  for (const id of unseen) {
    findings.add({
      kind: 'balance_mismatch',
      table: 'account',
      row: id,
      message: `There are postings of account ${id}, but no such account.`,
    })
  }
}

async function compareLots(snapshot: Snapshot, findings: Findings, accounts: Accounts): Promise<void> {
  const remaining = new Map<string, bigint>()
  for (const { lots } of accounts.values()) for (const lot of lots) remaining.set(lot.ref, lot.remaining)
  for await (const row of pages<LotRow>(snapshot, LOTS)) {
    const expected = remaining.get(row.key) ?? 0n
    if (row.remaining === expected) continue
    findings.add({
      kind: 'lot_mismatch',
      table: 'lot',
      row: row.key,
      message: `Lot ${row.key} says that ${row.remaining} micro-credits are left of it; by the journal it must be ${expected}.`,
    })
  }
}

/** Lots never hold more than the account has: what was spent, or owed, is taken from those that expire first. */
function spendLots(account: Account): void {
  const total = account.available + account.held
  let excess = account.inLots - (total > 0n ? total : 0n)
  while (excess > 0n) {
    const lot = account.lots[0]
    if (!lot) return
    const taken = lot.remaining < excess ? lot.remaining : excess
    lot.remaining -= taken
    account.inLots -= taken
    excess -= taken
    if (lot.remaining <= 0n) account.lots.shift()
  }
}

function addLot(account: Account, lot: OpenLot): void {
  const later = account.lots.findIndex(
    (other) => other.expiresAt > lot.expiresAt || (other.expiresAt === lot.expiresAt && other.ref > lot.ref),
  )
  account.inLots += lot.remaining
  account.lots.splice(later < 0 ? account.lots.length : later, 0, lot)
}

/** `expire:<lot>:<what had lapsed of it before>` */
function lapsedLot(ref: string): string {
  return ref.slice('expire:'.length, ref.lastIndexOf(':'))
}

async function readExpiries(
  snapshot: Snapshot,
  postings: readonly Posting[],
): Promise<ReadonlyMap<string, bigint>> {
  const granted = postings.filter(({ kind }) => kind === 'grant' || kind === 'discount')
  if (granted.length === 0) return new Map()
  const rows = await snapshot.query<{ ref: string; expires_at: bigint }>(
    `SELECT CAST(ref AS BLOB) AS ref, expires_at FROM lot WHERE ref IN (SELECT value FROM json_each(?))`,
    [JSON.stringify(granted.map(({ ref }) => ref))],
  )
  return new Map(rows.map(({ ref, expires_at: at }) => [ref, at]))
}

interface AccountRow {
  readonly key: string
  readonly available: bigint
  readonly held: bigint
}

interface LotRow {
  readonly key: string
  readonly remaining: bigint
}

const ACCOUNTS = `SELECT CAST(id AS BLOB) AS key, available, held FROM account WHERE id > ? ORDER BY id LIMIT ?`
const LOTS = `SELECT CAST(ref AS BLOB) AS key, remaining FROM lot WHERE ref > ? ORDER BY ref LIMIT ?`

/** Rows in the order of their text key, page by page. */
export async function* pages<T extends { readonly key: string }>(
  snapshot: Snapshot,
  sql: string,
): AsyncGenerator<T> {
  let after = ''
  for (;;) {
    const rows = await snapshot.query<T>(sql, [after, PAGE])
    yield* rows
    const last = rows.at(-1)
    if (!last || BigInt(rows.length) < PAGE) return
    // As SQLite compares texts, by their bytes.
    if (Buffer.compare(Buffer.from(last.key), Buffer.from(after)) <= 0) throw outOfOrder()
    after = last.key
  }
}

function overdrawn({ id, ref, account }: Posting, available: bigint) {
  return {
    kind: 'overdrawn',
    table: 'posting',
    row: String(id),
    message: `Hold ${ref} (posting ${id}) took account ${account} to ${available} micro-credits: it was not covered.`,
  } as const
}
