/**
 * Seals over the journal: each covers the postings after the one before it, and its hash covers the hash of that one.
 * Whoever kept one hash can tell later that nothing before it was changed, removed, added or put in another order.
 *
 * A posting's canonical line is a JSON array of its columns, amounts as text. SQLite writes it, so that what is hashed
 * is what is stored, byte for byte: the driver cuts text at a NUL character, and dies of text that is not UTF-8.
 */
import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { type Db, guard, type Statement, statement } from '../db/db.ts'
import type { Lease } from '../db/lease.ts'
import { BursarError } from '../errors.ts'
import type { Ledger } from './ledger.ts'

export interface Seal {
  /** 1, 2, 3 ... */
  readonly number: bigint
  /** Ids of the first and the last posting that it covers. */
  readonly firstPosting: bigint
  readonly lastPosting: bigint
  /** SHA-256 of their canonical lines, each ended by a line feed; hex. */
  readonly digest: string
  /** Sum of the CRC-32 of each line without its id: the same in any order. */
  readonly checksum: bigint
  /** Hash of the seal before, or GENESIS. */
  readonly previous: string
  readonly hash: string
  /** Unix milliseconds. */
  readonly at: bigint
}

/** What the first seal follows. */
export const GENESIS = '0'.repeat(64)

/** A page reads for about a millisecond; local reads block the whole process. */
const PAGE = 256n
const PAUSE_MS = 10
/** Of one seal. A full one is followed by the next at once. */
export const MOST_POSTINGS = 16_384n

/** Column `lines`: the canonical lines of the postings after ?1, at most ?2, as bytes; null when there are none. */
export const POSTING_LINES = `
  SELECT max(id) AS last, CAST(group_concat(line, char(10) ORDER BY id) AS BLOB) AS lines FROM (
    SELECT id, json_array(id, ref, phase, kind, account, agent, CAST(available AS TEXT), CAST(held AS TEXT), book,
      CAST(counter AS TEXT), at) AS line
    FROM posting WHERE id > ?1 ORDER BY id LIMIT ?2)`

export interface PostingLines {
  readonly last: bigint | null
  /** Bytes, or the text that a snapshot has made of them. */
  readonly lines: ArrayBuffer | string | null
}

/** Digests lines of postings in the order in which they are added. */
export function lineDigest(): { add(line: string): void; end(): Pick<Seal, 'digest' | 'checksum'> } {
  const hash = createHash('sha256')
  let checksum = 0
  return {
    add(line) {
      hash.update(`${line}\n`)
      checksum += crc32(line.slice(line.indexOf(',')))
    },
    end: () => ({ digest: hash.digest('hex'), checksum: BigInt(checksum) }),
  }
}

export function linesOf({ lines }: PostingLines): string[] {
  if (lines === null) return []
  const text = typeof lines === 'string' ? lines : Buffer.from(lines).toString('utf8')
  return text.split('\n')
}

/** SHA-256 over a JSON array of all that a seal says, integers as text; hex. */
export function sealHash(seal: Omit<Seal, 'hash'>): string {
  const said = [
    'bursar-seal-v1',
    String(seal.number),
    String(seal.firstPosting),
    String(seal.lastPosting),
    seal.digest,
    String(seal.checksum),
    seal.previous,
    String(seal.at),
  ]
  return createHash('sha256').update(JSON.stringify(said)).digest('hex')
}

type Head = Pick<Seal, 'number' | 'lastPosting' | 'hash'>

/** The last seal; before the first, the point that it starts from. @throws {BursarError} database_unavailable */
export async function readHead(db: Pick<Db, 'query'>): Promise<Head> {
  const [row] = await db.query<{ number: bigint; last_posting: bigint; hash: string }>(
    'SELECT number, last_posting, hash FROM seal ORDER BY number DESC LIMIT 1',
  )
  if (!row) return { number: 0n, lastPosting: 0n, hash: GENESIS }
  return { number: row.number, lastPosting: row.last_posting, hash: row.hash }
}

/** How many postings no seal covers yet. @throws {BursarError} database_unavailable */
export async function countUnsealed(db: Pick<Db, 'query'>): Promise<bigint> {
  const [row] = await db.query<{ unsealed: bigint }>(
    `SELECT coalesce((SELECT max(id) FROM posting), 0)
       - coalesce((SELECT last_posting FROM seal ORDER BY number DESC LIMIT 1), 0) AS unsealed`,
  )
  return row?.unsealed ?? 0n
}

/**
 * Seals what has been committed since the last seal, at most 16,384 postings: reads page by page beside whatever is
 * being written, then makes one small commit that only the holder of the lease can make.
 *
 * @returns null when there was nothing to seal.
 * @throws {BursarError} conflict: the lease was lost; database_unavailable. The signal's reason when it is aborted.
 */
export async function sealNext(
  { db, runtime }: Pick<Ledger, 'db' | 'runtime'>,
  lease: Lease,
  signal?: AbortSignal,
): Promise<Seal | null> {
  const head = await readHead(db)
  const rows = lineDigest()
  let last = head.lastPosting
  while (last - head.lastPosting < MOST_POSTINGS) {
    const [page] = await db.query<PostingLines>(POSTING_LINES, [last, PAGE])
    if (!page || page.last === null) break
    const lines = linesOf(page)
    for (const line of lines) rows.add(line)
    last = page.last
    // What has come meanwhile is left to the next seal: this one would never catch up with a busy ledger.
    if (BigInt(lines.length) < PAGE) break
    await runtime.sleep(PAUSE_MS, signal)
  }
  if (last === head.lastPosting) return null
  const said = {
    number: head.number + 1n,
    firstPosting: head.lastPosting + 1n,
    lastPosting: last,
    ...rows.end(),
    previous: head.hash,
    at: BigInt(runtime.now()),
  }
  const seal = { ...said, hash: sealHash(said) }
  await db.commit([lease.check(), follows(head), insertSeal(seal)])
  return seal
}

function follows(head: Head): Statement {
  return guard(
    'coalesce((SELECT max(number) FROM seal), 0) = ?',
    [head.number],
    () => new BursarError('conflict', 'Another process has sealed these postings.'),
  )
}

function insertSeal(seal: Seal): Statement {
  return statement(
    `INSERT INTO seal (number, first_posting, last_posting, digest, checksum, previous, hash, at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    [
      seal.number,
      seal.firstPosting,
      seal.lastPosting,
      seal.digest,
      seal.checksum,
      seal.previous,
      seal.hash,
      seal.at,
    ],
  )
}
