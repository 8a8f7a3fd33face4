import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { PATIENCE_MS } from './test/support/patience.ts'

export default defineConfig({
  test: {
    dir: 'test',
    include: ['**/*.test.ts'],
    pool: 'forks',
    // Two cores, and most files start real nodes.
    maxWorkers: 2,
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
