/**
 * Whether the pages of a file form trees. Where they point back, or to one child many times, they are a maze, and a query
 * that scans a table in it would not end in a lifetime.
 */

/** A problem of pages, not of rows: "Tree 9 page 48 cell 1: ...", "Freelist: ...". */
const OF_PAGES = /^(?:Tree|Freelist|Page|List of tree roots)\b/
/** Looked for when every tree was found sound: this page belongs to none, so what it held is missing. */
const LOST_PAGE = /^Page \d+: never used$/

/**
 * Of the first problem that `PRAGMA integrity_check(1)` or `quick_check(1)` tells: nothing more may be read. Pages are
 * examined before rows, each page once. Asked for one problem it stops at a wrong page; asked for more it would go on to
 * the rows, and into the maze.
 */
export function isMaze(problem: string): boolean {
  return OF_PAGES.test(problem) && !LOST_PAGE.test(problem)
}

/** The lines of its answer that name a problem. Those of pages come as one row, a line each. */
export function problemsIn(rows: readonly string[]): string[] {
  return rows
    .flatMap((row) => row.split('\n'))
    .filter((problem) => problem !== 'ok' && !problem.startsWith('***'))
}
