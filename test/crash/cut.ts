/**
 * A power cut, as the disk may show it afterwards: the log of a copied database ends at some byte. What must be there
 * is exact: an acknowledgement that was heard when the log ended at frame f of the same log is in every cut that keeps
 * frame f whole, and so is every one from before this log began; the journal is a prefix of the whole one.
 */
import { copyFileSync, writeFileSync } from 'node:fs'
import type { Acknowledged } from './acknowledged.ts'
import { compare } from './compare.ts'
import type { Dice } from './dice.ts'
import type { Wal } from './wal.ts'

/** What stands in the file behind the cut: nothing, or space that was allotted and never written, or rubbish. */
export const TAILS = ['nothing', 'zeros', 'noise'] as const
export type Tail = (typeof TAILS)[number]

/** A byte that a power cut may leave as the last one: past the checkpoint, up to the end of the last commit. */
export function someCut({ commits, checkpointed, endOf }: Wal, dice: Dice): number | null {
  const last = commits.at(-1) ?? 0
  return last > checkpointed ? dice.between(endOf(checkpointed), endOf(last)) : null
}

/** Writes `to`, a new file, as `from` with its log cut after `end` bytes. */
export function writeCut(from: string, to: string, { bytes }: Wal, end: number, tail: Tail): void {
  copyFileSync(from, to)
  const cut = Buffer.from(tail === 'nothing' ? bytes.subarray(0, end) : bytes)
  if (tail !== 'nothing') {
    for (let at = end; at < cut.length; at++) cut[at] = tail === 'zeros' ? 0 : (at * 197 + 89) & 255
  }
  writeFileSync(`${to}-wal`, cut)
}

/** The last frame of the last commit that is whole before this byte; 0: none. */
export function survivingFrame({ commits, endOf }: Wal, end: number): number {
  return commits.findLast((frame) => endOf(frame) <= end) ?? 0
}

/** What was acknowledged and must survive the cut. */
export function surviving(acknowledged: readonly Acknowledged[], wal: Wal, end: number): Acknowledged[] {
  const frame = survivingFrame(wal, end)
  return acknowledged.filter(({ at }) => at.salt !== wal.salt || at.frame <= frame)
}

export interface CompareCut {
  /** The database that was copied, and where the cut one goes. */
  readonly from: string
  readonly to: string
  readonly wal: Wal
  readonly end: number
  readonly tail: Tail
  readonly acknowledged: readonly Acknowledged[]
  /** The whole one's. */
  readonly journal: readonly string[]
}

export async function compareCut(given: CompareCut): Promise<string[]> {
  const { from, to, wal, end, tail, acknowledged, journal } = given
  writeCut(from, to, wal, end, tail)
  const { problems, journal: cut } = await compare(to, surviving(acknowledged, wal, end))
  const prefix = cut.every((line, index) => line === journal[index])
  return [...problems, ...(prefix ? [] : ['the journal is no prefix of the whole one'])].map(
    (problem) => `log cut after ${end} bytes, then ${tail}: ${problem}`,
  )
}
