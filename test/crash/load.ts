/** The till under load: both programs, their callers, and payments on the chain, until it is told to stop. */
import { join } from 'node:path'
import { createLog } from './acknowledged.ts'
import { askForInvoices, type Buyers, callModels, meter } from './buyers.ts'
import { createDice, type Dice } from './dice.ts'
import { createLives } from './lives.ts'
import { type Invoice, type PayerCounts, pay } from './payer.ts'
import { ACCOUNTS, type Stage } from './stage.ts'

/** How far each life's clock is ahead of the one before: past the lease of whoever was killed. */
const LIFE_MS = 20_000

/** `serve` is `bursar serve`, `teller` a service on the same ledger. */
export type Victim = 'both' | 'serve' | 'teller'

export interface Load {
  readonly buyers: Buyers
  /** Starts the one that was killed, or both, further ahead in time. */
  restart(victim: Victim, aheadMs?: number): void
  /** Lets everybody finish what they have begun; both programs must live. */
  stop(): Promise<PayerCounts>
}

export function startLoad(stage: Stage, dice: Dice): Load {
  let ahead = 0
  const stopping = new AbortController()
  const invoices: Invoice[] = []
  const buyers: Buyers = {
    stage,
    log: createLog(join(stage.folder, 'acknowledged.jsonl'), stage.database),
    till: createLives(() => stage.serve(ahead)),
    teller: createLives(() => stage.teller(ahead)),
    invoices,
    interrupted: [],
    answered: [],
    outcomes: new Map(),
    metered: { alice: 0n, bob: 0n },
    problems: [],
    tally: new Map(),
    stopping: stopping.signal,
  }
  stage.upstream.onHit((key) => {
    buyers.log.add({ kind: 'dispatched', key })
    const hits = stage.upstream.hits.get(key) ?? 0
    if (hits > 1) buyers.problems.push(`call ${key} reached the upstream ${hits} times`)
  })
  const own = (): Dice => createDice(dice.between(0, 2 ** 31))
  const paying = pay(stage, own(), invoices, stopping.signal)
  const loops = ACCOUNTS.flatMap((name) => [
    callModels(buyers, name, own()),
    callModels(buyers, name, own()),
    askForInvoices(buyers, name, own()),
    meter(buyers, name, own()),
    meter(buyers, name, own()),
  ])
  const noted = [paying, ...loops].map((loop) =>
    loop.catch((thrown: unknown) => void buyers.problems.push(`the driver failed: ${String(thrown)}`)),
  )
  return {
    buyers,
    restart(victim, aheadMs = LIFE_MS) {
      ahead += aheadMs
      if (victim !== 'teller') buyers.till.start()
      if (victim !== 'serve') buyers.teller.start()
    },
    async stop() {
      stopping.abort()
      await Promise.all(noted)
      return paying
    },
  }
}
