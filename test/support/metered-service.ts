/** A service that sells one endpoint for credits, in either framework, on a port of its own. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import express from 'express'
import { Hono } from 'hono'
import { meter } from '../../src/sdk/meter.ts'
import type { Metered, MeterOptions } from '../../src/sdk/tab.ts'

/** What a handler does, in either framework. */
export interface Work {
  (metered: Metered): Promise<{ status: number; body?: string; stream?: AsyncIterable<string> }>
}

export interface Service {
  readonly url: string
  /** How often the handler ran. */
  runs(): number
  ask(init?: RequestInit): Promise<Response>
}

export interface Selling extends Omit<MeterOptions<never>, 'account' | 'name'> {
  /** The key of who buys. */
  readonly key: string
}

export type Sell = (selling: Selling, work: Work) => Promise<Service & { stop(): Promise<unknown> }>

export function serviceAt(url: string, key: string, runs: () => number): Service {
  return {
    url,
    runs,
    ask: ({ headers, ...init } = {}) =>
      fetch(`${url}/summarize`, {
        method: 'POST',
        body: '{"text":"long"}',
        ...init,
        headers: {
          authorization: `Bearer ${key}`,
          'content-type': 'application/json',
          ...(headers as Record<string, string>),
        },
      }),
  }
}

export const sellHono: Sell = async ({ key, ...selling }, work) => {
  let runs = 0
  const metered = meter({ ...selling, price: selling.price as string }, async (_, given) => {
    runs++
    const { status, body, stream } = await work(given)
    if (!stream) return Response.json({ body }, { status })
    return new Response(ReadableStream.from(encoded(stream)) as never, { status })
  })
  const app = new Hono()
  app.post('/summarize', (c) => metered(c.req.raw))
  app.onError((_, c) => c.json({ failed: true }, 500))
  const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1', overrideGlobalObjects: false })
  await once(server, 'listening')
  return {
    ...serviceAt(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, key, () => runs),
    stop: () =>
      new Promise((resolve) => {
        server.close(resolve)
        if ('closeAllConnections' in server) server.closeAllConnections()
      }),
  }
}

export const sellExpress: Sell = async ({ key, ...selling }, work) => {
  let runs = 0
  const app = express()
  app.use(express.json())
  app.post(
    '/summarize',
    meter.express(
      { ...selling, price: selling.price as string },
      async (_: express.Request, res: express.Response, given) => {
        runs++
        const { status, body, stream } = await work(given)
        res.status(status)
        if (!stream) {
          res.json({ body })
          return
        }
        for await (const part of stream) res.write(part)
        res.end()
      },
    ),
  )
  app.use((_: Error, __: express.Request, res: express.Response, next: express.NextFunction) => {
    if (res.headersSent) next(_)
    else res.status(500).json({ failed: true })
  })
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    ...serviceAt(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, key, () => runs),
    stop: () =>
      new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      }),
  }
}

async function* encoded(parts: AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder()
  for await (const part of parts) yield encoder.encode(part)
}
