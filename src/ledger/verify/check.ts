/** Checks that are one query each: a row that comes back is a finding. */
import { LibsqlError } from '@libsql/client'
import type { Snapshot } from '../../db/snapshot.ts'
import { type FindingKind, type Findings, KEPT_PER_KIND } from './finding.ts'

export interface Check {
  readonly kind: FindingKind
  readonly table: string
  /** A SELECT with the columns `row` and `message`. */
  readonly sql: string
}

export async function runCheck(
  snapshot: Snapshot,
  findings: Findings,
  { kind, table, sql }: Check,
): Promise<void> {
  await readable(findings, table, async () => {
    const rows = await snapshot.query<{ row: string; message: string }>(
      `SELECT CAST(row AS BLOB) AS row, CAST(message AS BLOB) AS message FROM (${sql}) LIMIT ?`,
      [BigInt(KEPT_PER_KIND + 1)],
    )
    for (const { row, message } of rows) findings.add({ kind, table, row, message })
  })
}

/** Of a page whose rows do not come after those before it: a damaged file can be read in a circle, without end. */
export function outOfOrder(): LibsqlError {
  return new LibsqlError('its rows are out of order', 'SQLITE_CORRUPT')
}

/** Runs `look`; that the database could not answer it is a finding, and no reason to stop. */
export async function readable(findings: Findings, table: string, look: () => Promise<void>): Promise<void> {
  try {
    await look()
  } catch (thrown) {
    if (!(thrown instanceof LibsqlError)) throw thrown
    const kind = /^SQLITE_(CORRUPT|NOTADB|IOERR)/.test(thrown.code) ? 'file_corrupt' : 'unreadable'
    findings.add({
      kind,
      table,
      row: '',
      message: `The table ${table} cannot be examined: ${thrown.message}.`,
    })
  }
}
