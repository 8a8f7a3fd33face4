/** `npm run bench -- gateway --memory`: a hundred thousand calls, and what the till's process uses on the way. */
import type { Load, Memory, Target } from './targets.ts'

const CALLS = 100_000
const STEPS = 10
const CONNECTIONS = 32

interface MemoryAt extends Memory {
  readonly calls: number
}

export async function measureMemory(
  target: Target,
  ask: Load,
  { json, quick }: { json: boolean; quick: boolean },
): Promise<void> {
  try {
    print(await steps(target, ask, quick ? CALLS / 10 : CALLS), json)
  } finally {
    await target.stop()
  }
}

async function steps(target: Target, ask: Load, most: number): Promise<MemoryAt[]> {
  const rows: MemoryAt[] = []
  let calls = 0
  for (let n = 0; n <= STEPS; n++) {
    // Whole and streamed in turns; the first step is for compilers and caches.
    const job = {
      connections: CONNECTIONS,
      warmUpMs: 0,
      ms: 3_600_000,
      most: most / STEPS,
      streamed: n % 2 === 1,
    }
    const { total, failed, failure } = await ask(target, job)
    if (failed > 0) throw new Error(`${failed} calls failed: ${failure}`)
    calls += total
    if (target.memory) rows.push({ calls, ...(await target.memory()) })
  }
  return rows
}

function print(rows: readonly MemoryAt[], json: boolean): void {
  if (json) return console.log(JSON.stringify(rows, null, 2))
  console.log('| calls | heap, MB | external, MB | RSS, MB |\n| ---: | ---: | ---: | ---: |')
  for (const { calls, heapUsed, external, rss } of rows) {
    console.log(`| ${calls} | ${mega(heapUsed)} | ${mega(external)} | ${mega(rss)} |`)
  }
}

function mega(bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}
