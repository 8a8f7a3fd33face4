/** Lists that come in pages: one page, page after page, or item after item. */
import type { RequestOptions, Transport } from './request.ts'

export interface Paged<Item, Page> extends AsyncIterable<Item> {
  /** One page, from the query's `cursor` on. */
  page(): Promise<Page>
  pages(): AsyncGenerator<Page, void>
}

/** A list of the till. */
export function listed<Item, Page extends { readonly next_cursor: string | null }>(
  transport: Transport,
  { path, query, more }: { readonly path: string; readonly query: object; readonly more: RequestOptions },
  itemsOf: (page: Page) => readonly Item[],
): Paged<Item, Page> {
  const read = (at: { readonly cursor?: string }): Promise<Page> =>
    transport.json<Page>({ ...more, method: 'GET', path: `${path}${queryOf({ ...query, ...at })}` })
  async function* pages(): AsyncGenerator<Page, void> {
    let page = await read({})
    for (;;) {
      yield page
      if (page.next_cursor === null) return
      page = await read({ cursor: page.next_cursor })
    }
  }
  return {
    page: () => read({}),
    pages,
    async *[Symbol.asyncIterator]() {
      for await (const page of pages()) yield* itemsOf(page)
    },
  }
}

/** With its question mark; empty where nothing is asked for. */
function queryOf(query: object): string {
  const given = Object.entries(query).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, String(value)]],
  )
  return given.length === 0 ? '' : `?${new URLSearchParams(given).toString()}`
}
