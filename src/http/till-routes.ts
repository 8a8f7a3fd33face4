/** What an agent can ask of a till, as plain JSON over HTTP: the `Bursar` interface, bound to the caller's key. */
import { Hono } from 'hono'
import { z } from 'zod'
import { createInvoiceInput } from '../../tools/create-invoice.ts'
import { invoiceId } from '../../tools/fields.ts'
import { listUsageInput } from '../../tools/list-usage.ts'
import { checkInput } from '../../tools/tool.ts'
import type { Bursar } from '../bursar.ts'
import { BursarError, invalid } from '../errors.ts'
import type { AccountPrincipal } from '../ledger/keys.ts'
import { type Authenticate, authenticated, buyer, type HttpEnv, onlyMethods, tooLarge } from './security.ts'

/** An invoice takes a few hundred. */
const MAX_BODY_BYTES = 64 * 1024

export interface TillRoutesOptions {
  readonly authenticate: Authenticate
  readonly bursarFor: (principal: AccountPrincipal) => Bursar
}

const time = z.string().max(40)
const usageQuery = listUsageInput.extend({
  model: z.string().min(1).max(200).exactOptional(),
  since: time.exactOptional(),
  until: time.exactOptional(),
})

/** Mounted at `/v1`. */
export function tillRoutes({ authenticate, bursarFor }: TillRoutesOptions): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()
  const key = authenticated(authenticate)
  const read = onlyMethods('GET', 'HEAD')
  app.use('/offers', read, key)
  app.use('/balance', read, key)
  app.use('/usage', read, key)
  app.use('/invoices', onlyMethods('POST'), key)
  app.use('/invoices/:id', read, key)

  app.get('/offers', async (c) => c.json(await bursarFor(buyer(c.get('principal'))).listOffers()))
  app.get('/balance', async (c) => c.json(await bursarFor(buyer(c.get('principal'))).getBalance()))
  app.get('/usage', async (c) => {
    const { limit, ...rest } = c.req.query()
    const query =
      limit === undefined ? rest : { ...rest, limit: /^\d{1,9}$/.test(limit) ? Number(limit) : limit }
    const input = checkInput({ name: '/v1/usage', input: usageQuery }, query)
    return c.json(await bursarFor(buyer(c.get('principal'))).listUsage(input))
  })
  app.post('/invoices', async (c) => {
    const key = c.req.header('idempotency-key')
    const body: unknown = await jsonOf(c.req.raw)
    const input = checkInput(
      { name: '/v1/invoices', input: createInvoiceInput },
      key === undefined ? body : { ...Object(body), idempotency_key: key },
    )
    return c.json(await bursarFor(buyer(c.get('principal'))).createInvoice(input), 201)
  })
  app.get('/invoices/:id', async (c) => {
    const id = invoiceId.safeParse(c.req.param('id'))
    if (!id.success)
      throw new BursarError('not_found', 'There is no such invoice.', { remedy: 'Check the id.' })
    return c.json(await bursarFor(buyer(c.get('principal'))).getInvoice(id.data))
  })
  return app
}

/** @throws {BursarError} invalid_request, payload_too_large */
export async function jsonOf(request: Request): Promise<unknown> {
  const text = await textWithin(request, MAX_BODY_BYTES)
  try {
    return JSON.parse(text)
  } catch {
    throw invalid('The body is not valid JSON.', { remedy: 'Send a JSON object.' })
  }
}

/** Also bounds a body whose length was not declared. */
async function textWithin(request: Request, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body ?? []) {
    size += chunk.length
    if (size > maxBytes) throw tooLarge(maxBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
