/** `meter()` over both of its ways to a till, and in both frameworks: a real ledger, real HTTP, real servers. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Holds } from '../../src/bursar.ts'
import type { BursarError } from '../../src/errors.ts'
import { createAccount } from '../../src/ledger/accounts.ts'
import { createKey, keyring } from '../../src/ledger/keys.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import { holdsOf } from '../../src/ledger/service-holds.ts'
import { createClient } from '../../src/sdk/client.ts'
import { meter } from '../../src/sdk/meter.ts'
import type { Metered } from '../../src/sdk/tab.ts'
import { checkBooks } from '../support/books.ts'
import {
  type Sell,
  type Selling,
  type Service,
  sellExpress,
  sellHono,
  serviceAt,
  type Work,
} from '../support/metered-service.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { printed, start as startProgram } from '../support/process.ts'
import { type HttpTill, httpTill } from '../support/till-http.ts'

const CREDITS = 1_000_000n

/** On a busy machine too. */
const PATIENCE = { timeout: PATIENCE_MS, interval: 20 }

let till: HttpTill
const closing: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  till = await httpTill({ openai: 'http://127.0.0.1:1/v1' }, { credits: CREDITS })
})
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
  await checkBooks(till.db)
  await till.close()
})

type Way = 'remote' | 'in process'

function holds(way: Way): { holds: Holds; url?: string } {
  if (way === 'remote') return createClient({ url: till.url })
  const keys = keyring(till.ledger)
  closing.push(() => keys.close())
  return { holds: holdsOf(till.ledger, (key) => keys.authenticate(key)) }
}

type Tuning = Pick<Selling, 'charges' | 'lifetimeSeconds' | 'onError'>
type Start = (way: Way, price: Selling['price'], work: Work, tuning?: Tuning) => Promise<Service>

/** Sells to the buyer of the till, until the test has ended. */
function starting(sell: Sell): Start {
  return async (way, price, work, tuning = {}) => {
    const service = await sell({ till: holds(way), key: till.key, price, ...tuning }, work)
    closing.push(() => service.stop())
    return service
  }
}

/** Resolves when nothing is held any more. */
async function settled(): Promise<bigint> {
  await expect.poll(() => till.db.query('SELECT ref FROM hold'), PATIENCE).toEqual([])
  return till.charged()
}

const ok = async (): ReturnType<Work> => ({ status: 200, body: 'short' })

