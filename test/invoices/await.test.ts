import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { InvoiceView } from '../../src/bursar.ts'
import { statement } from '../../src/db/db.ts'
import { awaitPayment } from '../../src/invoices/await.ts'
import { createChanges } from '../../src/invoices/changes.ts'
import type { InvoiceContext } from '../../src/invoices/context.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { LOOK_MS } from '../../src/invoices/looks.ts'
import { settle } from '../../src/invoices/settle.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { turns } from '../support/runtime.ts'
import { blockAt, openTill, type StepParts, stepTo, type Till, transferTo } from './till.ts'

let till: Till
let invoice: InvoiceView
beforeEach(async () => {
  till = await openTill()
  await till.account('acc')
  await till.seedCursor('local')
  invoice = await createInvoice(till.ctx, { account: 'acc', rail: 'local:ETH', credits: '100' })
})
afterEach(() => till.close())

const wait = (over: object = {}) =>
  awaitPayment(till.ctx, { account: 'acc', invoice: invoice.id, timeoutMs: PATIENCE_MS, ...over })
const book = async (parts: StepParts) =>
  settle(till.ctx, till.chain('local'), stepTo(parts), await till.lease('local'))
const paid = () =>
  transferTo(invoice.address, BigInt(invoice.amount), { block: blockAt(101, Date.now(), 'main') })

