/**
 * SQLite's write-ahead log, read from outside (https://sqlite.org/fileformat2.html#walformat and
 * https://sqlite.org/walformat.html#walidxfmt): where each commit ends, and how far the log has been copied back into
 * the database file. A power cut can lose the end of the log that was not synced yet; it cannot lose what the
 * checkpoint, which syncs the log first, has begun to copy.
 */
import { closeSync, copyFileSync, existsSync, openSync, readFileSync, readSync, rmSync } from 'node:fs'

const HEADER = 32
const FRAME_HEADER = 24

/** A place in the log. Frames are numbered from 1; a log that starts anew, after a whole checkpoint, has another salt. */
export interface WalPosition {
  readonly salt: string
  readonly frame: number
}

/**
 * The end of the last commit that a process can see now, as the log's shared index says. While the first process after
 * a crash makes that anew, and after one that was killed meanwhile, the log itself tells: no less than was committed.
 */
export function walPosition(database: string): WalPosition {
  const index = readIndex(database)
  if (index) return { salt: index.toString('hex', 32, 40), frame: index.readUInt32LE(16) }
  const wal = readWal(database)
  return { salt: wal?.salt ?? '', frame: wal?.commits.at(-1) ?? 0 }
}

/** Null when there is no whole one. */
function readIndex(database: string): Buffer | null {
  const path = `${database}-shm`
  if (!existsSync(path)) return null
  const file = openSync(path, 'r')
  try {
    // Its header is kept twice and written in opposite orders: equal copies are a whole one.
    for (let attempt = 0; attempt < 1_000; attempt++) {
      const index = Buffer.alloc(136)
      readSync(file, index, 0, index.length, 0)
      if (index.compare(index, 48, 96, 0, 48) === 0 && index.readUInt32LE(16) > 0) return index
    }
    return null
  } finally {
    closeSync(file)
  }
}

export interface Wal {
  readonly bytes: Buffer
  readonly salt: string
  /** Frames at which a commit ends, in order. */
  readonly commits: readonly number[]
  /** Frames that a checkpoint has copied, or may have begun to copy. */
  readonly checkpointed: number
  /** Where a frame ends, in bytes. */
  endOf(frame: number): number
}

/** The log of a database that nobody has open: of processes that were killed, or of a copy. Null: it is empty. */
export function readWal(database: string): Wal | null {
  const path = `${database}-wal`
  const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0)
  if (bytes.length < HEADER) return null
  const pageSize = bytes.readUInt32BE(8)
  const frameSize = FRAME_HEADER + pageSize
  const salt = bytes.toString('hex', 16, 24)
  const endOf = (frame: number): number => HEADER + frame * frameSize
  const commits: number[] = []
  // Frames of an earlier log may follow: their salt ends this one. A torn frame can only be the last.
  for (let frame = 1; endOf(frame) <= bytes.length; frame++) {
    const at = endOf(frame - 1)
    if (bytes.toString('hex', at + 8, at + 16) !== salt) break
    if (bytes.readUInt32BE(at + 4) > 0) commits.push(frame)
  }
  return { bytes, salt, commits, checkpointed: checkpointedOf(database, salt), endOf }
}

/** `nBackfillAttempted` of the shared index, which outlives the processes that were killed. */
function checkpointedOf(database: string, salt: string): number {
  const path = `${database}-shm`
  if (!existsSync(path)) return 0
  const index = readFileSync(path)
  if (index.length < 136 || index.toString('hex', 32, 40) !== salt) return 0
  return Math.max(index.readUInt32LE(96), index.readUInt32LE(128))
}

/** Copies a database that nobody writes at this moment, with its log and, where wanted, the log's index. */
export function copyDatabase(from: string, to: string, { index = false } = {}): void {
  copyFileSync(from, to)
  for (const end of index ? ['-wal', '-shm'] : ['-wal']) {
    if (existsSync(from + end)) copyFileSync(from + end, to + end)
  }
}

export function removeDatabase(path: string): void {
  for (const end of ['', '-wal', '-shm']) rmSync(path + end, { force: true })
}
