/**
 * Writes with the bare driver as an unwary program would: meets SQLITE_BUSY once, goes on, and believes what it is told.
 * Prints `ack <n>` for each INSERT that the driver acknowledged, and dies. The other connection, whose lock it meets, is
 * in the same process only so that nothing (such as a garbage collection) comes between.
 */
import { createClient } from '@libsql/client'

const [url = ''] = process.argv.slice(2)
const other = createClient({ url, concurrency: 1 })
const client = createClient({ url, concurrency: 1, timeout: 0, intMode: 'bigint' })

const lock = await other.transaction('write')
let refused = ''
try {
  await client.batch(['INSERT INTO item (id) VALUES (0)'], 'write')
} catch (error) {
  refused = String(error)
}
await lock.commit()
process.stdout.write(`${refused}\n`)
for (let id = 1n; id <= 20n; id++) {
  await client.execute({ sql: 'INSERT INTO item (id) VALUES (?)', args: [id] })
  process.stdout.write(`ack ${id}\n`)
}
process.kill(process.pid, 'SIGKILL')
