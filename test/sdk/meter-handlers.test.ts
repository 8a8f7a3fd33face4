/** Handlers that a meter did not hope for: they answer twice, break off, return nothing, or nobody waits for them. */
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { serve } from '@hono/node-server'
import express from 'express'
import { Hono } from 'hono'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Holds } from '../../src/bursar.ts'
import { createClient } from '../../src/sdk/client.ts'
import { meter } from '../../src/sdk/meter.ts'
import type { Metered, MeterOptions } from '../../src/sdk/tab.ts'
import { checkBooks } from '../support/books.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { type HttpTill, httpTill } from '../support/till-http.ts'

const PATIENCE = { timeout: PATIENCE_MS, interval: 20 }

let till: HttpTill
const closing: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  till = await httpTill({ openai: 'http://127.0.0.1:1/v1' })
})
afterEach(async () => {
  vi.restoreAllMocks()
  for (const close of closing.splice(0).toReversed()) await close()
  await checkBooks(till.db)
  await till.close()
})

const holds = (): { holds: Holds } => createClient({ url: till.url })

/** What was charged, when nothing is held any more. */
async function settled(): Promise<bigint> {
  await expect.poll(() => till.db.query('SELECT ref FROM hold'), PATIENCE).toEqual([])
  return till.charged()
}

