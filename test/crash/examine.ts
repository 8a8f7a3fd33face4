/** After each kill: a copy of the database, whole and with its log cut, against all that was acknowledged until then. */
import { join } from 'node:path'
import { type Acknowledged, readLog } from './acknowledged.ts'
import type { Buyers } from './buyers.ts'
import { compare } from './compare.ts'
import { compareCut, someCut, TAILS } from './cut.ts'
import type { Dice } from './dice.ts'
import { copyDatabase, readWal, removeDatabase, type Wal } from './wal.ts'

export interface Examiner {
  /** Takes the copy. Nobody may write meanwhile. */
  copy(): void
  /** Adds what is wrong with the copy to the problems; says in words what it saw. */
  examine(): Promise<string>
  counts(): { readonly postings: number; readonly reversals: number; readonly cuts: number }
}

interface Copy {
  readonly acknowledged: readonly Acknowledged[]
  readonly wal: Wal | null
}

export function createExaminer({ stage, log, problems }: Buyers, cutsPerKill: number, dice: Dice): Examiner {
  const killed = join(stage.folder, 'killed.db')
  let files = 0
  /** By the log's salt. The first process after a crash forgets how far the checkpoint went. */
  const checkpointed = new Map<string, number>()
  let copied: Copy = { acknowledged: [], wal: null }
  const counts = { postings: 0, reversals: 0, cuts: 0 }

  /** Never the same file twice: the driver lets go of one only when its garbage is collected. */
  async function inNewFile<Result>(work: (path: string) => Promise<Result>): Promise<Result> {
    const path = join(stage.folder, `copy-${++files}.db`)
    const result = await work(path)
    if (problems.length === 0) removeDatabase(path)
    return result
  }

  return {
    copy() {
      // Whatever has been heard was committed before this line.
      const acknowledged = readLog(log.path, log.count)
      removeDatabase(killed)
      copyDatabase(stage.database, killed, { index: true })
      const wal = readWal(killed)
      if (wal) {
        const reached = Math.max(wal.checkpointed, checkpointed.get(wal.salt) ?? 0)
        checkpointed.set(wal.salt, reached)
        copied = { acknowledged, wal: { ...wal, checkpointed: reached } }
      } else {
        copied = { acknowledged, wal }
      }
    },
    async examine() {
      const { acknowledged, wal } = copied
      const { problems: found, journal } = await inNewFile(async (path) => {
        copyDatabase(killed, path)
        return compare(path, acknowledged)
      })
      problems.push(...found)
      counts.postings = journal.length
      counts.reversals = journal.filter((line) => line.includes('"kind":"reverse"')).length
      let cuts = 0
      for (; cuts < cutsPerKill; cuts++) {
        const end = wal && someCut(wal, dice)
        if (wal === null || end === null) break
        const tail = dice.pick(TAILS)
        const given = { from: killed, wal, end, tail, acknowledged, journal }
        problems.push(...(await inNewFile((to) => compareCut({ ...given, to }))))
      }
      counts.cuts += cuts
      const verdict = problems.length === 0 ? 'all there, verified' : `${problems.length} problems`
      return `${acknowledged.length} acknowledged, ${journal.length} postings, ${cuts} cuts: ${verdict}`
    },
    counts: () => counts,
  }
}
