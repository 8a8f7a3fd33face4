/** Lists a part at a time. */

export interface PageOf<Row> {
  readonly page: Row[]
  /** The last id of the page, behind which the next one begins; null: that was all. */
  readonly next: string | null
}

/** @param read the rows in the order of their ids, as many as it is asked for */
export async function pageOf<Row extends { readonly id: string }>(
  limit: number,
  read: (limit: number) => Promise<Row[]>,
): Promise<PageOf<Row>> {
  // One more tells whether there are more.
  const rows = await read(limit + 1)
  const page = rows.slice(0, limit)
  return { page, next: rows.length > limit ? (page.at(-1)?.id ?? null) : null }
}