describe.each<[string, Sell]>([
  ['fetch handlers', sellHono],
  ['Express', sellExpress],
])('%s', (_, sell) => {
  const start = starting(sell)

  describe.each<Way>(['remote', 'in process'])('with a till %s', (way) => {
    test('200 requests at once on credits for 20: exactly 20 are served, and nothing is left', async () => {
      const service = await start(way, '0.05', ok)
      const answers = await Promise.all(Array.from({ length: 200 }, () => service.ask()))
      const served = answers.filter(({ status }) => status === 200)
      expect(served).toHaveLength(20)
      expect(service.runs()).toBe(20)
      expect(answers.filter(({ status }) => status === 402)).toHaveLength(180)
      expect(await settled()).toBe(CREDITS)
      expect(await till.db.query("SELECT count(*) AS n FROM receipt WHERE state <> 'charged'")).toEqual([
        { n: 0n },
      ])
    })

    test('an answer says what it cost; a refusal what is missing', async () => {
      const service = await start(way, '0.6', ok)
      const first = await service.ask()
      expect(Object.fromEntries(first.headers)).toMatchObject({
        'x-bursar-receipt': (await till.receipt()).id,
        'x-bursar-charged': '0.600000',
        'x-bursar-balance': '0.400000',
      })
      const second = await service.ask()
      expect(second.status).toBe(402)
      expect(second.headers.get('content-type')).toBe('application/problem+json')
      expect(second.headers.get('x-should-retry')).toBe('false')
      expect(await second.json()).toMatchObject({
        code: 'insufficient_credits',
        available: '0.400000',
        required: '0.600000',
        remedy: expect.stringContaining('create_invoice'),
        ...(way === 'remote' ? { till: till.url } : {}),
      })
      expect(service.runs()).toBe(1)
      expect(await till.receipt()).toMatchObject({ model: '/summarize', upstream: 'own service' })
    })
  })

  test('the handler charges what it really cost, never more than was held', async () => {
    const told: string[] = []
    const costs = [['0.1', '0.02'], ['0'], ['0.4', '0.2']]
    const service = await start(
      'in process',
      '0.5',
      async ({ charge }) => {
        for (const cost of costs.shift() ?? []) charge(cost)
        return ok()
      },
      { onError: (error) => told.push(error.message) },
    )
    const charged = []
    for (let call = 0; call < 3; call++) charged.push((await service.ask()).headers.get('x-bursar-charged'))
    expect(charged).toEqual(['0.120000', '0.000000', '0.500000'])
    expect(told).toEqual([expect.stringMatching(/cost 0.600000 credits; 0.500000 were held/)])
  })

  test.each<[string, Work]>([
    ['throws', () => Promise.reject(new Error('no idea'))],
    ['answers 500', async () => ({ status: 500 })],
    ['answers 404 after it charged', async ({ charge }) => (charge('0.1'), { status: 404 })],
  ])('a handler that %s costs nothing', async (_name, work) => {
    const service = await start('remote', '0.5', work)
    const answer = await service.ask()
    expect(answer.status).toBeGreaterThanOrEqual(404)
    expect(await settled()).toBe(0n)
    expect(await till.receipt()).toMatchObject({ state: 'released' })
  })

  test('which answers are charged is the choice of the seller', async () => {
    const service = await start('in process', '0.5', async () => ({ status: 404 }), {
      charges: (status) => status === 404,
    })
    expect((await service.ask()).headers.get('x-bursar-charged')).toBe('0.500000')
  })

  test('a stream is charged at its end, before its reader sees that', async () => {
    async function* parts({ charge }: Metered) {
      for (const part of ['one ', 'two ', 'three']) {
        charge('0.1')
        yield part
      }
    }
    const service = await start('remote', '0.5', async (given) => ({ status: 200, stream: parts(given) }))
    const answer = await service.ask()
    expect(await answer.text()).toBe('one two three')
    expect(await till.receipt()).toMatchObject({ state: 'charged', charged: 300_000n })
  })

  test.each<[string, boolean, bigint]>([
    ['what its handler had charged so far', true, 100_000n],
    ['the price, where the handler charges nothing by itself', false, 500_000n],
  ])('a client that leaves in the middle of a stream pays %s', async (_name, byPart, expected) => {
    const left = Promise.withResolvers<void>()
    async function* parts({ charge }: Metered) {
      if (byPart) charge('0.1')
      yield 'one '
      await left.promise
      if (byPart) charge('0.1')
      yield 'two'
    }
    const service = await start('remote', '0.5', async (given) => ({ status: 200, stream: parts(given) }))
    const client = httpRequest(`${service.url}/summarize`, {
      method: 'POST',
      headers: { authorization: `Bearer ${till.key}` },
    })
    client.on('error', () => undefined)
    const [answer] = (await once(client.end(), 'response')) as [NodeJS.ReadableStream]
    await once(answer, 'data')
    client.destroy()
    expect(await settled()).toBe(expected)
    left.resolve()
  })

  test('a client that leaves in the middle of a failure that is streamed pays nothing', async () => {
    const left = Promise.withResolvers<void>()
    async function* parts() {
      yield 'no '
      await left.promise
      yield 'idea'
    }
    const service = await start('remote', '0.5', async () => ({ status: 500, stream: parts() }))
    const client = httpRequest(`${service.url}/summarize`, {
      method: 'POST',
      headers: { authorization: `Bearer ${till.key}` },
    })
    client.on('error', () => undefined)
    const [answer] = (await once(client.end(), 'response')) as [NodeJS.ReadableStream]
    await once(answer, 'data')
    client.destroy()
    expect(await settled()).toBe(0n)
    left.resolve()
  })

  test.each<[string, number, bigint]>([
    ['pays for what is made of it', 200, 500_000n],
    ['pays nothing when that fails', 500, 0n],
  ])('a client that leaves before there is an answer %s', async (_name, status, expected) => {
    const left = Promise.withResolvers<void>()
    const service = await start('remote', '0.5', async () => {
      await left.promise
      return { status, body: 'short' }
    })
    const stop = new AbortController()
    const asked = service.ask({ signal: stop.signal })
    asked.catch(() => undefined)
    await expect.poll(() => service.runs(), PATIENCE).toBe(1)
    stop.abort()
    await expect(asked).rejects.toThrow()
    left.resolve()
    expect(await settled()).toBe(expected)
  })

  test.each<[string, boolean, bigint]>([
    ['costs nothing', false, 0n],
    ['costs what its handler had charged', true, 100_000n],
  ])('a stream that its own handler breaks off %s', async (_name, byPart, expected) => {
    async function* parts({ charge }: Metered) {
      if (byPart) charge('0.1')
      yield 'one '
      throw new Error('no idea')
    }
    const service = await start('remote', '0.5', async (given) => ({ status: 200, stream: parts(given) }))
    const answer = await service.ask()
    await expect(answer.text()).rejects.toThrow()
    expect(await settled()).toBe(expected)
  })

  test('an idempotency key runs the handler once, while it runs and afterwards; a failure frees it', async () => {
    const running = Promise.withResolvers<void>()
    const outcomes = [running.promise.then(() => 500), Promise.resolve(200)]
    const service = await start('remote', '0.3', async () => ({ status: (await outcomes.shift()) ?? 200 }))
    const headers = { 'idempotency-key': 'one' }
    const first = service.ask({ headers })
    await expect.poll(() => service.runs(), PATIENCE).toBe(1)
    const second = await service.ask({ headers })
    expect(second.status).toBe(409)
    expect(second.headers.get('x-should-retry')).toBe('true')
    expect(await second.json()).toMatchObject({ code: 'conflict', receipt: (await till.receipt()).id })
    running.resolve()
    expect((await first).status).toBe(500)

    expect((await service.ask({ headers })).status).toBe(200)
    const repeat = await service.ask({ headers })
    expect(repeat.status).toBe(409)
    expect(await repeat.json()).toMatchObject({
      code: 'idempotency_conflict',
      receipt: (await till.receipt()).id,
    })
    const other = await service.ask({ headers, body: '{"text":"other"}' })
    expect(await other.json()).toMatchObject({ code: 'idempotency_conflict' })
    expect(service.runs()).toBe(2)
    expect(await settled()).toBe(300_000n)
  })

  test('50 repeats at once of one key run the handler once', async () => {
    const service = await start('remote', '0.01', ok)
    const headers = { 'idempotency-key': randomUUID() }
    const answers = await Promise.all(Array.from({ length: 50 }, () => service.ask({ headers })))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
    expect(service.runs()).toBe(1)
    expect(await settled()).toBe(10_000n)
  })

  test('without a key, with an unknown one, with an impossible idempotency key: refused, not run', async () => {
    const service = await start('remote', '0.1', ok)
    const without = await fetch(`${service.url}/summarize`, { method: 'POST' })
    expect(without.status).toBe(401)
    expect(without.headers.get('www-authenticate')).toContain('Bearer')
    expect((await service.ask({ headers: { authorization: 'Bearer bk_nobody' } })).status).toBe(401)
    expect((await service.ask({ headers: { 'idempotency-key': 'a b' } })).status).toBe(400)
    expect((await service.ask({ headers: { authorization: '', 'x-api-key': till.key } })).status).toBe(200)
    expect(service.runs()).toBe(1)
  })

  test('a buyer who knows its key and the receipt cannot release what is being served', async () => {
    const running = Promise.withResolvers<void>()
    const service = await start('remote', '0.5', async () => {
      await running.promise
      return ok()
    })
    const asked = service.ask()
    await expect.poll(() => service.runs(), PATIENCE).toBe(1)
    const buyer = createClient({ url: till.url, key: till.key })
    const { id } = await till.receipt()
    await expect(buyer.holds.release(id)).rejects.toMatchObject({ code: 'forbidden' })
    await expect(buyer.holds.capture(id, { amount: '0' })).rejects.toMatchObject({ code: 'forbidden' })
    running.resolve()
    expect((await asked).status).toBe(200)
    expect(await settled()).toBe(500_000n)
  })

  test('a free request needs no credits; a price that is none is the mistake of the seller', async () => {
    const prices = ['0', 'cheap']
    const service = await start('remote', () => prices.shift() ?? '0.1', ok)
    expect((await service.ask()).status).toBe(200)
    expect((await service.ask()).status).toBe(500)
    expect(service.runs()).toBe(1)
    expect(() => meter({ till: holds('remote'), price: 'cheap' }, () => new Response())).toThrow(TypeError)
  })
})

