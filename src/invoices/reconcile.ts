/**
 * What a backup does not know, held against what the chains do: invoices that were made after it exist nowhere but in
 * their payers' hands, so the addresses that they may have are skipped and watched; what was paid since is read from the
 * chains. Calls that were charged after the backup cannot be found by anybody but the seller, which is why a human
 * confirms.
 */
import type { Chain, Cursor, Transfer, Watched } from '../chains/chain.ts'
import { type Db, guard, type Statement } from '../db/db.ts'
import { BursarError } from '../errors.ts'
import { confirmRestore, openRestore } from '../ledger/restored.ts'
import { type Atomic } from '../money.ts'
import type { Runtime } from '../runtime.ts'
import { type DerivedAddress, knowKey, takeAddresses } from './addresses.ts'
import { readCursor } from './cursor.ts'

export interface ReconcileContext {
  readonly db: Db
  readonly runtime: Runtime
  readonly chains: readonly Chain[]
}

export interface Reconcile {
  /** Addresses to skip, of each extended key: more than were issued after the backup. */
  readonly skip: number
  readonly signal?: AbortSignal
  readonly onProgress?: (chain: string, height: number, tip: number) => void
}

export interface Reconciliation {
  /** What happened after this moment, Unix milliseconds, is not in the database. */
  readonly backupAt: number
  readonly chains: readonly ReadChain[]
  readonly keys: readonly SkippedKey[]
  /** Calls that were running at the moment of the backup: they end as those of a process that died. */
  readonly openHolds: number
}

export interface ReadChain {
  readonly chain: string
  /** Read from here; null: the chain came after the backup, and only what is paid from now on will be seen. */
  readonly from: number | null
  readonly to: number | null
  /** Payments that the backup does not know, in the order of the chain. */
  readonly arrived: readonly Arrived[]
}

export interface Arrived {
  readonly txid: string
  readonly symbol: string
  /** Atomic units. */
  readonly amount: Atomic
  readonly address: string
  /** It is credited after the confirmation; null: to an invoice that was made after the backup, or to none. */
  readonly invoice: string | null
}

export interface SkippedKey {
  readonly fingerprint: string
  readonly family: string
  /** The first index that is skipped. */
  readonly from: number
  /** False: the configuration has no such key, so its addresses cannot be derived and are not watched. */
  readonly watched: boolean
}

/**
 * Reads each chain from where the backup left it to its tip. Writes nothing.
 *
 * @throws {BursarError} conflict: the till is not frozen, or a chain forked deeper than the backup remembers;
 *   chain_unavailable; invalid_config
 */
export async function reconcile(ctx: ReconcileContext, options: Reconcile): Promise<Reconciliation> {
  const open = await openRestore(ctx.db)
  if (!open) throw notFrozen()
  const keys = await keysToSkip(ctx)
  const [holds] = await ctx.db.query<{ n: bigint }>('SELECT count(*) AS n FROM hold')
  const chains: ReadChain[] = []
  for (const chain of ctx.chains) chains.push(await readChain(ctx, chain, keys, options))
  return {
    backupAt: open.backupAt,
    chains,
    keys: keys.map(({ chain, ...key }) => ({ ...key, watched: chain !== null })),
    openHolds: Number(holds?.n ?? 0n),
  }
}

/**
 * Ends the freeze: skips the addresses, which stay watched without an invoice, and lets the till go on from where the
 * backup left it, in one commit. What `reconcile` found is then credited, or kept as unassigned, by the watchers.
 *
 * @throws {BursarError} as `reconcile`
 */
export async function confirmReconciled(ctx: ReconcileContext, options: Reconcile): Promise<Reconciliation> {
  const found = await reconcile(ctx, options)
  const at = ctx.runtime.now()
  const keys = await keysToSkip(ctx)
  await ctx.db.commit([
    guard('EXISTS (SELECT 1 FROM restore WHERE confirmed_at IS NULL)', [], notFrozen),
    ...keys.flatMap((key) => skipStatements(key, options.skip, at)),
    confirmRestore(options.skip, at),
  ])
  ctx.runtime.log.warn(
    { event: 'restore_confirmed', skipped: options.skip },
    'A human confirmed a restored till.',
  )
  return found
}

