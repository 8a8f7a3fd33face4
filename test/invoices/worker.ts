/**
 * A till process of its own, for tests that need several or kill one. It does what its one argument (JSON) says:
 * creates invoices and prints their addresses, or watches a chain until it is killed.
 */
import { createInvoice } from '../../src/invoices/create.ts'
import { watchChain } from '../../src/invoices/watch.ts'
import { openTill } from './till.ts'

interface Job {
  readonly dir: string
  readonly config: Record<string, unknown>
  readonly create?: { readonly count: number; readonly rail: string; readonly key?: string }
  /** The chain to watch. */
  readonly watch?: string
  /** How far this process's clock is ahead, milliseconds. */
  readonly aheadMs?: number
  /** Where its clock stands still: no lease lapses. */
  readonly at?: number
}

const job = JSON.parse(process.argv[2] ?? '') as Job
const { aheadMs = 0, at } = job
const till = await openTill({
  dir: job.dir,
  config: job.config,
  runtime: { now: () => at ?? Date.now() + aheadMs },
})
if (job.create) {
  const { count, rail, key } = job.create
  const invoices = await Promise.all(
    Array.from({ length: count }, () =>
      createInvoice(till.ctx, {
        account: 'acc',
        rail,
        credits: '100',
        ...(key === undefined ? {} : { idempotencyKey: key }),
      }),
    ),
  )
  await till.close()
  console.log(JSON.stringify(invoices.map(({ id, address }) => ({ id, address }))))
}
if (job.watch !== undefined) {
  const watch = watchChain(till.ctx, till.chain(job.watch), new AbortController().signal)
  await watch.ready
  console.log('watching')
  await watch.ended
}
