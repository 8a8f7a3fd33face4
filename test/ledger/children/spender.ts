/**
 * Holds and captures on a shared ledger, some at a time, until it is refused or killed. Each line tells what was
 * acknowledged: `held <ref>`, `captured <ref> <charged>`; at the end `done <holds>`. With `together` it says
 * `begun` when it has its first holds, and waits for SIGUSR2 before it goes on.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { openDb } from '../../../src/db/client.ts'
import { BursarError } from '../../../src/errors.ts'
import { hold } from '../../../src/ledger/hold.ts'
import { openLedger } from '../../../src/ledger/open.ts'
import { systemRuntime } from '../../../src/runtime.ts'

const [url = '', account = '', price = '1', agent = '', together] = process.argv.slice(2)
const CALLERS = 16
const runtime = systemRuntime('silent')
const ledger = openLedger({ db: await openDb({ url, runtime, busyTimeoutMs: 20 }), runtime })
process.stdout.write('ready\n')

let holds = 0
let empty = false
const others = Promise.withResolvers<void>()
if (together === undefined) others.resolve()
// The listener alone does not keep a process alive.
const waiting = setInterval(() => undefined, 60_000)
process.once('SIGUSR2', () => others.resolve())
void others.promise.then(() => clearInterval(waiting))

async function caller(): Promise<void> {
  while (!empty) {
    try {
      const result = await hold(ledger, {
        account,
        ...(agent === '' ? {} : { agent }),
        amount: BigInt(price),
        lifetimeMs: 3_600_000,
        receipt: { route: 'call_model', model: 'small', upstream: 'local', price: '{}' },
        idempotency: { route: 'call_model', key: runtime.id('key'), bodyHash: 'aa' },
      })
      if (result.kind !== 'held') throw new Error(result.kind)
      holds++
      process.stdout.write(`held ${result.hold.ref}\n`)
      if (holds === CALLERS) process.stdout.write('begun\n')
      await others.promise
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

await Promise.all(Array.from({ length: CALLERS }, caller))
process.stdout.write(`done ${holds}\n`)
await delay(60_000)
