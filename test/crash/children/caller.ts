/**
 * A whole till in a process of its own, with several callers that spend one account until there is nothing left. Prints
 * `ready`, waits for a line, and then `answered <how many>`. Arguments: configuration, account, number of callers.
 */
import { once } from 'node:events'
import { openTill } from '../../../src/app.ts'
import { readSettings } from '../../../src/config.ts'
import { BursarError } from '../../../src/errors.ts'
import { systemRuntime } from '../../../src/runtime.ts'

const [path = '', name = '', callers = '8'] = process.argv.slice(2)
const runtime = systemRuntime('silent')
const till = await openTill({
  settings: readSettings({ path, env: process.env, cwd: '/', folders: [] }),
  runtime,
})
const bursar = await till.bursarOf(name)
process.stdout.write('ready\n')
await once(process.stdin, 'data')

let answered = 0

async function caller(): Promise<void> {
  for (;;) {
    try {
      await bursar.callModel({ model: 'fixed', messages: [{ role: 'user', content: 'Good day?' }] })
      answered++
    } catch (thrown) {
      if (!(thrown instanceof BursarError)) throw thrown
      if (thrown.code === 'upstream_error') continue
      if (thrown.code !== 'insufficient_credits') throw thrown
      // What is held now may still come back.
      if (thrown.details['reason'] === 'empty') return
      await runtime.sleep(20)
    }
  }
}

await Promise.all(Array.from({ length: Number(callers) }, caller))
process.stdout.write(`answered ${answered}\n`)
process.stdin.unref()
await till.close()
