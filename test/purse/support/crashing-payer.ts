/** Pays one invoice and kills itself (kill -9) before or after one of its commits, if it is told to. */
import { readFileSync } from 'node:fs'
import type { Db } from '../../../src/db/db.ts'
import { payInvoice } from '../../../src/purse/pay.ts'
import type { SignedInvoice } from '../../../src/signed-invoice.ts'
import { openTestPurse, settingsOf } from './fixture.ts'

export interface CrashPlan {
  readonly config: object
  readonly dataDir: string
  readonly signed: SignedInvoice
  /** The commit to die at, 1 the first. */
  readonly commit?: number
  readonly when?: 'before' | 'after'
}

const plan = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as CrashPlan

function dying(db: Db): Db {
  let commits = 0
  const die = (when: CrashPlan['when']) => {
    if (commits === plan.commit && when === plan.when) process.kill(process.pid, 'SIGKILL')
  }
  return {
    ...db,
    async commit(statements) {
      commits += 1
      die('before')
      const rows = await db.commit(statements)
      die('after')
      return rows
    },
  }
}

const purse = await openTestPurse(settingsOf(plan.config, plan.dataDir), { wrap: dying })
await payInvoice(purse, { signed: plan.signed })
await purse.close()