interface Key extends Omit<SkippedKey, 'watched'> {
  /** One that derives its addresses. */
  readonly chain: Chain | null
}

/** Keys of the database, and those of the configuration that it does not know yet: they may have been used since. */
async function keysToSkip({ db, chains }: ReconcileContext): Promise<Key[]> {
  const rows = await db.query<{ fingerprint: string; family: string; next_index: bigint }>(
    'SELECT fingerprint, family, next_index FROM deriving_key ORDER BY fingerprint',
  )
  const known = rows.map((row) => ({
    fingerprint: row.fingerprint,
    family: row.family,
    from: Number(row.next_index),
    chain: chains.find(({ keyFingerprint }) => keyFingerprint === row.fingerprint) ?? null,
  }))
  const others = new Map(chains.map((chain) => [chain.keyFingerprint, chain]))
  for (const { fingerprint } of rows) others.delete(fingerprint)
  const fresh = [...others].map(([fingerprint, chain]) => ({
    fingerprint,
    family: chain.family,
    from: 0,
    chain,
  }))
  return [...known, ...fresh]
}

function skipStatements(key: Key, skip: number, at: number): Statement[] {
  const raced = new BursarError('conflict', 'An address was issued meanwhile.', { remedy: 'Run it again.' })
  const addresses = skippedOf(key, skip)
  return [knowKey(key, at), ...takeAddresses(key, { from: key.from, count: skip, addresses, at, raced })]
}

/** The addresses of a key that are skipped; none where it cannot be derived from. */
function skippedOf({ chain, from }: Key, skip: number): DerivedAddress[] {
  if (!chain) return []
  return Array.from({ length: skip }, (_, n) => ({ ...chain.recipient(from + n), index: from + n }))
}

async function readChain(
  { db }: ReconcileContext,
  chain: Chain,
  keys: readonly Key[],
  { skip, signal, onProgress }: Reconcile,
): Promise<ReadChain> {
  const stored = await readCursor(db, chain.id)
  if (!stored) return { chain: chain.id, from: null, to: null, arrived: [] }
  await chain.verify(signal)
  const watched = await issuedAndSkipped(db, chain, keys, skip)
  const seen = new Map<string, Transfer>()
  let cursor: Cursor = stored.cursor
  for (;;) {
    const step = await chain.follow(cursor, watched, signal)
    const { forkedAt } = step
    for (const [key, { block }] of seen) {
      if (forkedAt !== null && block !== null && block.height > forkedAt) seen.delete(key)
    }
    for (const transfer of step.transfers) seen.set(transfer.key, transfer)
    cursor = step.cursor
    onProgress?.(chain.id, cursor.height, step.tip.height)
    if (step.caughtUp) break
  }
  const arrived = await unknownToBackup(db, [...seen.values()])
  return { chain: chain.id, from: stored.cursor.height, to: cursor.height, arrived }
}

async function issuedAndSkipped(db: Db, chain: Chain, keys: readonly Key[], skip: number): Promise<Watched> {
  const rows = await db.query<{ address: string }>('SELECT address FROM address WHERE family = ?', [
    chain.family,
  ])
  const skipped = keys.filter((key) => key.family === chain.family).flatMap((key) => skippedOf(key, skip))
  return new Set([...rows, ...skipped].map(({ address }) => address))
}

async function unknownToBackup(db: Db, transfers: readonly Transfer[]): Promise<Arrived[]> {
  const found = await db.query<{ key: string; known: bigint; invoice: string | null }>(
    `SELECT value ->> 0 AS key, EXISTS (SELECT 1 FROM payment p WHERE p.key = value ->> 0) AS known,
       (SELECT i.id FROM invoice i WHERE i.address = value ->> 1) AS invoice
     FROM json_each(?)`,
    [JSON.stringify(transfers.map(({ key, to }) => [key, to]))],
  )
  const facts = new Map(found.map((row) => [row.key, row]))
  return transfers.flatMap(({ key, txid, symbol, amount, to }) => {
    const fact = facts.get(key)
    return fact?.known === 1n ? [] : [{ txid, symbol, amount, address: to, invoice: fact?.invoice ?? null }]
  })
}

function notFrozen(): BursarError {
  return new BursarError('conflict', 'This till is not frozen by a restore.', {
    remedy: 'There is nothing to confirm.',
  })
}