test('a service that is killed while it serves charges nothing: its hold lapses', async () => {
  const script = fileURLToPath(new URL('./children/service.ts', import.meta.url))
  const service = startProgram(process.execPath, [script, till.url])
  const [, url = ''] = await printed(service, /serving (\S+)/)
  const asked = serviceAt(url, till.key, () => 0).ask()
  asked.catch(() => undefined)
  await printed(service, /running/)
  await service.stop('SIGKILL')
  await expect(asked).rejects.toThrow()
  expect(await till.db.query('SELECT amount FROM hold')).toEqual([{ amount: 500_000n }])
  till.clock.advance(30_000)
  await lapseHolds(till.ledger)
  expect(await settled()).toBe(0n)
})

test('a handler that outlasts its hold is told to the seller; its answer is passed on', async () => {
  const told: BursarError[] = []
  const service = await starting(sellHono)(
    'remote',
    '0.5',
    async () => {
      till.clock.advance(30_000)
      await lapseHolds(till.ledger)
      return ok()
    },
    { lifetimeSeconds: 30, onError: (error) => told.push(error) },
  )
  expect((await service.ask()).status).toBe(200)
  expect(told).toMatchObject([{ message: expect.stringContaining('lapsed'), cause: { code: 'hold_closed' } }])
  expect(await till.charged()).toBe(0n)
})

