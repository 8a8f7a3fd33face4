/**
 * Seals a journal as a till does, on a clock that runs forty times as fast since the given time, until it is killed.
 * Prints `sealed <number> <hash>` for each seal that it made. Arguments: database, Unix milliseconds.
 */

import { openDb } from '../../../src/db/client.ts'
import { openLedger } from '../../../src/ledger/open.ts'
import { keepSealed } from '../../../src/ledger/sealer.ts'
import { type Log, type Runtime, systemRuntime } from '../../../src/runtime.ts'

const FAST = 40
const [url = '', from = ''] = process.argv.slice(2)
const real = systemRuntime('silent')
const start = Number(from)
const log: Log = {
  ...real.log,
  info(facts, message) {
    const { seal, hash } = facts as { seal: number; hash: string }
    if (message === 'sealed') process.stdout.write(`sealed ${seal} ${hash}\n`)
  },
}
const runtime: Runtime = {
  ...real,
  log,
  now: () => start + (real.now() - start) * FAST,
  sleep: (ms, signal) => real.sleep(ms / FAST, signal),
}
const db = await openDb({ url, runtime })
process.stdout.write('ready\n')
await keepSealed(openLedger({ db, runtime }), new AbortController().signal)
