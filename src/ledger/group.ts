/**
 * One commit for a group of changes: each statement treats all items of its kind at once, and each item is accepted
 * or refused on its own. Outcomes come before new holds, so that what they give back can be held again.
 */
import type { Db, Statement } from '../db/db.ts'
import type { BursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import { closeStatements, readClosed } from './close.ts'
import type { Change, Changed, CloseHold, OpenHold } from './ledger.ts'
import { expireLots, settleLots } from './lots.ts'
import { openStatements, readOpened } from './open-holds.ts'

/**
 * Puts a group's statements together; the function that it returns commits them. One result for each change, in order;
 * an error refuses that one. @throws {BursarError} database_unavailable
 */
export function prepareGroup(
  db: Db,
  runtime: Runtime,
  group: readonly Change[],
): () => Promise<(Changed | BursarError)[]> {
  const at = runtime.now()
  const opening = group.filter((change): change is OpenHold => change.kind === 'open')
  const closing = group.filter((change): change is CloseHold => change.kind !== 'open')
  const charged = closing.filter(({ kind }) => kind === 'capture').map(({ account }) => account)
  const accounts = [
    ...closing.map(({ account }) => account),
    ...opening.map(({ request }) => request.account),
  ]
  const closed = closing.length > 0 ? readClosed(closing) : undefined
  const opened = opening.length > 0 ? readOpened(opening, at) : undefined
  const statements: Statement[] = [
    ...(closing.length > 0 ? closeStatements(closing, at) : []),
    ...(charged.length > 0 ? [settleLots({ accounts: charged })] : []),
    expireLots({ accounts }, at),
    ...(opening.length > 0 ? openStatements(opening, at) : []),
    ...(closed ? [closed.select] : []),
    ...(opened ? [opened.select] : []),
  ]
  return async () => {
    const rows = await db.commit(statements)
    const openedRows = opened ? (rows.at(-1) ?? []) : []
    const closedRows = closed ? (rows.at(opened ? -2 : -1) ?? []) : []
    const results = new Map([...(closed?.results(closedRows) ?? []), ...(opened?.results(openedRows) ?? [])])
    return group.map((change) => {
      const result = results.get(change.ref)
      if (!result) throw new Error(`The group has no result for ${change.ref}.`)
      return result
    })
  }
}
