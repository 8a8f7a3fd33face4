/** What an agent can ask of a till, as plain JSON over HTTP: the `Bursar` interface, bound to the caller's key. */
import { Hono } from 'hono'
import { z } from 'zod'
import { callModel } from '../../tools/call-model.ts'
import { createInvoiceInput } from '../../tools/create-invoice.ts'
import { invoiceId } from '../../tools/fields.ts'
import { getBalance } from '../../tools/get-balance.ts'
import { listOffers } from '../../tools/list-offers.ts'
import { listUsage, listUsageInput } from '../../tools/list-usage.ts'
import { checkInput } from '../../tools/tool.ts'
import { invoice } from '../../tools/views.ts'
import type { Bursar, CallModel, InvoiceView } from '../bursar.ts'
import { BursarError } from '../errors.ts'
import type { AccountPrincipal } from '../ledger/keys.ts'
import { FIT_MEMBER } from '../models/fit.ts'
import type { Runtime } from '../runtime.ts'
import { keyedJsonOf, withMembers } from './body.ts'
import { eventStream } from './events.ts'
import { CHARGED } from './openapi-headers.ts'
import { CALL_REFUSALS, type Operation } from './operation.ts'
import {
  type Authenticate,
  authenticated,
  buyer,
  type HttpEnv,
  onlyMethods,
  principalAgain,
} from './security.ts'

/** A conversation; the same as over MCP. */
const MAX_CALL_BYTES = 4 * 1024 * 1024
/** A waiting client is sent away after this, and comes back: an abandoned connection does not stay for ever. */
const LONGEST_WATCH_MS = 600_000

export interface TillRoutesOptions {
  readonly runtime: Pick<Runtime, 'after'>
  readonly authenticate: Authenticate
  readonly bursarFor: (principal: AccountPrincipal) => Bursar
  /** Aborted when the server stops: whoever waits is sent away. */
  readonly stopping: AbortSignal
}

const text = z.string()
export const signedInvoice = invoice.extend({
  signed: z.object({ payload: text, signature: text, payee: text }),
})

const common = { key: 'buyer', status: 200, errors: [] } as const

export const tillOperations: readonly Operation[] = [
  {
    ...common,
    id: 'listOffers',
    method: 'get',
    path: '/v1/offers',
    summary: 'Packs, rails and models, with prices',
    output: listOffers.output,
  },
  {
    ...common,
    id: 'createInvoice',
    method: 'post',
    path: '/v1/invoices',
    summary: 'Ask for an address and an exact amount',
    body: createInvoiceInput,
    idempotent: true,
    status: 201,
    output: signedInvoice,
    errors: ['not_found', 'idempotency_conflict', 'rate_unavailable', 'chain_unavailable', 'frozen'],
  },
  {
    ...common,
    id: 'getInvoice',
    method: 'get',
    path: '/v1/invoices/{id}',
    summary: 'An invoice with its state and payments',
    output: signedInvoice,
    errors: ['not_found'],
  },
  {
    ...common,
    id: 'watchInvoice',
    method: 'get',
    path: '/v1/invoices/{id}/events',
    summary:
      'The invoice at once and whenever it changes (event "invoice"), until it is settled (event "end"; its timed_out says that the client should come back)',
    output: text,
    media: 'text/event-stream',
    errors: ['not_found'],
  },
  {
    ...common,
    id: 'getBalance',
    method: 'get',
    path: '/v1/balance',
    summary: 'Credits available and held, burn rate and runway',
    output: getBalance.output,
  },
  {
    ...common,
    id: 'listUsage',
    method: 'get',
    path: '/v1/usage',
    summary: 'Receipts, newest first',
    query: listUsageInput,
    output: listUsage.output,
  },
  {
    ...common,
    id: 'callModel',
    method: 'post',
    path: '/v1/calls',
    summary: 'Ask a model, whatever its format: the worst case is held, the true cost charged',
    body: callModel.input,
    idempotent: true,
    headers: CHARGED,
    output: callModel.output,
    errors: CALL_REFUSALS,
  },
]

