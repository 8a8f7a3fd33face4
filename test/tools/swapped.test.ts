/** A till, or whoever answers in its place, that shows an agent one invoice and lets its purse pay another. */
import { beforeEach, describe, expect, test } from 'vitest'
import type { InvoiceView } from '../../src/bursar.ts'
import { payInvoice } from '../../tools/pay-invoice.ts'
import { type MemoryTill, memoryTill } from '../support/memory-bursar.ts'

let till: MemoryTill
let mine: InvoiceView
let other: InvoiceView

beforeEach(async () => {
  till = memoryTill()
  mine = await till.forAccount('acc_1').createInvoice({ rail: 'ethereum:ETH', credits: '10' })
  other = await till.forAccount('acc_2').createInvoice({ rail: 'ethereum:ETH', credits: '50' })
})

/** Asks to pay `mine`, with a till that answers this. */
const payWith = (answer: InvoiceView) =>
  payInvoice.run(
    {
      bursar: { ...till.forAccount('acc_1'), getInvoice: async () => answer },
      purse: till.purse,
      signal: AbortSignal.timeout(60_000),
      progress: () => undefined,
    },
    { invoice: mine.id },
  )

describe('an invoice is not paid', () => {
  test.each<[string, () => InvoiceView]>([
    ["that is another buyer's", () => other],
    ["that has another buyer's signature", () => ({ ...mine, signed: other.signed })],
    ['that shows less than is signed', () => ({ ...other, id: mine.id, amount: mine.amount })],
    ['that shows another amount', () => ({ ...mine, amount: '1' })],
    ['that shows another address', () => ({ ...mine, address: `0x${'1'.repeat(40)}` })],
    ['that shows another rail', () => ({ ...mine, rail: 'polygon:USDC' })],
  ])('%s', async (_, answer) => {
    await expect(payWith(answer())).rejects.toMatchObject({
      code: 'invoice_not_payable',
      details: { reason: 'mismatch' },
    })
    for (const { id, signed } of [mine, other]) expect(await till.purse.find(id, signed.payee)).toBeNull()
  })

  test('whose signature is of something else', async () => {
    const signed = { ...mine.signed, payload: mine.signed.payload.replace(mine.amount, `${mine.amount}0`) }
    await expect(payWith({ ...mine, signed })).rejects.toMatchObject({ code: 'invalid_request' })
  })

  test('until it is the one that was asked for', async () => {
    expect((await payWith(mine)).data).toMatchObject({ invoice: mine.id, amount: mine.amount })
  })
})
