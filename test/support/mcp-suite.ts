/**
 * What every MCP server of Bursar must do, whichever client, era and transport: the same tests run against the
 * adapter alone, `bursar mcp` and `bursar serve`.
 */
import { decode } from 'fast-png'
import { decodeQR } from 'qr/decode.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseCredits } from '../../src/money.ts'
import { tools } from '../../tools/index.ts'
import { answered, awaited, refused } from './mcp-answers.ts'
import {
  type CalledTool,
  connect,
  type Endpoint,
  GENERATIONS,
  type Generation,
  type McpSession,
} from './mcp-clients.ts'

/** A server whose account has no credits and no invoices yet. */
export interface McpTarget {
  readonly endpoint: Endpoint
  /** Without a purse: pays an invoice from outside. */
  pay?(invoice: Record<string, unknown>): Promise<void>
  readonly rail: string
  readonly pack: string
  readonly model: string
  /** Credits whose price is above the purse's budget. */
  readonly tooDear?: string
  close?(): Promise<void>
}

/**
 * @param purse Whether the tools include pay_invoice.
 * @param generations Of clients; all by default.
 * @param setup Called once per client generation.
 */
export function mcpSuite(
  title: string,
  {
    purse,
    generations = GENERATIONS,
  }: { readonly purse: boolean; readonly generations?: readonly Generation[] },
  setup: () => Promise<McpTarget>,
): void {
  describe.each(generations)(`${title}, client: %s`, (generation) => {
    let target: McpTarget
    let session: McpSession

    beforeAll(async () => {
      target = await setup()
      session = await connect(generation, target.endpoint)
    })

    afterAll(async () => {
      await session?.close()
      await target?.close?.()
    })

    test('negotiates its era and says how to buy and spend', () => {
      if (generation === '2026-07-28' || generation === 'auto') expect(session.protocol).toBe('2026-07-28')
      if (generation === 'initialize') expect(session.protocol).toBe('2025-11-25')
      expect(session.instructions).toMatch(/create_invoice.*await_payment.*call_model/s)
    })

    test('lists every tool with its schemas and all four hints', async () => {
      const listed = await session.listTools()
      const expected = tools.filter((tool) => tool.needs === 'till' || purse)
      expect(listed.map((tool) => tool.name)).toEqual(expected.map((tool) => tool.name))
      for (const tool of listed) {
        expect(tool.inputSchema).toMatchObject({ type: 'object', additionalProperties: false })
        expect(tool.outputSchema).toMatchObject({ type: 'object' })
        expect(Object.keys(tool.annotations ?? {}).toSorted()).toEqual([
          'destructiveHint',
          'idempotentHint',
          'openWorldHint',
          'readOnlyHint',
        ])
      }
    })

    test('buys credits and spends them', async () => {
      await session.listTools()
      const asked = { model: target.model, messages: [{ role: 'user', content: 'hello' }], max_tokens: 50 }
      refused(await session.call('call_model', asked), 'insufficient_credits')

      const offers = answered(await session.call('list_offers'))
      expect(offers['rails']).toContainEqual(expect.objectContaining({ id: target.rail }))
      expect(offers['packs']).toContainEqual(expect.objectContaining({ id: target.pack }))

      const order = { rail: target.rail, pack: target.pack, idempotency_key: `order-${generation.length}` }
      const created = await session.call('create_invoice', order)
      const invoice = answered(created)
      expect(invoice).toMatchObject({ state: 'open', rail: target.rail, payments: [] })
      expect(invoice).not.toHaveProperty('signed')
      expect(created.images).toHaveLength(1)
      expect(readQr(created)).toBe(invoice['payment_uri'])
      expect(created.text).toContain(String(invoice['amount_display']))
      expect(answered(await session.call('create_invoice', order))['id']).toBe(invoice['id'])
      const other = { rail: target.rail, credits: '1', idempotency_key: order.idempotency_key }
      refused(await session.call('create_invoice', other), 'idempotency_conflict')

      // It is paid while it is waited for, once the wait has told how things stand.
      const told = Promise.withResolvers<void>()
      const [settled] = await Promise.all([
        awaitPaid(session, String(invoice['id']), told.resolve),
        told.promise.then(() => pay(invoice)),
      ])
      expect(settled.invoice['credits_granted']).toBe(invoice['credits'])
      for (const steps of settled.waits) {
        expect(steps).toEqual([...new Set(steps)].sort((a, b) => a - b))
      }

      const before = await available(session)
      expect(before).toBe(parseCredits(String(invoice['credits'])))
      const keyed = { ...asked, idempotency_key: 'call-1' }
      const call = answered(await session.call('call_model', keyed))
      const charged = parseCredits(String(call['charged']))
      expect(charged).toBeGreaterThan(0n)
      expect(call['replayed']).toBe(false)
      expect(await available(session)).toBe(before - charged)
      const replay = answered(await session.call('call_model', keyed))
      expect(replay).toMatchObject({ text: call['text'], receipt: call['receipt'], replayed: true })
      expect(await available(session)).toBe(before - charged)
      const usage = answered(await session.call('list_usage', { limit: 1 }))
      expect(usage['calls']).toMatchObject([
        { receipt: call['receipt'], charged: call['charged'], state: 'charged' },
      ])
    })

    async function pay(invoice: Record<string, unknown>): Promise<void> {
      if (!purse) return target.pay?.(invoice)
      const paid = answered(await session.call('pay_invoice', { invoice: invoice['id'] }))
      expect(paid).toMatchObject({ invoice: invoice['id'], amount: invoice['amount'], replayed: false })
      const again = answered(await session.call('pay_invoice', { invoice: invoice['id'] }))
      expect(again).toMatchObject({ id: paid['id'], txid: paid['txid'], replayed: true })
    }

    test('refuses bad input with a code and a remedy, and goes on', async () => {
      await session.listTools()
      for (const credits of [
        '0',
        '0.000000',
        '-1',
        '1e3',
        '1,5',
        'ten',
        '0.0000001',
        '1000000000',
        '',
        ' 1',
        5,
      ]) {
        const refusal = refused(
          await session.call('create_invoice', { rail: target.rail, credits }),
          'invalid_request',
        )
        expect(refusal['detail']).toContain('credits')
      }
      for (const [tool, input, field] of [
        ['create_invoice', { rail: target.rail }, 'pack'],
        ['create_invoice', { rail: target.rail, pack: target.pack, credits: '1' }, 'only one'],
        ['create_invoice', { rail: 'nowhere', pack: target.pack }, 'rail'],
        ['get_invoice', {}, 'invoice'],
        ['get_invoice', { invoice: '../../etc/passwd' }, 'invoice'],
        ['get_balance', { account: 'acc_2' }, 'account'],
        ['await_payment', { invoice: 'inv_1', timeout_s: 56 }, 'timeout_s'],
        ['call_model', { model: target.model, messages: [] }, 'messages'],
        ['list_usage', { limit: 0 }, 'limit'],
      ] as const) {
        const refusal = refused(await session.call(tool, input), 'invalid_request')
        expect(refusal['detail']).toContain(field)
      }
      const unknown = await session.call('get_invoice', { invoice: 'inv_00000000000000000000009999' })
      refused(unknown, 'not_found')
      const model = { model: 'no-such-model', messages: [{ role: 'user', content: 'x' }] }
      refused(await session.call('call_model', model), 'unknown_model')
      answered(await session.call('get_balance'))
    })

    test('answers an unknown tool with a protocol error, never -32042', async () => {
      const error: unknown = await session.call('no_such_tool').then(
        () => null,
        (thrown: unknown) => thrown,
      )
      expect(error).toMatchObject({ code: -32602 })
      answered(await session.call('get_balance'))
    })

    test('keeps concurrent calls apart', async () => {
      const amounts = Array.from({ length: 20 }, (_, index) => `${index + 1}.5`)
      const invoices = await Promise.all(
        amounts.map(async (credits) =>
          answered(await session.call('create_invoice', { rail: target.rail, credits })),
        ),
      )
      expect(invoices.map((invoice) => parseCredits(String(invoice['credits'])))).toEqual(
        amounts.map((credits) => parseCredits(credits)),
      )
      expect(new Set(invoices.map((invoice) => invoice['id'])).size).toBe(20)
    })

    test('waits for a bounded time', async () => {
      const invoice = answered(await session.call('create_invoice', { rail: target.rail, pack: target.pack }))
      const waited = answered(await session.call('await_payment', { invoice: invoice['id'], timeout_s: 1 }))
      expect(waited).toMatchObject({ timed_out: true, invoice: { state: 'open' } })
    })

    test('ends a wait when the caller cancels', async () => {
      const invoice = answered(await session.call('create_invoice', { rail: target.rail, pack: target.pack }))
      const caller = new AbortController()
      const cancelled = session.call(
        'await_payment',
        { invoice: invoice['id'], timeout_s: 55 },
        { signal: caller.signal, onProgress: () => caller.abort() },
      )
      await expect(cancelled).rejects.toThrow()
      answered(await session.call('get_balance'))
    })

    if (!purse) return

    test('pays nothing above the budget', async () => {
      const credits = target.tooDear
      const invoice = answered(await session.call('create_invoice', { rail: target.rail, credits }))
      refused(await session.call('pay_invoice', { invoice: invoice['id'] }), 'budget_exceeded')
      const after = answered(await session.call('get_invoice', { invoice: invoice['id'] }))
      expect(after).toMatchObject({ state: 'open', payments: [] })
    })
  })
}

