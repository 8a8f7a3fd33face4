/** Bursar's own ledger, as the till opens it. */
import { openDb } from '../../src/db/client.ts'
import { hold } from '../../src/ledger/hold.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { systemRuntime } from '../../src/runtime.ts'
import {
  BODY_HASH,
  type Engine,
  LIFETIME_MS,
  MODEL,
  PRICE,
  RESPONSE,
  ROUTE,
  UPSTREAM,
  USAGE,
} from './shape.ts'

export async function openBursar(file: string): Promise<Engine> {
  const runtime = systemRuntime('warn')
  const ledger = openLedger({ db: await openDb({ url: `file:${file}`, runtime }), runtime })
  const receipt = { route: ROUTE, model: MODEL, upstream: UPSTREAM, price: PRICE }
  const outcome = { usage: USAGE, response: RESPONSE }
  return {
    async pair({ account, amount, cost, key }) {
      const opened = await hold(ledger, {
        account,
        amount,
        lifetimeMs: LIFETIME_MS,
        receipt,
        idempotency: { route: ROUTE, key, bodyHash: BODY_HASH },
      })
      if (opened.kind !== 'held') throw new Error(`The hold was ${opened.kind}.`)
      await opened.hold.capture(cost, outcome)
    },
    close: () => ledger.close(),
  }
}
