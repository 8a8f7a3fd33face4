/**
 * Holds and captures on a shared ledger, some at a time, until it is refused or killed. Each line tells what was
 * acknowledged: `held <ref>`, `captured <ref> <charged>`; at the end `done <holds>`.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { openDb } from '../../../src/db/client.ts'
import { BursarError } from '../../../src/errors.ts'
import { hold } from '../../../src/ledger/hold.ts'
import { openLedger } from '../../../src/ledger/open.ts'
import { systemRuntime } from '../../../src/runtime.ts'

const [url = '', account = '', price = '1', agent] = process.argv.slice(2)
const runtime = systemRuntime('silent')
const ledger = openLedger({ db: await openDb({ url, runtime, busyTimeoutMs: 20 }), runtime })
process.stdout.write('ready\n')

let holds = 0
let empty = false

async function caller(): Promise<void> {
  while (!empty) {
    try {
      const result = await hold(ledger, {
        account,
        ...(agent === undefined ? {} : { agent }),
        amount: BigInt(price),
        lifetimeMs: 3_600_000,
        receipt: { route: 'call_model', model: 'small', upstream: 'local', price: '{}' },
        idempotency: { route: 'call_model', key: runtime.id('key'), bodyHash: 'aa' },
      })
      if (result.kind !== 'held') throw new Error(result.kind)
      holds++
      process.stdout.write(`held ${result.hold.ref}\n`)
      const { charged } = await result.hold.capture(BigInt(price), { response: '{}' })
      process.stdout.write(`captured ${result.hold.ref} ${charged}\n`)
    } catch (thrown) {
      if (
        !(thrown instanceof BursarError) ||
        !/^(insufficient_credits|allowance_exceeded)$/.test(thrown.code)
      )
        throw thrown
      empty = true
    }
  }
}

await Promise.all(Array.from({ length: 16 }, caller))
process.stdout.write(`done ${holds}\n`)
await delay(60_000)
