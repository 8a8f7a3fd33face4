/**
 * A service that meters itself, over the ledger: takes commands as JSON lines on stdin, answers each on stdout once it
 * is acknowledged. A hold's key makes a repeated one the same; the first outcome of a hold counts.
 */
import { createInterface } from 'node:readline'
import { openDb } from '../../../src/db/client.ts'
import { BursarError } from '../../../src/errors.ts'
import { hold } from '../../../src/ledger/hold.ts'
import { openLedger } from '../../../src/ledger/open.ts'
import { systemRuntime } from '../../../src/runtime.ts'
import type { TellerAnswer, TellerCommand } from '../teller.ts'

const [url = ''] = process.argv.slice(2)
const runtime = systemRuntime('silent')
const ledger = openLedger({ db: await openDb({ url, runtime }), runtime })

async function run(command: TellerCommand): Promise<TellerAnswer> {
  if (command.kind !== 'hold') {
    const { ref, account, kind } = command
    const cost = kind === 'capture' ? BigInt(command.micro) : 0n
    const changed = await ledger.changes.add({ kind, ref, account, cost, outcome: {} })
    if (changed.kind !== 'closed') throw new Error(`${ref} was answered with ${changed.kind}`)
    return { ref, charged: String(changed.settled.charged) }
  }
  const result = await hold(ledger, {
    account: command.account,
    amount: BigInt(command.micro),
    lapseCharge: BigInt(command.lapseMicro),
    lifetimeMs: 3_600_000,
    idempotency: { route: 'meter', key: command.key, bodyHash: command.micro },
  })
  if (result.kind === 'replayed') throw new Error(`the key ${command.key} has an answer`)
  return { ref: result.kind === 'held' ? result.hold.ref : result.ref, charged: '0' }
}

process.stdout.write('{"ready":true}\n')
for await (const line of createInterface(process.stdin)) {
  const { id, ...command } = JSON.parse(line) as TellerCommand & { id: number }
  run(command).then(
    (answer) => process.stdout.write(`${JSON.stringify({ id, answer })}\n`),
    (thrown: unknown) => {
      const refused = thrown instanceof BursarError ? thrown.code : String(thrown)
      process.stdout.write(`${JSON.stringify({ id, refused })}\n`)
    },
  )
}
