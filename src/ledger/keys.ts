/**
 * API keys: shown once, or made by their holder and never seen here; stored as a SHA-256 hash. A key is 256 random
 * bits, so its hash needs no salt and no slow function: there is nothing to guess.
 */
import { hash } from 'node:crypto'
import { guard, type Statement, statement } from '../db/db.ts'
import { BursarError, invalid } from '../errors.ts'
import { accountExists, checkName } from './accounts.ts'
import { agentExists } from './agents.ts'
import type { Ledger } from './ledger.ts'

/** Whom a request speaks for. `key` is the key's id, never the key. */
export type Principal = SellerPrincipal | AccountPrincipal

/** Runs the till: opens accounts, makes keys, reads everything; has no credits. */
export interface SellerPrincipal {
  readonly scope: 'seller'
  readonly key: string
}

/** Buys and spends an account's credits; an agent does so under its own name and allowance. */
export type AccountPrincipal =
  | { readonly scope: 'account'; readonly key: string; readonly account: string }
  | { readonly scope: 'agent'; readonly key: string; readonly account: string; readonly agent: string }

export type KeyHolder =
  | { readonly scope: 'seller' }
  | { readonly scope: 'account'; readonly account: string }
  | { readonly scope: 'agent'; readonly account: string; readonly agent: string }

export interface CreatedKey {
  readonly id: string
  /** The key itself: shown now and never again. */
  readonly key: string
  readonly prefix: string
}

/** What a till needs of a key that somebody else made. */
export interface KeyPrint {
  /** SHA-256 of the whole key, hex in lower case. */
  readonly hash: string
  /** The first characters of the key, for people to tell keys apart. */
  readonly prefix: string
}

export interface KeyView {
  readonly id: string
  /** The beginning of the key, to tell keys apart. */
  readonly prefix: string
  readonly name: string
  readonly scope: Principal['scope']
  readonly account: string | null
  readonly agent: string | null
  /** Unix milliseconds, as the others. */
  readonly createdAt: number
  /** To the minute or so: it is not written on every use. */
  readonly lastUsedAt: number | null
  readonly revokedAt: number | null
}

export interface Keyring {
  /**
   * Whom a key speaks for. A revoked key is refused within a second, in every process.
   *
   * @throws {BursarError} unauthorized, without telling an unknown key from a revoked one
   */
  authenticate(key: string): Promise<Principal>
  /** Looks every key up again from here on: after one was revoked in this process. */
  forget(): void
  /** Writes down when keys were last used. */
  close(): Promise<void>
}

const KEY = /^bk_[A-Za-z0-9_-]{43}$/
/** `bk_` and 48 of 256 bits: enough to tell keys apart, far too little to guess the rest. */
const PREFIX_LENGTH = 11
/** How long a revoked key may still be taken. */
const FRESH_MS = 1_000
/** Keys remembered at once; past it the oldest go, and cost a read when they come back. */
const REMEMBERED = 10_000
const USED_EVERY_MS = 60_000

/** A new key, and what a till needs of it. */
export function generateKey(random: Ledger['runtime']['random']): KeyPrint & { readonly key: string } {
  const key = `bk_${Buffer.from(random(32)).toString('base64url')}`
  return { key, hash: hashOf(key), prefix: key.slice(0, PREFIX_LENGTH) }
}

/**
 * Makes a key.
 *
 * @throws {BursarError} invalid_request (the name), not_found (no such account, or agent of it)
 */
export async function createKey(
  ledger: Ledger,
  given: KeyHolder & { readonly name: string },
): Promise<CreatedKey> {
  checkName(given.name, 'name', 80)
  const { key, ...print } = generateKey(ledger.runtime.random)
  const id = ledger.runtime.id('key')
  await ledger.db.commit([...holderExists(given), insertKey(ledger, { id, ...print, ...given })])
  return { id, key, prefix: print.prefix }
}

/**
 * Takes a key that its holder made; who has the hash cannot use it. The same key for the same holder is the same key:
 * safe to repeat.
 *
 * @throws {BursarError} invalid_request, not_found (no such account, or agent of it), conflict (it was revoked, or is
 *   somebody else's)
 */
