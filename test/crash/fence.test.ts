/**
 * A watcher that is stopped by the operating system between reading a step and committing it, for longer than its lease,
 * and then goes on as if nothing had been: it must not write.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { InvoiceView } from '../../src/bursar.ts'
import { acquireLease } from '../../src/db/lease.ts'
import { awaitPayment } from '../../src/invoices/await.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { openTill, type Till } from '../invoices/till.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { printed, type Started, start } from '../support/process.ts'
import { isStill } from './still.ts'

/** More than a lease. */
const LATER_MS = 60_000

let dir: string
let anvil: Anvil
let till: Till
let config: Record<string, unknown>
let running: Started[]
let stopped: Started
let invoice: InvoiceView

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'bursar-fence-'))
  running = []
  anvil = await startAnvil()
  const local = {
    rpc: [anvil.url],
    chain_id: 31337,
    assets: ['ETH'],
    confirmations: [{ blocks: 1 }],
    poll_ms: 50,
  }
  config = { chains: { local } }
  till = await openTill({ dir, config })
  await till.account('acc')
  stopped = run('children/watcher.ts', { dir, config })
  await printed(stopped, /watching/)
  invoice = await createInvoice(till.ctx, { account: 'acc', rail: 'local:ETH', credits: '100' })
  await anvil.send({ to: invoice.address, value: BigInt(invoice.amount) })
  await printed(stopped, /stopping/)
  await isStill(stopped.child)
})
afterEach(async () => {
  await Promise.all(running.map((child) => child.stop('SIGKILL')))
  await till?.close()
  await anvil?.stop()
  rmSync(dir, { recursive: true, force: true })
})

function run(script: string, job: object): Started {
  const path = fileURLToPath(new URL(script, import.meta.url))
  const child = start(process.execPath, ['--no-warnings', path, JSON.stringify(job)])
  running.push(child)
  return child
}

/** Everything that a watcher writes. */
async function written(): Promise<unknown> {
  const tables = ['payment', 'posting', 'lot', 'account', 'outbox', 'chain_cursor', 'lease']
  return Promise.all(tables.map((table) => till.db.query(`SELECT * FROM ${table}`)))
}

const credited = () =>
  till.db.query<{ ref: string; available: bigint }>(
    "SELECT ref, available FROM posting WHERE kind <> 'hold' ORDER BY id",
  )

async function paid(): Promise<void> {
  const done = await awaitPayment(till.ctx, { account: 'acc', invoice: invoice.id, timeoutMs: PATIENCE_MS })
  expect(done.invoice.state).toBe('paid')
}

test('the fence alone keeps it from writing: nobody else has changed anything', async () => {
  const later = { ...till.ctx.runtime, now: () => Date.now() + LATER_MS }
  const lease = await acquireLease(
    { db: till.db, runtime: later },
    { name: 'watch:local', holder: 'successor', ttlMs: LATER_MS },
  )
  expect(lease?.fence).toBe(2n)
  const before = await written()
  stopped.child.kill('SIGCONT')
  await printed(stopped, /continued[^]*warned conflict/)
  expect(await written()).toEqual(before)
  expect(await credited()).toEqual([])

  // Once the lease is free again, the same process reads the same step again, and credits it once.
  await lease?.release()
  await paid()
  expect((await credited()).map(({ available }) => available)).toEqual([100_000_000n])
})

test('another process has credited the payment meanwhile: it stays credited once', async () => {
  const successor = run('../invoices/worker.ts', { dir, config, watch: 'local', aheadMs: LATER_MS })
  await printed(successor, /watching/)
  await paid()
  const before = await credited()
  expect(before.map(({ available }) => available)).toEqual([100_000_000n])
  stopped.child.kill('SIGCONT')
  await printed(stopped, /continued[^]*warned conflict/)
  expect(await credited()).toEqual(before)
  expect(await till.db.query('SELECT fence FROM lease')).toEqual([{ fence: 2n }])
  expect(await till.available('acc')).toBe(100_000_000n)
})
