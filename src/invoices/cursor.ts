/** Where each chain has been read to, as stored. */
import type { Chain, Cursor } from '../chains/chain.ts'
import { type Db, guard, type Statement, statement } from '../db/db.ts'
import { BursarError } from '../errors.ts'
import { IS_RESTORED } from '../ledger/restored.ts'
import type { InvoiceContext } from './context.ts'

export interface StoredCursor {
  readonly cursor: Cursor
  /** Why crediting has stopped until a human has looked, or null. */
  readonly halted: string | null
  /** When the chain was last settled, Unix milliseconds. */
  readonly updatedAt: number
}

interface CursorRow {
  readonly height: bigint
  readonly hash: string
  readonly recent: string
  readonly halted: string | null
  readonly updated_at: bigint
}

/** Why a whole till that came back from a backup credits nothing. */
const RESTORED = 'the till was restored from a backup that is not reconciled yet: bursar restore --check'

export async function readCursor(db: Db, chain: string): Promise<StoredCursor | null> {
  const [row] = await db.query<CursorRow>(
    `SELECT height, hash, recent, updated_at, coalesce(halted, iif(${IS_RESTORED}, ?2, NULL)) AS halted
     FROM chain_cursor WHERE chain = ?1`,
    [chain, RESTORED],
  )
  if (!row) return null
  return {
    cursor: {
      height: Number(row.height),
      hash: row.hash,
      recent: JSON.parse(row.recent) as [number, string][],
    },
    halted: row.halted,
    updatedAt: Number(row.updated_at),
  }
}

/** How far each chain has been read, and whether it credits. */
export async function readHalts(
  db: Db,
): Promise<{ chain: string; height: number; halted: string | null; settledAt: number }[]> {
  const rows = await db.query<{ chain: string; height: bigint; halted: string | null; updated_at: bigint }>(
    `SELECT chain, height, updated_at, coalesce(halted, iif(${IS_RESTORED}, ?, NULL)) AS halted FROM chain_cursor`,
    [RESTORED],
  )
  return rows.map(({ chain, height, halted, updated_at: at }) => {
    return { chain, height: Number(height), halted, settledAt: Number(at) }
  })
}

/**
 * The stored cursor; on the first run of all, one at the chain's tip. It is stored before any address of the chain
 * is issued, so no payment can come before it.
 *
 * @throws {BursarError} chain_unavailable; invalid_config: the endpoint serves another chain.
 */
export async function ensureCursor(
  { db, runtime }: Pick<InvoiceContext, 'db' | 'runtime'>,
  chain: Chain,
  signal?: AbortSignal,
): Promise<StoredCursor> {
  const stored = await readCursor(db, chain.id)
  if (stored) return stored
  await chain.verify(signal)
  const cursor = await chain.start(signal)
  const at = runtime.now()
  const first = new BursarError('conflict', 'Another process has stored a cursor.')
  try {
    await db.commit([
      guard('NOT EXISTS (SELECT 1 FROM chain_cursor WHERE chain = ?)', [chain.id], () => first),
      moveCursor(chain.id, { cursor, tipHeight: cursor.height, at }),
    ])
  } catch (thrown) {
    if (thrown !== first) throw thrown
  }
  return (await readCursor(db, chain.id)) ?? { cursor, halted: null, updatedAt: at }
}

export function moveCursor(
  chain: string,
  { cursor, tipHeight, at }: { readonly cursor: Cursor; readonly tipHeight: number; readonly at: number },
): Statement {
  return statement(
    `INSERT INTO chain_cursor (chain, height, hash, recent, tip_height, updated_at) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (chain) DO UPDATE SET height = excluded.height, hash = excluded.hash, recent = excluded.recent,
       tip_height = excluded.tip_height, updated_at = excluded.updated_at`,
    [chain, BigInt(cursor.height), cursor.hash, JSON.stringify(cursor.recent), BigInt(tipHeight), BigInt(at)],
  )
}

/** Stops crediting on a chain until a human clears `halted`; the cursor stays where it is. */
export function haltChain(chain: string, reason: string): Statement {
  return statement('UPDATE chain_cursor SET halted = ? WHERE chain = ? AND halted IS NULL', [reason, chain])
}