export async function registerKey(
  ledger: Ledger,
  given: KeyHolder & KeyPrint & { readonly name: string },
): Promise<KeyView> {
  checkName(given.name, 'name', 80)
  checkPrint(given)
  const [account, agent] = idsOf(given)
  const [known] = await ledger.db.query<{ id: string }>('SELECT id FROM api_key WHERE hash = ?', [given.hash])
  const id = known?.id ?? ledger.runtime.id('key')
  await ledger.db.commit([
    ...holderExists(given),
    guard(
      `NOT EXISTS (SELECT 1 FROM api_key WHERE hash = ?1
        AND (id <> ?2 OR revoked_at IS NOT NULL OR scope <> ?3 OR account IS NOT ?4 OR agent IS NOT ?5))`,
      [given.hash, id, given.scope, account, agent],
      takenKey,
    ),
    ...(known ? [] : [insertKey(ledger, { ...given, id })]),
  ])
  return getKey(ledger, id)
}

export function takenKey(): BursarError {
  return new BursarError('conflict', 'This key is in use, or was revoked.', {
    remedy: 'Make a new key, and send its hash.',
  })
}

/** @throws {BursarError} invalid_request */
export function checkPrint({ hash, prefix }: KeyPrint): void {
  if (!/^[0-9a-f]{64}$/.test(hash)) {
    throw invalid('The hash of a key must be its SHA-256: 64 hexadecimal digits in lower case.')
  }
  if (!/^bk_[A-Za-z0-9_-]{8}$/.test(prefix)) {
    throw invalid(`The prefix of a key must be its first ${PREFIX_LENGTH} characters: bk_ and eight more.`)
  }
}

