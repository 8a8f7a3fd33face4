/** Follows the chain of seals along the journal, from the first posting on. */
import type { Snapshot } from '../../db/snapshot.ts'
import { GENESIS, lineDigest, type Seal, sealHash } from '../seal.ts'
import { outOfOrder } from './check.ts'
import type { Finding, FindingKind, Findings } from './finding.ts'
import type { Follower, SeenPosting } from './journal.ts'

/** A head that was published, and kept where whoever can write to the database could not change it. */
export interface PublishedHead {
  readonly seal: bigint
  readonly hash: string
}

export interface ChainSummary {
  readonly head: { readonly seal: bigint; readonly hash: string }
  readonly seals: number
  /** Id of the last posting that a seal covers. */
  readonly sealedTo: bigint
}

export interface Chain extends Follower {
  summary(): ChainSummary
}

interface Open {
  readonly seal: Seal
  readonly rows: ReturnType<typeof lineDigest>
  count: bigint
}

const PAGE = 1_000n

export function followSeals(
  snapshot: Snapshot,
  findings: Findings,
  published: PublishedHead | undefined,
): Chain {
  const next = sealReader(snapshot)
  let open: Open | null | undefined
  let last: Pick<Seal, 'number' | 'lastPosting'> = { number: 0n, lastPosting: 0n }
  let head = GENESIS
  // A seal whose stored hash was altered is still followed by one that knows the true one.
  let follows: readonly string[] = [GENESIS]
  let seals = 0
  let journalEnds = 0n
  let publishedSeen = published === undefined || (published.seal === 0n && published.hash === GENESIS)

  async function advance(): Promise<void> {
    const seal = await next()
    open = seal ? { seal, rows: lineDigest(), count: 0n } : null
  }

  function finish({ seal, rows, count }: Open): void {
    const hash = sealHash(seal)
    seals++
    for (const finding of linkProblems(seal, { last, follows, hash })) findings.add(finding)
    if (hash === seal.hash) reportRows(findings, seal, rows.end(), { count, journalEnds })
    if (published?.seal === seal.number) publishedSeen = published.hash === hash && hash === seal.hash
    last = seal
    head = seal.hash
    follows = [seal.hash, hash]
  }

  async function see({ id, line }: SeenPosting): Promise<void> {
    if (open === undefined) await advance()
    while (open && id > open.seal.lastPosting) {
      finish(open)
      await advance()
    }
    if (!open || id < open.seal.firstPosting) return
    open.rows.add(line)
    open.count++
  }

  return {
    async page(postings) {
      for (const posting of postings) {
        journalEnds = posting.id
        await see(posting)
      }
    },
    async end() {
      if (open === undefined) await advance()
      while (open) {
        finish(open)
        await advance()
      }
      if (last.lastPosting > journalEnds) findings.add(truncated(journalEnds, last))
      const made = await sealsEverMade(snapshot)
      if (made > last.number) findings.add(missingSeals(last.number + 1n, made))
      if (!publishedSeen && published) {
        const { seal, hash } = published
        findings.add(
          about('head_missing', seal, `The published head ${seal}:${hash} is not in the chain of seals.`),
        )
      }
    },
    summary: () => ({ head: { seal: last.number, hash: head }, seals, sealedTo: last.lastPosting }),
  }
}

/** Whether a seal is itself as it was made, and follows from the one before it. */
function* linkProblems(
  { number, firstPosting, previous, hash: stored }: Seal,
  {
    last,
    follows,
    hash,
  }: {
    readonly last: Pick<Seal, 'number' | 'lastPosting'>
    readonly follows: readonly string[]
    readonly hash: string
  },
): Generator<Finding> {
  if (hash !== stored) {
    yield about('seal_altered', number, `Seal ${number} was altered: its hash does not fit.`)
  }
  if (number !== last.number + 1n) {
    yield missingSeals(last.number + 1n, number - 1n)
  } else if (hash !== stored) {
    return
  } else if (!follows.includes(previous)) {
    yield about('seal_chain_broken', number, `Seal ${number} does not follow from the one before it.`)
  } else if (firstPosting !== last.lastPosting + 1n) {
    yield about('seal_chain_broken', number, `Seal ${number} does not begin where the one before it ends.`)
  }
}

/** What became of the postings under a seal that is itself intact. Missing ones are reported by their ids elsewhere. */
function reportRows(
  findings: Findings,
  seal: Seal,
  found: Pick<Seal, 'digest' | 'checksum'>,
  { count, journalEnds }: { readonly count: bigint; readonly journalEnds: bigint },
): void {
  const { number, firstPosting, lastPosting, digest, checksum } = seal
  const complete = count === lastPosting - firstPosting + 1n
  if (digest === found.digest || !complete || lastPosting > journalEnds) return
  const reordered = checksum === found.checksum
  const which =
    firstPosting === lastPosting ? `Posting ${firstPosting}` : `Of postings ${firstPosting} to ${lastPosting}`
  const what = reordered
    ? `${which} some have changed places since seal ${number}.`
    : `${which}${firstPosting === lastPosting ? ' was' : ' at least one was'} changed after seal ${number}.`
  findings.add({
    kind: reordered ? 'posting_reordered' : 'posting_altered',
    table: 'posting',
    row: rangeOf(firstPosting, lastPosting),
    message: what,
  })
}

function sealReader(snapshot: Snapshot): () => Promise<Seal | null> {
  let page: Seal[] = []
  let last = 0n
  return async () => {
    if (page.length === 0) {
      page = await snapshot.query<Seal>(
        `SELECT number, first_posting AS firstPosting, last_posting AS lastPosting, CAST(digest AS BLOB) AS digest,
           checksum, CAST(previous AS BLOB) AS previous, CAST(hash AS BLOB) AS hash, at
         FROM seal WHERE number > ? ORDER BY number LIMIT ?`,
        [last, PAGE],
      )
      if (page[0] && page[0].number <= last) throw outOfOrder()
    }
    const seal = page.shift() ?? null
    last = seal?.number ?? last
    return seal
  }
}

/** SQLite's own count, which stays when rows are deleted. */
async function sealsEverMade(snapshot: Snapshot): Promise<bigint> {
  const [row] = await snapshot.query<{ seq: bigint }>("SELECT seq FROM sqlite_sequence WHERE name = 'seal'")
  return row?.seq ?? 0n
}

function truncated(journalEnds: bigint, last: Pick<Seal, 'number' | 'lastPosting'>): Finding {
  return {
    kind: 'journal_truncated',
    table: 'posting',
    row: rangeOf(journalEnds + 1n, last.lastPosting),
    message: `The journal ends at posting ${journalEnds}, but seal ${last.number} covers it up to ${last.lastPosting}.`,
  }
}

function missingSeals(from: bigint, to: bigint): Finding {
  const message = from === to ? `Seal ${from} is missing.` : `Seals ${from} to ${to} are missing.`
  return about('seal_missing', rangeOf(from, to), message)
}

function about(kind: FindingKind, row: bigint | string, message: string): Finding {
  return { kind, table: 'seal', row: String(row), message }
}

function rangeOf(from: bigint, to: bigint): string {
  return from === to ? String(from) : `${from}-${to}`
}
