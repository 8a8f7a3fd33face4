/**
 * The purse as a loopback HTTP server. Whoever holds its token may ask it to pay within the budget; nothing here
 * raises a budget, pins a payee or shows the key.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { z } from 'zod'
import { describeIssues } from '../config.ts'
import { BursarError, invalid, toBursarError } from '../errors.ts'
import { getPayment, getPaymentOf, payInvoice } from './pay.ts'
import type { Purse } from './purse.ts'
import { stoppable } from './stoppable.ts'
import { statusOf } from './view.ts'

export interface PurseServer {
  /** `http://127.0.0.1:<port>` */
  readonly url: string
  /** Takes no more requests and resolves when the last that has arrived is answered. */
  close(): Promise<void>
}

export interface ServerOptions {
  /** Whoever sends it may pay. At least 16 characters. */
  readonly token: string
  /** 0 for any free one. */
  readonly port: number
}

const payBody = z.strictObject({
  signed: z.strictObject({
    payload: z.string().max(4_096),
    signature: z.string().max(100),
    payee: z.string().max(100),
  }),
  idempotency_key: z.string().optional(),
})

/** @throws {BursarError} conflict: the port is in use. */
export async function servePurse(purse: Purse, { token, port }: ServerOptions): Promise<PurseServer> {
  const listener = getRequestListener(app(purse, token).fetch, { overrideGlobalObjects: false })
  const server = createServer((request, response) => void listener(request, response))
  const stop = stoppable(server)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(cannotListen(port, cause)))
    server.listen(port, '127.0.0.1', resolve)
  })
  const address = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${address.port}`, close: stop }
}

function app(purse: Purse, token: string): Hono {
  const routes = new Hono()
  routes.use(async (c, next) => {
    refuseBrowsers(c)
    requireToken(c, token)
    await next()
  })
  routes.use(bodyLimit({ maxSize: 16_384, onError: () => problem(invalid('The request is too large.')) }))
  routes.post('/pay', async (c) => {
    const body = payBody.safeParse(await readJson(c))
    if (!body.success) throw invalid(`The request has ${describeIssues(body.error)}.`)
    const { signed, idempotency_key: idempotencyKey } = body.data
    return c.json(
      await payInvoice(purse, { signed, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) }),
    )
  })
  routes.get('/payments', async (c) => {
    const { payee, invoice } = c.req.query()
    if (!payee || !invoice) throw invalid('Ask with ?payee= and ?invoice=.')
    return c.json({ payment: await getPaymentOf(purse, payee, invoice) })
  })
  routes.get('/payments/:id', async (c) => c.json(await getPayment(purse, c.req.param('id'))))
  // Says that it is alive, and asks no chain.
  routes.get('/hello', (c) => c.json({ address: purse.wallet.address }))
  routes.get('/status', async (c) => c.json(await statusOf(purse)))
  routes.notFound(() => problem(new BursarError('not_found', 'A purse has no such page.')))
  routes.onError((thrown) => {
    const error = toBursarError(thrown)
    if (error.code === 'internal') {
      purse.runtime.log.error({ err: thrown }, 'a request to the purse failed')
    }
    return problem(error)
  })
  return routes
}

/** A page in a browser could reach a loopback server by its own name (DNS rebinding): neither may ask. */
function refuseBrowsers(c: Context): void {
  const host = (c.req.header('host') ?? '').replace(/:\d+$/, '').toLowerCase()
  if (!['127.0.0.1', 'localhost', '[::1]'].includes(host)) {
    throw new BursarError('forbidden', 'The purse answers only as 127.0.0.1 or localhost.', {
      remedy: 'Reach it on its own machine, or through a tunnel such as ssh -L.',
    })
  }
  if (c.req.header('origin') !== undefined) {
    throw new BursarError('forbidden', 'The purse does not answer web pages.')
  }
}

function requireToken(c: Context, token: string): void {
  const given = /^Bearer (.+)$/i.exec(c.req.header('authorization') ?? '')?.[1] ?? ''
  // Hashed first: equal lengths, and a comparison that takes equally long wherever they differ.
  const digest = (text: string) => createHash('sha256').update(text).digest()
  if (timingSafeEqual(digest(given), digest(token))) return
  throw new BursarError('unauthorized', "That is not this purse's token.", {
    remedy:
      'Correct purse.token; for a purse of your own, leave it and purse.url out, and the purse is found by itself.',
  })
}

async function readJson(c: Context): Promise<unknown> {
  try {
    return await c.req.json()
  } catch {
    throw invalid('The body is not JSON.')
  }
}

function problem(error: BursarError): Response {
  return new Response(JSON.stringify(error.toProblem()), {
    status: error.status,
    headers: { 'content-type': 'application/problem+json' },
  })
}

function cannotListen(port: number, cause: NodeJS.ErrnoException): BursarError {
  return new BursarError(
    'conflict',
    `The purse cannot listen on 127.0.0.1:${port} (${cause.code ?? 'unknown reason'}).`,
    {
      remedy: 'Give purse.url another port, or leave it out.',
      cause,
    },
  )
}