/** The row of a new key. Nothing about its holder is checked. */
export function insertKey(
  { runtime }: Ledger,
  key: KeyHolder & KeyPrint & { readonly id: string; readonly name: string },
): Statement {
  return statement(
    `INSERT INTO api_key (id, hash, prefix, name, scope, account, agent, created_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    [key.id, key.hash, key.prefix, key.name, key.scope, ...idsOf(key), BigInt(runtime.now())],
  )
}

function idsOf(holder: KeyHolder): [account: string | null, agent: string | null] {
  return [holder.scope === 'seller' ? null : holder.account, holder.scope === 'agent' ? holder.agent : null]
}

function holderExists(holder: KeyHolder): Statement[] {
  if (holder.scope === 'seller') return []
  if (holder.scope === 'account') return [accountExists(holder.account)]
  return [accountExists(holder.account), agentExists(holder.agent, holder.account)]
}

/** Every key, or those of one account; oldest first, from the one behind `after` on, revoked ones included. */
export async function listKeys(
  { db }: Ledger,
  {
    account,
    after = '',
    limit,
  }: { readonly account?: string; readonly after?: string; readonly limit?: number } = {},
): Promise<KeyView[]> {
  const rows = await db.query<KeyViewRow>(
    `${SELECT_KEYS} WHERE id > ?1 AND (?2 IS NULL OR account = ?2) ORDER BY id LIMIT ?3`,
    [after, account ?? null, BigInt(limit ?? -1)],
  )
  return rows.map(viewOf)
}

/** @throws {BursarError} not_found */
export async function getKey({ db }: Ledger, id: string): Promise<KeyView> {
  const [row] = await db.query<KeyViewRow>(`${SELECT_KEYS} WHERE id = ?`, [id])
  if (!row) throw unknownKey()
  return viewOf(row)
}

interface KeyViewRow extends KeyRow {
  readonly prefix: string
  readonly name: string
  readonly created_at: bigint
  readonly last_used_at: bigint | null
  readonly revoked_at: bigint | null
}

const SELECT_KEYS = `
  SELECT id, prefix, name, scope, account, agent, created_at, last_used_at, revoked_at FROM api_key`

function viewOf(row: KeyViewRow): KeyView {
  const time = (ms: bigint | null): number | null => (ms === null ? null : Number(ms))
  return {
    id: row.id,
    prefix: row.prefix,
    name: row.name,
    scope: row.scope,
    account: row.account,
    agent: row.agent,
    createdAt: Number(row.created_at),
    lastUsedAt: time(row.last_used_at),
    revokedAt: time(row.revoked_at),
  }
}

/**
 * Puts a key out of force, for good; safe to repeat. With an `account`, only a key of that account. A keyring in this
 * process is told by its `forget`; those of others notice within a second.
 *
 * @throws {BursarError} not_found
 */
export async function revokeKey(
  ledger: Ledger,
  { id, account }: { readonly id: string; readonly account?: string },
): Promise<KeyView> {
  await ledger.db.commit([
    guard(
      'EXISTS (SELECT 1 FROM api_key WHERE id = ?1 AND (?2 IS NULL OR account = ?2))',
      [id, account ?? null],
      unknownKey,
    ),
    statement('UPDATE api_key SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?', [
      BigInt(ledger.runtime.now()),
      id,
    ]),
  ])
  return getKey(ledger, id)
}

/** The id is not echoed: a confused caller may have given the key itself. */
function unknownKey(): BursarError {
  return new BursarError('not_found', 'There is no key with this id.', {
    remedy: 'Give the id of a key (key_...), as bursar keys list shows it; not the key itself.',
  })
}

/** Checks keys, remembering each for a second, so that a busy caller costs one read a second. */
export function keyring(ledger: Ledger): Keyring {
  const { runtime } = ledger
  const remembered = new Map<string, { readonly until: number; readonly principal: Promise<Principal> }>()
  const usage = usageLog(ledger)

  function look(hash: string): Promise<Principal> {
    const now = runtime.now()
    const known = remembered.get(hash)
    // Also after the clock was set back: what was looked up later than now has no known age.
    if (known && known.until > now && known.until <= now + FRESH_MS) return known.principal
    // A lookup under way is shared; a failed one is not remembered.
    const principal = find(ledger, hash)
    remembered.delete(hash)
    remembered.set(hash, { until: now + FRESH_MS, principal })
    principal.catch(() => {
      if (remembered.get(hash)?.principal === principal) remembered.delete(hash)
    })
    const [oldest] = remembered.keys()
    if (remembered.size > REMEMBERED && oldest !== undefined) remembered.delete(oldest)
    return principal
  }

  return {
    async authenticate(key) {
      if (!KEY.test(key)) throw refusedKey()
      const principal = await look(hashOf(key))
      usage.note(principal.key)
      return principal
    },
    forget: () => remembered.clear(),
    close: () => usage.flush(),
  }
}

/** Collects when keys were used and writes it in one statement a minute: it is for people, nothing depends on it. */
function usageLog({ db, runtime }: Ledger): { note(key: string): void; flush(): Promise<void> } {
  let used: Record<string, number> = {}
  let cancel: (() => void) | undefined

  async function flush(): Promise<void> {
    cancel?.()
    cancel = undefined
    const uses = used
    used = {}
    if (Object.keys(uses).length === 0) return
    try {
      await db.commit([
        statement(
          `UPDATE api_key SET last_used_at = max(coalesce(last_used_at, 0), u.value)
           FROM json_each(?) AS u WHERE api_key.id = u.key`,
          [JSON.stringify(uses)],
        ),
      ])
    } catch (error) {
      runtime.log.warn({ err: error }, 'when keys were last used is not written')
    }
  }

  return {
    note(key) {
      used[key] = runtime.now()
      cancel ??= runtime.after(USED_EVERY_MS, () => void flush())
    },
    flush,
  }
}

interface KeyRow {
  readonly id: string
  readonly scope: Principal['scope']
  readonly account: string | null
  readonly agent: string | null
}

async function find({ db }: Ledger, hash: string): Promise<Principal> {
  // By hash: how long the search takes tells something about the hash at most, nothing about the key.
  const [row] = await db.query<KeyRow>(
    'SELECT id, scope, account, agent FROM api_key WHERE hash = ? AND revoked_at IS NULL',
    [hash],
  )
  if (row?.scope === 'seller') return { scope: 'seller', key: row.id }
  if (row?.scope === 'account' && row.account !== null) {
    return { scope: 'account', key: row.id, account: row.account }
  }
  if (row?.scope === 'agent' && row.account !== null && row.agent !== null) {
    return { scope: 'agent', key: row.id, account: row.account, agent: row.agent }
  }
  throw refusedKey()
}

function refusedKey(): BursarError {
  return new BursarError('unauthorized', 'This API key is not known, or was revoked.', {
    remedy: 'Use a key that is in force; the seller makes one with bursar keys create.',
  })
}

function hashOf(key: string): string {
  return hash('sha256', key)
}