async function listening(server: ReturnType<typeof serve>): Promise<string> {
  if (!server.listening) await once(server, 'listening')
  closing.push(
    () =>
      new Promise((resolve) => {
        server.close(resolve)
        if ('closeAllConnections' in server) server.closeAllConnections()
      }),
  )
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

type Handler = (req: express.Request, res: express.Response, metered: Metered) => unknown

interface Sold {
  ask(): Promise<Response>
  readonly url: string
  /** What the error handler was given. */
  readonly errors: unknown[]
}

async function sellExpress(
  handler: Handler,
  options: Partial<MeterOptions<express.Request>> = {},
): Promise<Sold> {
  const errors: unknown[] = []
  const app = express()
  app.get('/', meter.express({ till: holds(), price: '0.5', ...options }, handler))
  app.use((error: Error, _: express.Request, res: express.Response, next: express.NextFunction) => {
    errors.push(error)
    if (res.headersSent) next(error)
    else res.status(500).json({ failed: true })
  })
  // The last resort of Express prints what it could not tell the client.
  app.set('env', 'test')
  const url = await listening(app.listen(0, '127.0.0.1'))
  const headers = { authorization: `Bearer ${till.key}` }
  return { url, errors, ask: () => fetch(url, { headers, signal: AbortSignal.timeout(PATIENCE_MS) }) }
}

describe('an Express handler that', () => {
  test('answers twice is charged for the first answer, which is the one that is sent', async () => {
    const service = await sellExpress((_, res) => {
      res.status(400).json({ first: true })
      res.status(200).json({ second: true })
    })
    const answer = await service.ask()
    expect([answer.status, await answer.json()]).toEqual([400, { first: true }])
    expect(await settled()).toBe(0n)
    expect(service.errors).toMatchObject([{ code: 'ERR_HTTP_HEADERS_SENT' }])
  })

  test('ends or writes after its end sends what came first', async () => {
    const late: unknown[] = []
    const service = await sellExpress((_, res) => {
      res.end('first')
      res.write('second', (error) => late.push(error))
      res.end('third', () => undefined)
    })
    const answer = await service.ask()
    expect([answer.status, await answer.text()]).toEqual([200, 'first'])
    expect(late).toMatchObject([{ code: 'ERR_STREAM_WRITE_AFTER_END' }])
    expect(await settled()).toBe(500_000n)
  })

  test('throws after its answer has answered', async () => {
    const service = await sellExpress((_, res) => {
      res.json({ first: true })
      res.statusCode = 500
      throw new Error('too late')
    })
    const answer = await service.ask()
    expect([answer.status, await answer.json()]).toEqual([200, { first: true }])
    expect(await settled()).toBe(500_000n)
    expect(service.errors).toMatchObject([{ message: 'too late' }])
  })

  test('has answered can see that, as without a meter', async () => {
    const seen: unknown[] = []
    const service = await sellExpress((_, res) => {
      seen.push(res.headersSent, res.writableEnded)
      res.json({ first: true })
      seen.push(res.headersSent, res.writableEnded)
    })
    await (await service.ask()).text()
    expect(seen).toEqual([false, false, true, true])
  })

  test.each<[string, (res: express.Response) => unknown]>([
    ['an object', (res) => res.end({ ok: true })],
    ['a status that is none', (res) => Object.assign(res, { statusCode: 99 }).end('text')],
  ])('ends with %s is heard by the error handler, and costs nothing', async (_name, end) => {
    const service = await sellExpress((_, res) => void end(res), { charges: (status) => status === 200 })
    expect((await service.ask()).status).toBe(500)
    expect(service.errors).toHaveLength(1)
    expect(await settled()).toBe(0n)
  })

  test.each<[string, (res: express.Response, parts: AsyncIterable<string>) => unknown]>([
    ['by a pipeline that fails', (res, parts) => pipeline(Readable.from(parts), res)],
    [
      'by destroying it',
      async (res, parts) => {
        try {
          for await (const part of parts) res.write(part)
        } catch {
          res.destroy()
        }
      },
    ],
  ])('breaks its stream off %s is charged what it had charged, else nothing', async (_name, send) => {
    const sums = [[], ['0.1']]
    const service = await sellExpress((_, res, { charge }) => {
      async function* parts() {
        for (const sum of sums.shift() ?? []) charge(sum)
        yield 'one '
        await new Promise((resolve) => setImmediate(resolve))
        throw new Error('no idea')
      }
      return send(res, parts())
    })
    await expect(service.ask().then((answer) => answer.text())).rejects.toThrow()
    expect(await settled()).toBe(0n)
    await expect(service.ask().then((answer) => answer.text())).rejects.toThrow()
    expect(await settled()).toBe(100_000n)
  })

  test('breaks a failure off that it streamed is charged nothing', async () => {
    const service = await sellExpress((_, res, { charge }) => {
      charge('0.1')
      res.status(500).write('no ')
      throw new Error('no idea')
    })
    await expect(service.ask().then((answer) => answer.text())).rejects.toThrow()
    expect(await settled()).toBe(0n)
  })
})

const request = (init: RequestInit = {}) =>
  new Request('http://service.example/', { ...init, headers: { authorization: `Bearer ${till.key}` } })

describe('a fetch handler that', () => {
  test.each<[string, () => unknown]>([
    ['returns nothing', () => undefined],
    [
      'returns what it has read itself',
      async () => {
        const response = new Response('text')
        await response.text()
        return response
      },
    ],
    [
      'returns what is being read',
      () => {
        const response = new Response('text')
        response.body?.getReader()
        return response
      },
    ],
  ])('%s costs nothing, at once', async (_name, handler) => {
    const sold = meter({ till: holds(), price: '0.5' }, handler as () => Response)
    await expect(sold(request())).rejects.toThrow(/must return a Response/)
    expect(await settled()).toBe(0n)
  })

  test.each(['application/json-seq', 'application/x-ndjson', 'text/event-stream'])(
    'streams %s is charged at the end',
    async (type) => {
      const sold = meter({ till: holds(), price: '0.5' }, (_, { charge }) => {
        async function* parts() {
          charge('0.1')
          yield new TextEncoder().encode('{}\n')
          charge('0.1')
        }
        const body = ReadableStream.from(parts()) as unknown as ReadableStream
        return new Response(body, { headers: { 'content-type': type } })
      })
      await (await sold(request())).text()
      expect(await settled()).toBe(200_000n)
    },
  )

  test('is asked with HEAD is charged: nobody reads the body that it made', async () => {
    const sold = meter({ till: holds(), price: '0.5' }, () => new Response('text'))
    // Hono passes HEAD to what handles GET, and drops the body.
    const app = new Hono().get('/', (c) => sold(c.req.raw))
    const headers = { authorization: `Bearer ${till.key}` }
    const answer = await app.request('/', { method: 'HEAD', headers })
    expect([answer.status, answer.headers.get('x-bursar-charged')]).toEqual([200, '0.500000'])
    expect(await settled()).toBe(500_000n)
  })

  test('has a body that a middleware has read is served, and finds out who pays without it', async () => {
    const account = (asked: Request) => ({ key: asked.headers.get('x-buyer') ?? '' })
    const sold = meter({ till: holds(), account, price: () => '0.5' }, (_asked, _metered, body: object) =>
      Response.json(body),
    )
    const app = new Hono().post('/', async (c) => sold(c.req.raw, await c.req.json()))
    const ask = () =>
      app.request('/', {
        method: 'POST',
        headers: { 'x-buyer': till.key, 'idempotency-key': 'once' },
        body: '{"a":1}',
      })
    const answer = await ask()
    expect([answer.status, await answer.json()]).toEqual([200, { a: 1 }])
    expect((await ask()).status).toBe(409)
    expect(await settled()).toBe(500_000n)
  })

  test('runs where requests have no signal is served, also with a stream', async () => {
    const body = () => new ReadableStream({ start: (it) => (it.enqueue(Buffer.from('text')), it.close()) })
    const sold = meter({ till: holds(), price: '0.5' }, () => new Response(body()))
    const headers = { authorization: `Bearer ${till.key}` }
    const asked = new Request('http://service.example/', { headers })
    Object.defineProperty(asked, 'signal', { value: undefined })
    expect(await (await sold(asked)).text()).toBe('text')
    expect(await settled()).toBe(500_000n)
  })

  test('reads the body finds it whole, whoever has read it before', async () => {
    const sold = meter(
      {
        till: holds(),
        account: async (asked) => ({ key: ((await asked.json()) as { key: string }).key }),
        price: async (asked) => ((await asked.json()) as { price: string }).price,
      },
      async (asked) => Response.json(await asked.json()),
    )
    const body = JSON.stringify({ key: till.key, price: '0.2' })
    const answer = await sold(new Request('http://service.example/', { method: 'POST', body }))
    expect(await answer.json()).toEqual({ key: till.key, price: '0.2' })
    const priced = meter(
      { till: holds(), price: '0.1', account: async (asked) => ({ key: await asked.text() }) },
      async (asked) => new Response(await asked.text()),
    )
    const plain = await priced(new Request('http://service.example/', { method: 'POST', body: till.key }))
    expect(await plain.text()).toBe(till.key)
    expect(await settled()).toBe(300_000n)
  })
})

describe('a client that leaves before the till has answered', () => {
  /** Answers when it is told to. */
  function slowTill() {
    const { holds: real } = holds()
    const [asked, go, made] = [
      Promise.withResolvers<void>(),
      Promise.withResolvers<void>(),
      Promise.withResolvers<void>(),
    ]
    const create: Holds['create'] = async (...args) => {
      asked.resolve()
      await go.promise
      const hold = await real.create(...args)
      made.resolve()
      return hold
    }
    return {
      asked: asked.promise,
      made: made.promise,
      go: () => go.resolve(),
      till: { holds: { ...real, create } },
    }
  }

  test('is served nothing, and pays nothing: Express', async () => {
    let runs = 0
    const closed = Promise.withResolvers<void>()
    const slow = slowTill()
    const service = await sellExpress(() => runs++, {
      till: slow.till,
      account: ({ res }) => {
        res?.once('close', () => closed.resolve())
        return { key: till.key }
      },
    })
    const client = httpRequest(service.url)
    client.on('error', () => undefined)
    client.end()
    await slow.asked
    client.destroy()
    await closed.promise
    slow.go()
    await slow.made
    expect(await settled()).toBe(0n)
    expect(runs).toBe(0)
  })

  test('is served nothing, and pays nothing: fetch', async () => {
    let runs = 0
    const slow = slowTill()
    const stop = new AbortController()
    const sold = meter({ till: slow.till, price: '0.5' }, () => {
      runs++
      return new Response('text')
    })
    const answer = sold(request({ signal: stop.signal }))
    await slow.asked
    stop.abort()
    slow.go()
    expect((await answer).status).toBe(499)
    expect(await settled()).toBe(0n)
    expect(runs).toBe(0)
  })
})

test.each<[string, () => void]>([
  [
    'throws',
    () => {
      throw new Error('no idea')
    },
  ],
  ['rejects', () => Promise.reject(new Error('no idea'))],
])('an onError that %s takes no answer with it', async (_name, onError) => {
  const said = vi.spyOn(console, 'error').mockImplementation(() => undefined)
  const sold = meter({ till: holds(), price: '0.1', onError }, (_, { charge }) => {
    charge('0.2')
    return new Response(null, { status: 204 })
  })
  expect((await sold(request())).status).toBe(204)
  expect(said).toHaveBeenCalledWith(expect.stringContaining('cost 0.200000 credits; 0.100000 were held'))
  expect(await settled()).toBe(100_000n)
})

test('a choice of what is charged that fails charges nothing', async () => {
  const charges = (): never => {
    throw new Error('no idea')
  }
  const sold = meter({ till: holds(), price: '0.5', charges }, () => new Response('text'))
  await expect(sold(request())).rejects.toThrow('no idea')
  const service = await sellExpress((_, res) => res.json({}), { charges })
  expect((await service.ask()).status).toBe(500)
  expect(await settled()).toBe(0n)
})

describe('a mistake of the seller', () => {
  test.each<object>([
    { price: 0.05 },
    { price: undefined },
    { price: '-1' },
    { price: '1000000001' },
    { lifetimeSeconds: 0 },
    { lifetimeSeconds: 86_401 },
    { lifetimeSeconds: 0.5 },
    { name: '' },
    { name: 'x'.repeat(201) },
  ])('is found when the meter is made: %j', (mistake) => {
    const options = { till: holds(), price: '0.5', ...mistake }
    expect(() => meter(options, () => new Response())).toThrow(TypeError)
    expect(() => meter.express(options, () => undefined)).toThrow(TypeError)
  })

  test.each<unknown>(['-1', '1000000001', '0.0000001', 0.05])(
    'is not told to buyers: a price of %j',
    async (price) => {
      const sold = meter({ till: holds(), price: () => price as string }, () => new Response('text'))
      await expect(sold(request())).rejects.toThrow(TypeError)
    },
  )
})