/** Mounted at `/v1`. */
export function tillRoutes(options: TillRoutesOptions): Hono<HttpEnv> {
  const { authenticate, bursarFor } = options
  const app = new Hono<HttpEnv>()
  const key = authenticated(authenticate)
  const read = onlyMethods('GET', 'HEAD')
  app.use('/offers', read, key)
  app.use('/balance', read, key)
  app.use('/usage', read, key)
  app.use('/calls', onlyMethods('POST'), key)
  app.use('/invoices', onlyMethods('POST'), key)
  app.use('/invoices/:id', read, key)
  app.use('/invoices/:id/events', onlyMethods('GET'), key)

  app.get('/offers', async (c) => c.json(await bursarFor(buyer(c.get('principal'))).listOffers()))
  app.get('/balance', async (c) => c.json(await bursarFor(buyer(c.get('principal'))).getBalance()))
  app.get('/usage', async (c) => {
    const { limit, ...rest } = c.req.query()
    const query =
      limit === undefined ? rest : { ...rest, limit: /^\d{1,9}$/.test(limit) ? Number(limit) : limit }
    const input = checkInput({ name: '/v1/usage', input: listUsageInput }, query)
    return c.json(await bursarFor(buyer(c.get('principal'))).listUsage(input))
  })
  app.post('/calls', async (c) => {
    const bursar = bursarFor(buyer(c.get('principal')))
    const body = fittedAs(c.req.header('x-bursar-fit'), await keyedJsonOf(c.req.raw, MAX_CALL_BYTES))
    // The tool's own schema: what it lets through has this type.
    const input = checkInput({ name: '/v1/calls', input: callModel.input }, body) as unknown as CallModel
    const result = await bursar.callModel(input)
    return c.json(result, 200, {
      'x-bursar-receipt': result.receipt,
      'x-bursar-charged': result.charged,
      'x-bursar-balance': result.available,
      ...(result.replayed ? { 'x-bursar-replayed': 'true' } : {}),
    })
  })
  app.post('/invoices', async (c) => {
    const body = await keyedJsonOf(c.req.raw)
    const input = checkInput({ name: '/v1/invoices', input: createInvoiceInput }, body)
    return c.json(await bursarFor(buyer(c.get('principal'))).createInvoice(input), 201)
  })
  app.get('/invoices/:id', async (c) => {
    const id = knownId(c.req.param('id'))
    return c.json(await bursarFor(buyer(c.get('principal'))).getInvoice(id))
  })
  app.get('/invoices/:id/events', async (c) => {
    const id = knownId(c.req.param('id'))
    const [authorization, apiKey] = [c.req.header('authorization'), c.req.header('x-api-key')]
    const again = () => principalAgain(authenticate, authorization, apiKey)
    return watch(options, bursarFor(buyer(c.get('principal'))), id, again)
  })
  return app
}

/** As at the model endpoints: what the body says counts more than the header. */
function fittedAs(header: string | undefined, body: unknown): unknown {
  if (header === undefined || Object.hasOwn(Object(body) as object, FIT_MEMBER)) return body
  return withMembers(body, { [FIT_MEMBER]: /^\d{1,8}$/.test(header) ? Number(header) : header })
}

/** Of an invoice. @throws {BursarError} not_found: what can be none */
export function knownId(given: string): string {
  const id = invoiceId.safeParse(given)
  if (id.success) return id.data
  throw new BursarError('not_found', 'There is no such invoice.', { remedy: 'Check the id.' })
}

async function watch(
  { runtime, stopping }: Pick<TillRoutesOptions, 'runtime' | 'stopping'>,
  bursar: Bursar,
  invoice: string,
  authenticateAgain: () => Promise<unknown>,
): Promise<Response> {
  // What is refused is refused with a status, before there is a stream.
  await bursar.getInvoice(invoice)
  return eventStream(runtime, async ({ send, signal }) => {
    const ending = new AbortController()
    let isFirst = true
    let told = Promise.resolve()
    async function tell(seen: InvoiceView, keyIsNew: boolean): Promise<void> {
      if (ending.signal.aborted) return
      if (keyIsNew || (await isInForce(authenticateAgain))) send('invoice', seen)
      else ending.abort(new Error('The key was revoked.'))
    }
    const end = await bursar
      .awaitPayment({
        invoice,
        timeout_ms: LONGEST_WATCH_MS,
        signal: AbortSignal.any([signal, stopping, ending.signal]),
        onProgress(seen) {
          const keyIsNew = isFirst
          isFirst = false
          told = told.then(() => tell(seen, keyIsNew)).catch((error: unknown) => ending.abort(error))
        },
      })
      .catch((error: unknown) => {
        if (stopping.aborted || ending.signal.aborted) return { timed_out: true }
        throw error
      })
    await told
    // Whoever has missed something comes back, and is told why when the key is refused.
    send('end', { timed_out: end.timed_out || ending.signal.aborted })
  })
}

/** @throws {BursarError} database_unavailable */
async function isInForce(authenticateAgain: () => Promise<unknown>): Promise<boolean> {
  try {
    await authenticateAgain()
    return true
  } catch (error) {
    if (error instanceof BursarError && error.code === 'unauthorized') return false
    throw error
  }
}
