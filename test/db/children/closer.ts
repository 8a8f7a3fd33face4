/** Closes its database again and again while the thread that writes is at some stage of its start. */
import { setTimeout as delay } from 'node:timers/promises'
import { openDb } from '../../../src/db/client.ts'
import { statement } from '../../../src/db/db.ts'
import { systemRuntime } from '../../../src/runtime.ts'
import { items } from '../items.ts'

const [url = ''] = process.argv.slice(2)
for (let stage = 0; stage < 25; stage++) {
  const db = await openDb({ url, runtime: systemRuntime('silent'), migrations: items, threadAfter: 1 })
  const until = performance.now() + stage * 8
  do {
    await db.commit([statement('DELETE FROM item')])
    await delay(1)
  } while (performance.now() < until)
  await db.close()
}
process.stdout.write('closed\n')
