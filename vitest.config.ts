import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'
import { PATIENCE_MS } from './test/support/patience.ts'

/** Those that take long begin first: one that is left for last keeps a single worker busy while the others are done. */
const LONG = [
  'story/clients',
  'crash/crash',
  'commands/',
  'crash/backup',
  'mcp/stdio',
  'story/',
  'purse/process',
  'purse/crash',
  'http/server',
]

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const found = LONG.findIndex((part) => moduleId.includes(`/test/${part}`))
      return found < 0 ? LONG.length : found
    }
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b))
  }
}

export default defineConfig({
  test: {
    dir: 'test',
    include: ['**/*.test.ts'],
    pool: 'forks',
    setupFiles: ['test/support/seed.ts'],
    // One more than the cores of a small machine: much of the time is spent waiting for other processes.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    // One line a file; what failed comes last.
    slowTestThreshold: 3 * PATIENCE_MS,
    silent: process.env['CI'] === 'true' ? 'passed-only' : false,
    // Longer than what tests wait for by themselves: that says what did not come.
    testTimeout: 3 * PATIENCE_MS,
    hookTimeout: 3 * PATIENCE_MS,
    // Programs that tests start: what one has compiled is not compiled again by the next.
    env: {
      NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/bursar-compiled', import.meta.url)),
    },
    teardownTimeout: PATIENCE_MS,
    expect: { poll: { timeout: PATIENCE_MS, interval: 20 } },
  },
})
