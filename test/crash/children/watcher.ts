/**
 * Watches a chain, and stands still (SIGSTOP) at the worst moment: a step has been read and its payments looked up; what
 * comes next is the commit. Argument: JSON {dir, config}.
 */
import { watchChain } from '../../../src/invoices/watch.ts'
import { fixedRates } from '../../../src/rates/fixed.ts'
import { systemRuntime } from '../../../src/runtime.ts'
import { openTill } from '../../invoices/till.ts'

const { dir, config } = JSON.parse(process.argv[2] ?? '') as { dir: string; config: Record<string, unknown> }
const rates = fixedRates({ ETH: '2500' }, Date.now)
let stops = 1
const till = await openTill({
  dir,
  config,
  rates: () => ({
    quote(symbol) {
      if (stops-- > 0) {
        process.stdout.write('stopping\n')
        process.kill(process.pid, 'SIGSTOP')
        process.stdout.write('continued\n')
      }
      return rates.quote(symbol)
    },
  }),
  runtime: {
    log: {
      ...systemRuntime('silent').log,
      warn: (facts) => process.stdout.write(`warned ${(facts as { code?: string }).code}\n`),
    },
  },
})
const watch = watchChain(till.ctx, till.chain('local'), new AbortController().signal)
await watch.ready
process.stdout.write('watching\n')
await watch.ended
