/** Several till processes on one database, some of which die. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { awaitPayment } from '../../src/invoices/await.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { printed, type Started, start } from '../support/process.ts'
import { openTill, type Till } from './till.ts'

const worker = fileURLToPath(new URL('worker.ts', import.meta.url))

let dir: string
let till: Till
let running: Started[]
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'bursar-processes-'))
  running = []
})
afterEach(async () => {
  await Promise.all(running.map((child) => child.stop('SIGKILL')))
  await till?.close()
  rmSync(dir, { recursive: true, force: true })
})

function run(job: object): Started {
  const child = start(process.execPath, [
    '--no-warnings',
    worker,
    JSON.stringify({ dir, config: {}, ...job }),
  ])
  running.push(child)
  return child
}

async function created(job: object): Promise<{ id: string; address: string }[]> {
  const child = run(job)
  await once(child.child, 'close')
  return JSON.parse(child.output()) as { id: string; address: string }[]
}

describe('invoices created by several processes at once', () => {
  beforeEach(async () => {
    till = await openTill({ dir })
    await till.account('acc')
    await till.seedCursor('local')
    await till.seedCursor('side')
  })

  it('have distinct addresses, without gaps', async () => {
    const jobs = ['local:ETH', 'local:USDC', 'side:ETH'].map((rail) => ({ create: { count: 20, rail } }))
    const invoices = (await Promise.all(jobs.map(created))).flat()
    expect(new Set(invoices.map(({ address }) => address)).size).toBe(60)
    const rows = await till.db.query<{ derivation_index: bigint; address: string }>(
      'SELECT derivation_index, address FROM address ORDER BY derivation_index',
    )
    expect(rows.map((row) => Number(row.derivation_index))).toEqual(Array.from({ length: 60 }, (_, i) => i))
    for (const row of rows) {
      expect(row.address).toBe(till.chain('local').recipient(Number(row.derivation_index)).address)
    }
  })

  it('are one, when they repeat one request', async () => {
    const job = { create: { count: 10, rail: 'local:ETH', key: 'same' } }
    const invoices = (await Promise.all([created(job), created(job)])).flat()
    expect(invoices).toHaveLength(20)
    expect(new Set(invoices.map(({ id }) => id)).size).toBe(1)
  })
})

describe('a watcher that is killed', () => {
  let anvil: Anvil
  beforeEach(async () => {
    anvil = await startAnvil()
  })
  afterEach(() => anvil?.stop())

  it('is followed by another: every payment is credited once', async () => {
    const config = {
      chains: {
        local: {
          rpc: [anvil.url],
          chain_id: 31337,
          assets: ['ETH'],
          confirmations: [{ blocks: 2 }],
          poll_ms: 50,
        },
      },
    }
    till = await openTill({ dir, config })
    await till.account('acc')
    let expected = 0n
    for (let life = 0; life < 3; life++) {
      const invoice = await createInvoice(till.ctx, { account: 'acc', rail: 'local:ETH', credits: '100' })
      // Its predecessor died with the lease: it has to lapse first.
      const child = run({ config, watch: 'local', aheadMs: life * 20_000 })
      await printed(child, /watching/)
      for (let i = 0; i < 4; i++) {
        await anvil.send({ to: invoice.address, value: BigInt(invoice.amount) / 4n })
        expected += 25_000_000n
      }
      // Somewhere in the middle of reading and booking them.
      if (life % 2 === 0) await anvil.mine()
      await child.stop('SIGKILL')
    }
    await anvil.mine(2)
    run({ config, watch: 'local', aheadMs: 100_000 })
    const [last] = await till.db.query<{ id: string }>('SELECT id FROM invoice ORDER BY id DESC LIMIT 1')
    // Another process settles: this one finds out by looking.
    const done = await awaitPayment(till.ctx, {
      account: 'acc',
      invoice: last?.id ?? '',
      timeoutMs: PATIENCE_MS,
    })
    expect(done.invoice.state).toBe('paid')
    expect(await till.available('acc')).toBe(expected)
    expect(await till.posted()).toEqual({ grant: expected })
    const states = await till.db.query(
      'SELECT state, epoch, count(*) AS n FROM payment GROUP BY state, epoch',
    )
    expect(states).toEqual([{ state: 'credited', epoch: 1n, n: 12n }])
  })

  it('two watchers take turns by the lease, and only one of them reads', async () => {
    const config = {
      chains: {
        local: {
          rpc: [anvil.url],
          chain_id: 31337,
          assets: ['ETH'],
          confirmations: [{ blocks: 1 }],
          poll_ms: 50,
        },
      },
    }
    till = await openTill({ dir, config })
    await till.account('acc')
    const job = { config, watch: 'local', at: Date.now() }
    const [first, second] = [run(job), run(job)]
    await Promise.all([printed(first, /watching/), printed(second, /watching/)])
    const invoice = await createInvoice(till.ctx, { account: 'acc', rail: 'local:ETH', credits: '100' })
    await anvil.send({ to: invoice.address, value: BigInt(invoice.amount) })
    const done = await awaitPayment(till.ctx, { account: 'acc', invoice: invoice.id, timeoutMs: PATIENCE_MS })
    expect(done.invoice.state).toBe('paid')
    expect(await till.db.query('SELECT fence FROM lease')).toEqual([{ fence: 1n }])
    expect(await till.available('acc')).toBe(100_000_000n)
  })
})
