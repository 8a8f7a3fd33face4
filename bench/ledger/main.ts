/**
 * `npm run bench -- ledger`: hold + capture pairs a second, Bursar's ledger beside the same ledger by hand on
 * better-sqlite3. Each measurement is a process of its own; the systems take turns; medians of the rounds are compared.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { install } from '../install.ts'
import { type Case, figureOf, type Result, report } from './report.ts'
import { removeCopy, workingCopy } from './seed.ts'
import { ACCOUNTS, type Job, type Measured, type System } from './shape.ts'

const HELP = `npm run bench -- ledger [options]
  --quick        one round of short measurements, 1 and 256 callers, 100000 rows
  --rows N       only with a journal of N rows; by default 100000 and 10000000 (about 5 GB on disk, kept as a seed)
  --callers N    only with N callers; by default 1, 16, 256 and 1024
  --rounds N     rounds; the medians are compared (5)
  --json         the result as one JSON object on stdout`

const run1 = promisify(execFile)
const child = fileURLToPath(new URL('child.ts', import.meta.url))

export async function run(args: string[]): Promise<void> {
  const { values: options } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      rows: { type: 'string' },
      rounds: { type: 'string' },
      callers: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (options.help) {
    console.log(HELP)
    return
  }
  const quick = options.quick
  const sizes = options.rows ? [Number(options.rows)] : quick ? [100_000] : [100_000, 10_000_000]
  const rounds = Number(options.rounds ?? (quick ? 1 : 5))
  const only = options.callers === undefined ? undefined : Number(options.callers)
  if (![...sizes, rounds, only ?? 1].every((n) => Number.isSafeInteger(n) && n > 0)) throw new Error(HELP)
  await install('better-sqlite3')
  const cases = casesOf(sizes, quick, only)
  const times = quick ? { warmMs: 800, measureMs: 1_000 } : { warmMs: 1_500, measureMs: 2_000 }
  const result = await measureAll(cases, rounds, times)
  console.log(options.json ? JSON.stringify(result, null, 2) : report(result))
}

function casesOf(sizes: readonly number[], quick: boolean, only: number | undefined): Case[] {
  const callers = only ? [only] : quick ? [1, 256] : [1, 16, 256, 1_024]
  return sizes.flatMap((rows) =>
    callers.flatMap((count) => [1, ACCOUNTS].map((accounts) => ({ rows, callers: count, accounts }))),
  )
}

/** Each system has its own copy of the history and keeps it: the journal grows by what was measured before. */
async function measureAll(
  cases: readonly Case[],
  rounds: number,
  times: Pick<Job, 'warmMs' | 'measureMs'>,
): Promise<Result> {
  const measured = new Map<string, Measured[]>()
  for (const rows of new Set(cases.map((each) => each.rows))) {
    const files = new Map<System, string>()
    try {
      for (const system of ['bursar', 'grouped', 'single'] as const) {
        files.set(system, await workingCopy(rows, system))
      }
      for (let round = 1; round <= rounds; round++) {
        console.error(`${rows} rows, round ${round} of ${rounds} ...`)
        for (const each of cases.filter((one) => one.rows === rows)) {
          for (const system of systemsOf(each, round)) {
            const job = { ...times, system, file: files.get(system) ?? '', ...each }
            const key = figureOf(system, each)
            measured.set(key, [...(measured.get(key) ?? []), await measure(job)])
          }
        }
      }
    } finally {
      for (const file of files.values()) await removeCopy(file)
    }
  }
  return { cases, measured: Object.fromEntries(measured), rounds, node: process.version }
}

/** Who goes first changes with the round. One write a transaction is only asked for where it is compared. */
function systemsOf({ callers }: Case, round: number): System[] {
  const systems: System[] = callers === 256 ? ['bursar', 'grouped', 'single'] : ['bursar', 'grouped']
  return round % 2 === 0 ? systems.toReversed() : systems
}

async function measure(job: Job): Promise<Measured> {
  const { stdout } = await run1(process.execPath, [child, JSON.stringify(job)])
  return JSON.parse(stdout) as Measured
}
