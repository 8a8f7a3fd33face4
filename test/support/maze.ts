/** Makes a table of a database file a maze: pages that each lead to the next one many times ("Database File Format", section 1.6). */
import { readFile, writeFile } from 'node:fs/promises'
import { createClient } from '@libsql/client'

const PAGE = 4096
/** Three ways on each of 17 pages: 129,140,163 ways to one leaf, within the depth that SQLite goes to. */
const WAYS = 3
const DEPTH = 17

/** Its rows can still be looked up by an index; whoever scans the table itself does not come back. */
export async function makeMaze(path: string, table: string): Promise<void> {
  const root = await rootOf(path, table)
  const file = await readFile(path)
  const pages = file.length / PAGE
  const leaf = file.subarray((root - 1) * PAGE, root * PAGE)
  // Pages are counted from 1: the leaf moves to the end of the file, and the maze comes after it.
  const maze = Array.from({ length: DEPTH }, (_, i) => innerPage(i === 0 ? pages + 1 : pages + 1 + i))
  const changed = Buffer.concat([file, leaf, ...maze])
  innerPage(pages + 1 + DEPTH).copy(changed, (root - 1) * PAGE)
  changed.writeUInt32BE(changed.length / PAGE, 28)
  await writeFile(path, changed)
}

/** A page whose every pointer leads to the same child. */
function innerPage(child: number): Buffer {
  const page = Buffer.alloc(PAGE)
  const cells = Array.from({ length: WAYS - 1 }, (_, i) => PAGE - 5 * (i + 1))
  page.writeUInt8(5, 0)
  page.writeUInt16BE(cells.length, 3)
  page.writeUInt16BE(Math.min(...cells), 5)
  page.writeUInt32BE(child, 8)
  for (const [i, cell] of cells.entries()) {
    page.writeUInt16BE(cell, 12 + 2 * i)
    page.writeUInt32BE(child, cell)
    page.writeUInt8(i + 1, cell + 4)
  }
  return page
}

async function rootOf(path: string, table: string): Promise<number> {
  const client = createClient({ url: `file:${path}` })
  try {
    const { rows } = await client.execute({
      sql: 'SELECT rootpage FROM sqlite_schema WHERE name = ?',
      args: [table],
    })
    return Number(rows[0]?.['rootpage'])
  } finally {
    client.close()
  }
}