test("with the seller's key, accounts are named by the service; the seller's mistakes are not shown to buyers", async () => {
  const { id } = await createAccount(till.ledger, { externalId: 'alice' })
  await till.grant(id, 100_000n)
  const { key } = await createKey(till.ledger, { scope: 'seller', name: 'service' })
  const sold = (key: string) =>
    meter(
      {
        till: createClient({ url: till.url, key }),
        name: 'summary',
        price: async (request) => ((await request.text()).length > 10 ? '0.1' : '0.01'),
        account: (request) => ({ external_id: request.headers.get('x-user') ?? '' }),
      },
      async (request, { hold }, more: { readonly suffix: string }) =>
        new Response(`${hold?.amount} for ${await request.text()}${more.suffix}`),
    )
  const ask = (body: string, user = 'alice') =>
    new Request('http://service.example/summary?x=1', { method: 'POST', body, headers: { 'x-user': user } })
  const answer = await sold(key)(ask('short'), { suffix: '!' })
  expect(await answer.text()).toBe('0.010000 for short!')
  expect((await sold(key)(ask('long enough to cost'), { suffix: '' })).status).toBe(402)
  expect((await sold(key)(ask('short', 'bob'), { suffix: '' })).status).toBe(404)
  expect(await till.receipt(id)).toMatchObject({ model: 'summary', charged: 10_000n })
  await expect(sold('bk_wrong')(ask('short'), { suffix: '' })).rejects.toThrow(/refuses the meter itself/)
})