describe('waiting for a payment', () => {
  it('reports each change and ends with the payment', async () => {
    const seen: string[] = []
    let shown = Promise.withResolvers<void>()
    const waiting = wait({
      onProgress(view: InvoiceView) {
        seen.push(`${view.state} ${view.payments[0]?.confirmations ?? 0}`)
        shown.resolve()
      },
    })
    const steps = [{ height: 101, transfers: [paid()] }, { height: 102 }, { height: 103 }]
    for (const step of steps) {
      await shown.promise
      shown = Promise.withResolvers()
      await book(step)
    }
    await expect(waiting).resolves.toMatchObject({ timed_out: false, invoice: { state: 'paid' } })
    expect(seen).toEqual(['open 0', 'processing 1', 'processing 2', 'paid 3'])
  })

  it('notices what another process has settled', async () => {
    const other = await openTill({ dir: till.dir })
    const first = Promise.withResolvers<void>()
    const waiting = wait({ onProgress: () => first.resolve() })
    await first.promise
    const step = stepTo({ height: 110, transfers: [paid()] })
    await settle(other.ctx, other.chain('local'), step, await other.lease('local'))
    await expect(waiting).resolves.toMatchObject({ timed_out: false, invoice: { state: 'paid' } })
    await other.close()
  })

  it('costs no more when many wait: one look for all of them', async () => {
    const looks: PromiseWithResolvers<void>[] = []
    let asked = 0
    const ctx: InvoiceContext = {
      ...till.ctx,
      changes: createChanges(),
      db: {
        ...till.db,
        query: (sql, args) => {
          asked++
          return till.db.query(sql, args)
        },
      },
      runtime: {
        ...till.ctx.runtime,
        sleep: (ms, signal) => {
          const due = Promise.withResolvers<void>()
          signal?.addEventListener('abort', () => due.reject(new Error('ended')))
          if (ms === LOOK_MS) looks.push(due)
          return due.promise
        },
      },
    }
    const ids = [invoice.id]
    while (ids.length < 40) {
      ids.push((await createInvoice(ctx, { account: 'acc', rail: 'local:ETH', credits: '100' })).id)
    }
    const views: string[] = []
    const stop = new AbortController()
    const waits = ids.map((id) =>
      awaitPayment(ctx, {
        account: 'acc',
        invoice: id,
        timeoutMs: 3_600_000,
        signal: stop.signal,
        onProgress: ({ state }) => views.push(state),
      }).catch((error: unknown) => error),
    )
    const looked = async () => {
      const before = looks.length
      looks.at(-1)?.resolve()
      while (looks.length === before) await turns(1)
      // Whoever was told looks for itself.
      for (let since = -1; since !== asked; await turns(20)) since = asked
    }
    while (views.length < ids.length) await turns(1)
    await looked()
    const before = asked
    for (let round = 0; round < 10; round++) await looked()
    expect(asked - before).toBe(10 * 3)
    await book({ height: 101, transfers: [paid()] })
    await looked()
    expect(views).toHaveLength(ids.length + 1)
    expect(views.at(-1)).toBe('processing')
    // Nobody is told but those whom it concerns.
    expect(asked - before).toBeLessThan(11 * 3 + 10)
    stop.abort(new Error('gone'))
    await Promise.all(waits)
    expect(looks).toHaveLength(13)
  })

  it('is bounded, and safe to repeat', async () => {
    // Waiting takes no time, but the clock goes on.
    let at = Date.now()
    const slept: number[] = []
    const sleep = async (ms: number, signal?: AbortSignal) => {
      // Nobody looks for others here.
      if (ms === LOOK_MS) return till.ctx.runtime.sleep(3_600_000, signal)
      slept.push(ms)
      at += ms
    }
    const runtime = { ...till.ctx.runtime, now: () => at, sleep }
    const input = { account: 'acc', invoice: invoice.id, timeoutMs: 20_000 }
    await expect(awaitPayment({ ...till.ctx, runtime }, input)).resolves.toMatchObject({
      timed_out: true,
      invoice: { state: 'open' },
    })
    expect(slept).toEqual([15_000, 5_000])
    await expect(wait({ timeoutMs: 0 })).resolves.toMatchObject({ timed_out: true })
    for (const timeoutMs of [-1, Number.NaN, Number.POSITIVE_INFINITY, 86_400_000]) {
      await expect(wait({ timeoutMs })).rejects.toMatchObject({ code: 'invalid_request' })
    }
  })

  it('ends when it is aborted, before or while it waits', async () => {
    const reason = new Error('gone')
    await expect(wait({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const controller = new AbortController()
    const waiting = wait({ signal: controller.signal, onProgress: () => controller.abort(reason) })
    await expect(waiting).rejects.toThrow()
  })

  it('is for so many at once of one account, and others wait all the same', async () => {
    const { id } = await till
      .account('other')
      .then(() => createInvoice(till.ctx, { account: 'other', rail: 'local:ETH', credits: '100' }))
    const controller = new AbortController()
    const waits = Array.from({ length: 100 }, () => wait({ signal: controller.signal }))
    for (const each of waits) each.catch(() => undefined)
    await expect(wait({ timeoutMs: 0 })).rejects.toMatchObject({
      code: 'rate_limited',
      details: { retry_after_ms: 5_000 },
    })
    await expect(wait({ account: 'other', invoice: id, timeoutMs: 0 })).resolves.toMatchObject({
      timed_out: true,
    })
    controller.abort(new Error('gone'))
    await Promise.allSettled(waits)
    await expect(wait({ timeoutMs: 0 })).resolves.toMatchObject({ timed_out: true })
  })

  it('is for the account alone', async () => {
    await till.account('other')
    await expect(wait({ account: 'other' })).rejects.toMatchObject({ code: 'not_found' })
  })

  it('ends when the lock has ended with nothing on the way, but not while something is', async () => {
    const past = BigInt(Date.now() - 60_000)
    await till.db.commit([statement('UPDATE invoice SET expires_at = ?', [past])])
    await expect(wait()).resolves.toMatchObject({ timed_out: false, invoice: { state: 'expired' } })
    await book({ height: 101, transfers: [{ ...paid(), amount: 10n ** 15n }] })
    await expect(wait({ timeoutMs: 100 })).resolves.toMatchObject({
      timed_out: true,
      invoice: { state: 'expired', payments: [{ state: 'confirming' }] },
    })
  })
})