async function available(session: McpSession): Promise<bigint> {
  return parseCredits(String(answered(await session.call('get_balance'))['available']))
}

async function awaitPaid(
  session: McpSession,
  id: string,
  onProgress: () => void,
): Promise<{ invoice: Record<string, unknown>; waits: number[][] }> {
  const waits: number[][] = []
  const { invoice } = await awaited(session, id, () => {
    const steps: number[] = []
    waits.push(steps)
    return {
      onProgress({ progress }) {
        steps.push(progress)
        onProgress()
      },
    }
  })
  expect(invoice).toMatchObject({ state: 'paid' })
  return { invoice: invoice as Record<string, unknown>, waits }
}

function readQr(result: CalledTool): string {
  const [image] = result.images
  expect(image?.mimeType).toBe('image/png')
  const { width, height, depth, channels, data } = decode(image?.bytes ?? new Uint8Array())
  expect({ depth, channels }).toEqual({ depth: 1, channels: 1 })
  const rgb = new Uint8Array(width * height * 3)
  for (let pixel = 0; pixel < width * height; pixel++) {
    const [x, y] = [pixel % width, Math.floor(pixel / width)]
    const bit = (Number(data[y * Math.ceil(width / 8) + (x >> 3)]) << (x & 7)) & 0x80
    rgb.fill(bit === 0 ? 0 : 255, pixel * 3, pixel * 3 + 3)
  }
  return decodeQR({ width, height, data: rgb })
}
