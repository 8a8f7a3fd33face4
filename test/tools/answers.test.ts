import { describe, expect, test } from 'vitest'
import type { Bursar, InvoiceView, PaymentView } from '../../src/bursar.ts'
import { awaitPayment } from '../../tools/await-payment.ts'
import { createInvoice } from '../../tools/create-invoice.ts'
import { getBalance } from '../../tools/get-balance.ts'
import { getInvoice } from '../../tools/get-invoice.ts'
import { listOffers } from '../../tools/list-offers.ts'
import { payInvoice } from '../../tools/pay-invoice.ts'
import type { ToolContext, ToolProgress } from '../../tools/tool.ts'
import { memoryTill } from '../support/memory-bursar.ts'

const order = { rail: 'ethereum:ETH', pack: 'small' }

function context(
  change: Partial<Bursar> = {},
): ToolContext & { till: ReturnType<typeof memoryTill>; steps: ToolProgress[] } {
  const till = memoryTill()
  const steps: ToolProgress[] = []
  return {
    till,
    steps,
    bursar: { ...till.forAccount('acc_1'), ...change },
    purse: till.purse,
    signal: new AbortController().signal,
    progress: (step) => steps.push(step),
  }
}

/** An invoice in another state than the till in memory can bring about. */
async function changed(change: Partial<InvoiceView>): Promise<ToolContext & { invoice: string }> {
  const ctx = context()
  const view = await ctx.bursar.createInvoice(order)
  const bursar = { ...ctx.bursar, getInvoice: async () => ({ ...view, ...change }) }
  return { ...ctx, bursar, invoice: view.id }
}

const payment = (change: Partial<PaymentView>): PaymentView => ({
  state: 'confirming',
  rail: 'ethereum:ETH',
  amount: '1',
  txid: '0xabc',
  block: 1,
  confirmations: 1,
  confirmations_needed: 3,
  waiting_for: null,
  credits: '0.000000',
  ...change,
})

describe('an invoice', () => {
  test('never carries its signature to an agent', async () => {
    const ctx = context()
    const { data } = await createInvoice.run(ctx, order)
    ctx.till.pay(String(data['id']))
    const answers = [data, (await awaitPayment.run(ctx, { invoice: data['id'] })).data]
    for (const answer of answers) expect(JSON.stringify(answer)).not.toContain('signature')
  })

  test.each([
    ['partial', 'still missing'],
    ['processing', 'await_payment again'],
    ['paid', 'were granted'],
    ['expired', 'create_invoice'],
    ['reversed', 'taken back'],
  ] as const)('that is %s says what to do next', async (state, hint) => {
    const ctx = await changed({ state, flags: ['late'] })
    const { text } = await getInvoice.run(ctx, { invoice: ctx.invoice })
    expect(text.join()).toContain(`is ${state}, late.`)
    expect(text.join()).toContain(hint)
  })
})

describe('progress', () => {
  test('follows the payment that has furthest to go, and leaves out what left the chain', async () => {
    const ctx = await changed({})
    const view = await ctx.bursar.getInvoice(ctx.invoice)
    const seen: ToolProgress[] = []
    const bursar: Bursar = {
      ...ctx.bursar,
      async awaitPayment({ onProgress }) {
        const payments = [
          payment({ state: 'orphaned', confirmations: 0, confirmations_needed: 99 }),
          payment({ state: 'credited', confirmations: 9 }),
          payment({ txid: '0xdef', confirmations: 2, confirmations_needed: 12 }),
        ]
        onProgress?.({ ...view, payments: [] })
        onProgress?.({ ...view, payments })
        onProgress?.({ ...view, payments: payments.slice(0, 2) })
        return { invoice: view, timed_out: true }
      },
    }
    await awaitPayment.run({ ...ctx, bursar, progress: (step) => seen.push(step) }, { invoice: ctx.invoice })
    expect(seen).toMatchObject([
      { done: 0, total: 1, message: 'No payment seen yet.' },
      { done: 2, total: 12, message: '2 of 12 confirmations, block 1.' },
      { done: 3, total: 3, message: expect.stringMatching(/^3 of 3 confirmations.*granted/) },
    ])
  })
})

test('a wait for what was never paid does not ask for more waiting alone', async () => {
  const { invoice, ...ctx } = await changed({})
  const waited = async (changes: Partial<InvoiceView>): Promise<string> => {
    const view = { ...(await ctx.bursar.getInvoice(invoice)), ...changes }
    const bursar: Bursar = { ...ctx.bursar, awaitPayment: async () => ({ invoice: view, timed_out: true }) }
    return (await awaitPayment.run({ ...ctx, bursar }, { invoice })).text.join()
  }
  expect(await waited({})).toContain('No payment was seen within 45 s. If it was made,')
  expect(await waited({ state: 'processing', payments: [payment({})] })).toContain(
    'Nothing final within 45 s',
  )
})

