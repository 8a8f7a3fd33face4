/**
 * Writes through commit() until it is killed, or `count` rows; in a thread after `threadAfter` commits. Prints `busy`
 * whenever it has to wait for another process, and `ack <id>` for each row that commit() acknowledged. `among others`:
 * it leaves the lock alone for a moment after each row, and asks again when the lock never was free in its own moments.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { openDb } from '../../../src/db/client.ts'
import { statement } from '../../../src/db/db.ts'
import { BursarError } from '../../../src/errors.ts'
import { systemRuntime } from '../../../src/runtime.ts'
import { items } from '../items.ts'

const [url = '', first = '0', count = '20', threadAfter = '1000', manner = 'alone'] = process.argv.slice(2)
const amongOthers = manner === 'among others'
const real = systemRuntime('silent')
const runtime = {
  ...real,
  sleep(ms: number) {
    process.stdout.write('busy\n')
    return real.sleep(ms)
  },
}
process.stdout.write('ready\n')
const db = await openDb({
  url,
  runtime,
  migrations: items,
  busyTimeoutMs: 0,
  threadAfter: Number(threadAfter),
})
for (let id = Number(first); id < Number(first) + Number(count); id++) {
  await write(id)
  process.stdout.write(`ack ${id}\n`)
  if (amongOthers) await delay(1)
}
process.stdout.write('done\n')
await delay(60_000)

async function write(id: number): Promise<void> {
  for (;;) {
    try {
      await db.commit([statement('INSERT INTO item (id) VALUES (?)', [BigInt(id)])])
      return
    } catch (thrown) {
      const refused = thrown instanceof BursarError && thrown.code === 'database_unavailable'
      if (!amongOthers || !refused) throw thrown
    }
  }
}
