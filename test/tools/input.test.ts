import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BursarError } from '../../src/errors.ts'
import { formatDecimal, MICRO, parseCredits } from '../../src/money.ts'
import { callModel } from '../../tools/call-model.ts'
import { createInvoice } from '../../tools/create-invoice.ts'
import { tools } from '../../tools/index.ts'
import { listUsage } from '../../tools/list-usage.ts'
import { payInvoice } from '../../tools/pay-invoice.ts'
import type { Tool, ToolContext } from '../../tools/tool.ts'
import { memoryTill } from '../support/memory-bursar.ts'

const till = memoryTill()
const ctx: ToolContext = {
  bursar: till.forAccount('acc_1'),
  purse: till.purse,
  signal: new AbortController().signal,
  progress: () => {},
}

async function refusal(tool: Tool, input: unknown, context = ctx): Promise<BursarError> {
  const error: unknown = await tool.run(context, input).then(
    () => null,
    (thrown: unknown) => thrown,
  )
  expect(error, JSON.stringify(input)).toMatchObject({ name: 'BursarError', remedy: expect.any(String) })
  return error as BursarError
}

describe('amounts of credits', () => {
  const rail = 'ethereum:ETH'

  test('every positive amount of up to nine digits and six decimals is taken exactly', async () => {
    const amount = fc.bigInt({ min: 1n, max: 999_999_999n * MICRO + 999_999n })
    await fc.assert(
      fc.asyncProperty(amount, async (microCredits) => {
        const credits = formatDecimal(microCredits, 6)
        const { data } = await createInvoice.run(ctx, { rail, credits })
        expect(parseCredits(String(data['credits']))).toBe(microCredits)
      }),
      { numRuns: 200 },
    )
  })

  test('anything else is refused before the till is asked, without repeating it', async () => {
    const plain = /^\d{1,9}(\.\d{1,6})?$/
    const other = fc.oneof(
      fc.string(),
      fc.double().map(String),
      fc.bigInt().map(String),
      fc.stringMatching(/^\d{1,12}\.\d{0,9}$/),
    )
    const asked: unknown[] = []
    const watched = {
      ...ctx,
      bursar: {
        ...ctx.bursar,
        createInvoice: (input: Parameters<typeof ctx.bursar.createInvoice>[0]) => {
          asked.push(input)
          return ctx.bursar.createInvoice(input)
        },
      },
    }
    await fc.assert(
      fc.asyncProperty(
        other.filter((text) => !plain.test(text) || !/[1-9]/.test(text)),
        async (credits) => {
          const error = await refusal(createInvoice, { rail, credits }, watched)
          expect(error.code).toBe('invalid_request')
          if (credits.length > 12) expect(error.message).not.toContain(credits)
        },
      ),
      { numRuns: 300 },
    )
    expect(asked).toEqual([])
  })

  test.each([
    ['-5', 'not a negative number'],
    ['0', 'more than zero'],
    ['0.0', 'more than zero'],
    ['0.1234567', 'six decimals'],
    ['1000000000', 'at most 999999999'],
    ['1e9', 'plain decimal'],
    [12, 'decimal as text'],
  ])('%j says what would be right: %s', async (credits, hint) => {
    expect((await refusal(createInvoice, { rail, credits })).message).toContain(hint)
  })
})

describe('input', () => {
  test('of every tool is refused with a field that it does not know', async () => {
    for (const tool of tools) {
      const error = await refusal(tool, { ...sample(tool.name), surprise: 1 })
      expect(error.code).toBe('invalid_request')
      expect(error.message).toContain('surprise')
    }
  })

  test('is bounded', async () => {
    const message = { role: 'user', content: 'x' }
    for (const [tool, input] of [
      [callModel, { model: 'echo', messages: Array.from({ length: 1001 }, () => message) }],
      [callModel, { model: 'echo', messages: [{ role: 'user', content: 'x'.repeat(1_000_001) }] }],
      [callModel, { model: 'echo', messages: [{ role: 'tool', content: 'x' }] }],
      [callModel, { model: 'echo', messages: [message], max_tokens: 0 }],
      [callModel, { model: 'echo', messages: [message], max_tokens: 1.5 }],
      [callModel, { model: 'echo', messages: [message], temperature: 2.1 }],
      [callModel, { model: 'echo', messages: [message], idempotency_key: 'k'.repeat(129) }],
      [callModel, { model: 'echo', messages: [message], idempotency_key: 'two words' }],
      [listUsage, { limit: 101 }],
      [listUsage, { cursor: '' }],
      [payInvoice, { invoice: 'inv_1', amount: '5' }],
      [payInvoice, { invoice: 'x'.repeat(65) }],
    ] as const) {
      expect((await refusal(tool, input)).code).toBe('invalid_request')
    }
  })

  test('that is wrong in many places names some of them and counts the rest', async () => {
    const messages = Array.from({ length: 9 }, () => ({ role: 'nobody', content: 'x' }))
    const { message } = await refusal(callModel, { model: 'echo', messages })
    expect(message).toMatch(/messages\.0\.role: .*; and 4 more\.$/)
    expect(message.length).toBeLessThan(800)
  })

  test('never comes back in an error, because it may be a secret', async () => {
    const secret =
      'xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi'
    for (const tool of tools) {
      for (const field of Object.keys(sample(tool.name))) {
        const { message } = await refusal(tool, { ...sample(tool.name), [field]: { inner: secret } })
        expect(message).not.toContain(secret)
      }
      expect((await refusal(tool, { ...sample(tool.name), [secret]: 1 })).message).not.toContain(
        secret.slice(0, 20),
      )
    }
    const { message } = await refusal(createInvoice, {
      rail: secret,
      credits: secret,
      idempotency_key: ` ${secret}`,
    })
    expect(message).not.toContain(secret)
  })
})

/** An input that each tool takes. */
function sample(tool: string): Record<string, unknown> {
  const samples: Record<string, Record<string, unknown>> = {
    list_offers: {},
    get_balance: {},
    create_invoice: { rail: 'ethereum:ETH', pack: 'small' },
    get_invoice: { invoice: 'inv_1' },
    await_payment: { invoice: 'inv_1', timeout_s: 1 },
    pay_invoice: { invoice: 'inv_1', idempotency_key: 'k' },
    call_model: { model: 'echo', messages: [{ role: 'user', content: 'x' }] },
    list_usage: { limit: 1 },
  }
  const found = samples[tool]
  if (!found) throw new Error(`no sample input for ${tool}`)
  return found
}
