/**
 * The database as modules see it: they read rows, and return statements that a use case commits as one batch.
 * Nothing else writes.
 */
import type { SqliteRemoteDatabase } from 'drizzle-orm/sqlite-proxy'
import type { BursarError } from '../errors.ts'

/** bigint for integers of the ledger, text for everything else; JS numbers would bind as REAL. */
export type Arg = string | bigint | null | Uint8Array

export interface Statement {
  readonly sql: string
  readonly args: readonly Arg[]
  /** For a guard: the error that its failure means. */
  readonly otherwise?: () => BursarError
}

export type Row = Readonly<Record<string, unknown>>

/** drizzle's queries without its writes: `(await db.typed()).select().from(invoice).where(eq(invoice.account, id))`. */
export type TypedRead = Pick<SqliteRemoteDatabase, 'select' | 'selectDistinct' | 'with' | '$with' | '$count'>

export interface Db {
  /** Rows of a SELECT, on a connection that cannot write. INTEGER columns arrive as bigint. */
  query<T = Row>(sql: string, args?: readonly Arg[]): Promise<T[]>
  /**
   * Commits all statements or none, durably, in the order of being asked (but for one that meets the lock of another
   * process, and is tried again). Returns the rows of each statement that has any.
   *
   * @throws the failed guard's error; {BursarError} database_unavailable when it stays busy or unreachable.
   */
  commit(statements: readonly Statement[]): Promise<Row[][]>
  /** Whether a commit that is asked for while another is under way follows it at once, without a way back and forth. */
  readonly overlaps: boolean
  /** Why the last commit could not be made, for a minute after it was tried; null where it could, and before the first. */
  unwritable(): BursarError | null
  /**
   * Typed reads of the tables in schema.ts, on the same connection as `query`. Loaded when first asked for: drizzle
   * takes longer to load than everything else that an MCP client waits for.
   */
  typed(): Promise<TypedRead>
  /** Waits for the commits under way. */
  close(): Promise<void>
}

export function statement(sql: string, args: readonly Arg[] = []): Statement {
  return { sql, args }
}

/**
 * Rolls the batch back unless `condition` (SQL) holds at this place in it: a conditional UPDATE that matches no
 * row does not stop a batch by itself.
 */
export function guard(condition: string, args: readonly Arg[], otherwise: () => BursarError): Statement {
  return { sql: `INSERT INTO guard SELECT 1 WHERE NOT (${condition})`, args, otherwise }
}