test('a till that sells nothing says who has to do what', async () => {
  const ctx = context()
  const offers = await ctx.bursar.listOffers()
  const bursar: Bursar = { ...ctx.bursar, listOffers: async () => ({ ...offers, rails: [] }) }
  const [told] = (await listOffers.run({ ...ctx, bursar }, {})).text
  expect(told).toContain('the seller has to configure chains')
  expect(told).not.toContain('Next: create_invoice')
  expect((await listOffers.run(ctx, {})).text[0]).toContain('Next: create_invoice')
})

describe('pay_invoice', () => {
  test('pays once, however often and under whichever key it is asked', async () => {
    const ctx = context()
    const { data } = await createInvoice.run(ctx, order)
    const invoice = data['id']
    const first = (await payInvoice.run(ctx, { invoice, idempotency_key: 'a' })).data
    const repeats = [
      (await payInvoice.run(ctx, { invoice, idempotency_key: 'a' })).data,
      (await payInvoice.run(ctx, { invoice, idempotency_key: 'b' })).data,
      (await payInvoice.run(ctx, { invoice })).data,
    ]
    for (const repeat of repeats) expect(repeat).toEqual({ ...first, replayed: true })
    await awaitPayment.run(ctx, { invoice })
    expect((await payInvoice.run(ctx, { invoice })).data).toMatchObject({
      txid: first['txid'],
      replayed: true,
    })
  })

  test.each(['partial', 'processing', 'paid', 'expired', 'reversed'] as const)(
    'leaves an invoice alone that is %s by somebody else',
    async (state) => {
      const ctx = await changed({ state })
      const paid: unknown[] = []
      const purse = {
        ...memoryTill().purse,
        pay: async (input: unknown) => {
          paid.push(input)
          throw new Error('asked to pay')
        },
      }
      await expect(payInvoice.run({ ...ctx, purse }, { invoice: ctx.invoice })).rejects.toMatchObject({
        code: 'invoice_not_payable',
        details: { state },
      })
      expect(paid).toEqual([])
    },
  )

  test('passes on what the purse has to say', async () => {
    const ctx = context()
    const view = await ctx.bursar.createInvoice(order)
    const failed = {
      ...(await ctx.till.purse.pay({ signed: view.signed })),
      state: 'failed' as const,
      note: 'It ran out of gas.',
    }
    const purse = { ...ctx.till.purse, pay: async () => failed }
    const [text] = (
      await payInvoice.run(
        { ...ctx, purse, bursar: { ...ctx.bursar, getInvoice: async () => view } },
        { invoice: view.id },
      )
    ).text
    expect(text).toContain('It ran out of gas.')
    expect(text).not.toContain('await_payment')
  })

  test('gives the purse the signed invoice and nothing that the agent said', async () => {
    const ctx = context()
    const view = await ctx.bursar.createInvoice(order)
    const given: unknown[] = []
    const purse = {
      ...ctx.till.purse,
      pay: (input: Parameters<typeof ctx.till.purse.pay>[0]) => {
        given.push(input)
        return ctx.till.purse.pay(input)
      },
    }
    await payInvoice.run({ ...ctx, purse }, { invoice: view.id, idempotency_key: 'k' })
    expect(given).toEqual([{ signed: view.signed, idempotencyKey: 'k', signal: ctx.signal }])
  })

  test('says so where there is no purse', async () => {
    const { purse: _, ...ctx } = context()
    await expect(payInvoice.run(ctx, { invoice: 'inv_1' })).rejects.toMatchObject({
      code: 'purse_unavailable',
    })
  })
})

describe('answers', () => {
  test('in another form than promised are an internal error, and are not passed on', async () => {
    const odd = { account: 'acc_1', available: 5, private: 'detail' }
    const ctx = context({ getBalance: async () => odd as never })
    const failed = getBalance.run(ctx, {})
    await expect(failed).rejects.toMatchObject({ code: 'internal' })
    await expect(failed).rejects.not.toThrow(/detail/)
  })

  test('say when spending is frozen or limited, and when credits expire', async () => {
    const ctx = context({
      getBalance: async () => ({
        account: 'acc_1',
        available: '5.000000',
        held: '1.000000',
        next_expiry: { credits: '2.000000', at: '2027-01-01T00:00:00.000Z' },
        burn_rate_per_day: '0.500000',
        runway_days: '10.0',
        frozen: true,
        allowance: { per_call: null, day_left: '2.500000', month_left: '9.000000' },
      }),
    })
    const [text] = (await getBalance.run(ctx, {})).text
    expect(text).toContain('2.000000 of them expire at 2027-01-01')
    expect(text).toContain('10.0 days')
    expect(text).toContain('Your allowance: 2.500000 more today, 9.000000 more this month (UTC).')
    expect(text).toContain('frozen')
  })
})
