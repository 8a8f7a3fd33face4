/** Reads the journal once, in order, in pages, and shows each posting to all that follow it: memory stays bounded. */
import type { Snapshot } from '../../db/snapshot.ts'
import type { Runtime } from '../../runtime.ts'
import { linesOf, POSTING_LINES, type PostingLines } from '../seal.ts'
import { outOfOrder } from './check.ts'
import type { Finding, Findings } from './finding.ts'

export interface Posting {
  readonly id: bigint
  readonly ref: string
  readonly phase: number
  readonly kind: string
  readonly account: string
  readonly agent: string | null
  /** Micro-credits, as are `held` and `counter`. */
  readonly available: bigint
  readonly held: bigint
  readonly book: string | null
  readonly counter: bigint
}

export interface SeenPosting extends Posting {
  /** Its canonical line, as it is sealed. */
  readonly line: string
}

/** Follows the journal, posting by posting, in the order of their ids. */
export interface Follower {
  /** A page that comes next; what it needs from other tables can be read here. */
  page(postings: readonly SeenPosting[]): Promise<void>
  end(): Promise<void>
}

export interface ReadJournal {
  readonly snapshot: Snapshot
  readonly findings: Findings
  readonly runtime: Pick<Runtime, 'sleep'>
  readonly followers: readonly Follower[]
  readonly signal?: AbortSignal | undefined
  readonly onPage?: ((read: number) => void) | undefined
}

const PAGE = 1_000n

/** @returns how many postings there are, and the last one's id. @throws the signal's reason; the driver's error, for `readable` */
export async function readJournal(given: ReadJournal): Promise<{ count: number; last: bigint }> {
  const { snapshot, findings, runtime, followers, signal, onPage } = given
  let last = 0n
  let count = 0
  for (;;) {
    const [page] = await snapshot.query<PostingLines>(POSTING_LINES, [last, PAGE])
    if (!page || page.last === null) break
    if (page.last <= last) throw outOfOrder()
    const postings: SeenPosting[] = []
    for (const line of linesOf(page)) {
      count++
      const posting = parse(line)
      const problem = posting ? problemOf(posting) : 'it has a value that no posting can have'
      if (problem !== null) findings.add(malformed(line, problem))
      if (posting) postings.push({ ...posting, line })
    }
    for (const { id } of postings) {
      if (id > last + 1n) findings.add(missing(last + 1n, id - 1n))
      last = id
    }
    last = page.last
    for (const follower of followers) await follower.page(postings)
    onPage?.(count)
    // Lets a signal through: local reads never leave the process.
    await runtime.sleep(0, signal)
  }
  for (const follower of followers) await follower.end()
  return { count, last }
}

/** The columns of a canonical line; null when one of them has a type that its column cannot have. */
function parse(line: string): Posting | null {
  const [id, ref, phase, kind, account, agent, available, held, book, counter] = JSON.parse(line) as unknown[]
  if (!Number.isSafeInteger(id) || typeof ref !== 'string' || typeof phase !== 'number') return null
  if (typeof kind !== 'string' || typeof account !== 'string' || !isTextOrNull(agent) || !isTextOrNull(book))
    return null
  if (!isInteger(available) || !isInteger(held) || !isInteger(counter)) return null
  return {
    id: BigInt(id as number),
    ref,
    phase,
    kind,
    account,
    agent,
    available: BigInt(available),
    held: BigInt(held),
    book,
    counter: BigInt(counter),
  }
}

const isTextOrNull = (value: unknown): value is string | null => value === null || typeof value === 'string'
const isInteger = (value: unknown): value is string => typeof value === 'string' && /^-?\d+$/.test(value)

interface Shape {
  readonly phase: 0 | 1
  readonly books: readonly (string | null)[]
  readonly fits: (posting: Posting) => boolean
}

/** What each kind of posting moves: between available, held and a book. */
const SHAPES: Readonly<Record<string, Shape>> = {
  grant: { phase: 0, books: ['payments'], fits: (p) => p.available >= 0n && p.held === 0n },
  discount: { phase: 0, books: ['discounts'], fits: (p) => p.available >= 0n && p.held === 0n },
  reverse: { phase: 1, books: ['payments', 'discounts'], fits: (p) => p.available <= 0n && p.held === 0n },
  hold: { phase: 0, books: [null], fits: (p) => p.held > 0n && p.counter === 0n },
  capture: {
    phase: 1,
    books: ['revenue'],
    fits: (p) => p.held < 0n && p.counter >= 0n && p.counter <= -p.held,
  },
  release: { phase: 1, books: [null], fits: (p) => p.held < 0n && p.counter === 0n },
  // Above zero when a reversal takes back what had lapsed of its lot.
  expire: { phase: 0, books: ['breakage'], fits: (p) => p.available !== 0n && p.held === 0n },
}

function problemOf(posting: Posting): string | null {
  const { kind, available, held, counter } = posting
  if (available + held + counter !== 0n) return `it sums to ${available + held + counter}, not to zero`
  const shape = SHAPES[kind]
  if (!shape) return `its kind "${kind}" does not exist`
  if (shape.phase !== posting.phase) return `a ${kind} has phase ${shape.phase}, it has ${posting.phase}`
  if (!shape.books.includes(posting.book)) return `a ${kind} is never booked to ${posting.book ?? 'no book'}`
  return shape.fits(posting)
    ? null
    : `a ${kind} cannot move ${available} available, ${held} held, ${counter} booked`
}

function malformed(line: string, problem: string): Finding {
  const row = /^\[(-?\d+)/.exec(line)?.[1] ?? line.slice(0, 40)
  return {
    kind: 'posting_malformed',
    table: 'posting',
    row,
    message: `Posting ${row} is not a posting that the ledger makes: ${problem}.`,
  }
}

function missing(from: bigint, to: bigint): Finding {
  const row = from === to ? String(from) : `${from}-${to}`
  return {
    kind: 'posting_missing',
    table: 'posting',
    row,
    message: from === to ? `Posting ${from} is missing.` : `Postings ${from} to ${to} are missing.`,
  }
}
