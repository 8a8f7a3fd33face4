/** `/v1/holds`: services that meter themselves hold, capture and release a buyer's credits. */
import { type Context, Hono } from 'hono'
import { z } from 'zod'
import { credits, idempotencyKey } from '../../tools/fields.ts'
import { checkInput } from '../../tools/tool.ts'
import type { HoldView } from '../bursar.ts'
import { BursarError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import {
  type Asker,
  captureServiceHold,
  createServiceHold,
  getServiceHold,
  MAX_LIFETIME_S,
  releaseServiceHold,
} from '../ledger/service-holds.ts'
import { jsonOf, keyedJsonOf } from './body.ts'
import type { Operation } from './operation.ts'
import {
  type Authenticate,
  authenticated,
  type HttpEnv,
  hasKey,
  onlyMethods,
  principalOf,
} from './security.ts'

export interface HoldRoutesOptions {
  readonly ledger: Ledger
  readonly authenticate: Authenticate
}

const text = z.string()
const hash = z.string().regex(/^[0-9a-f]{64}$/, { error: 'expected a SHA-256 hash, 64 hexadecimal digits' })
const secret = z.string().min(16).max(200)

const createBody = z.strictObject({
  amount: credits.describe('credits, the worst case'),
  name: z.string().min(1).max(200).exactOptional().describe('what is sold, as receipts name it'),
  lifetime_seconds: z.int().min(1).max(MAX_LIFETIME_S).exactOptional(),
  account: z.string().min(1).max(80).exactOptional().describe("with a seller's key: whose credits"),
  external_id: z
    .string()
    .min(1)
    .max(200)
    .exactOptional()
    .describe("instead of account: the seller's name for it"),
  lock: hash.exactOptional().describe('SHA-256 of a secret: the hold is settled by whoever has that'),
  request_hash: hash.exactOptional().describe('what a repeated Idempotency-Key must bring again'),
  idempotency_key: idempotencyKey,
})

const captureBody = z.strictObject({
  amount: z
    .string()
    .regex(/^\d{1,9}(\.\d{1,6})?$/, { error: 'expected credits as decimal text, such as "0.25"' })
    .describe('credits, zero to what is held'),
  unlock: secret.exactOptional().describe('the secret of the lock; no API key is needed with it'),
})

const releaseBody = captureBody.omit({ amount: true })

const view = z.object({
  id: text,
  account: text,
  name: text,
  state: z.enum(['held', 'captured', 'released', 'lapsed']),
  amount: text,
  charged: text,
  available: text.describe('what the account can spend, as of this answer'),
  created_at: text,
  expires_at: text,
  lock: text.nullable(),
})

const common = { key: 'any', output: view, headers: ['x-bursar-receipt'] } as const

export const holdOperations: readonly Operation[] = [
  {
    ...common,
    id: 'createHold',
    method: 'post',
    path: '/v1/holds',
    summary: 'Hold credits, before a service is rendered',
    body: createBody,
    idempotent: true,
    status: 201,
    errors: [
      'insufficient_credits',
      'allowance_exceeded',
      'frozen',
      'forbidden',
      'not_found',
      'idempotency_conflict',
    ],
  },
  {
    ...common,
    id: 'getHold',
    method: 'get',
    path: '/v1/holds/{id}',
    summary: 'A hold, and what became of it',
    status: 200,
    errors: ['not_found'],
  },
  {
    ...common,
    id: 'captureHold',
    method: 'post',
    path: '/v1/holds/{id}/capture',
    summary: 'Charge the true cost and give back the rest',
    body: captureBody,
    status: 200,
    errors: ['not_found', 'forbidden', 'hold_closed'],
  },
  {
    ...common,
    id: 'releaseHold',
    method: 'post',
    path: '/v1/holds/{id}/release',
    summary: 'Give all of it back',
    body: releaseBody,
    bodyless: true,
    status: 200,
    errors: ['not_found', 'forbidden', 'hold_closed'],
  },
]

/** Mounted at `/v1`. */
export function holdRoutes({ ledger, authenticate }: HoldRoutesOptions): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()
  const key = authenticated(authenticate)
  const write = onlyMethods('POST')
  app.use('/holds', write, key)
  app.use('/holds/:id', onlyMethods('GET', 'HEAD'), key)
  app.use('/holds/:id/capture', write)
  app.use('/holds/:id/release', write)

  app.post('/holds', async (c) => {
    const input = checkInput({ name: '/v1/holds', input: createBody }, await keyedJsonOf(c.req.raw))
    return answer(c, await createServiceHold(ledger, c.get('principal'), input), 201)
  })
  app.get('/holds/:id', async (c) =>
    answer(c, await getServiceHold(ledger, c.get('principal'), c.req.param('id'))),
  )
  app.post('/holds/:id/capture', async (c) => {
    const body = await jsonOf(c.req.raw)
    const asker = await askerOf(authenticate, c, body)
    const input = checkInput({ name: '/v1/holds/{id}/capture', input: captureBody }, body)
    return answer(c, await captureServiceHold(ledger, asker, c.req.param('id'), input))
  })
  app.post('/holds/:id/release', async (c) => {
    const body = await jsonOf(c.req.raw, { empty: {} })
    const asker = await askerOf(authenticate, c, body)
    const input = checkInput({ name: '/v1/holds/{id}/release', input: releaseBody }, body)
    return answer(c, await releaseServiceHold(ledger, asker, c.req.param('id'), input))
  })
  return app
}

/** The secret of a lock stands for itself: the key that made the hold may have been revoked since. */
async function askerOf(authenticate: Authenticate, c: Context<HttpEnv>, body: unknown): Promise<Asker> {
  const [authorization, apiKey] = [c.req.header('authorization'), c.req.header('x-api-key')]
  const { unlock } = Object(body) as { readonly unlock?: unknown }
  if (unlock !== undefined && !hasKey(authorization, apiKey)) return null
  try {
    return await principalOf(authenticate, authorization, apiKey)
  } catch (error) {
    const unknown = error instanceof BursarError && error.code === 'unauthorized'
    if (unknown && unlock !== undefined) return null
    throw error
  }
}

function answer(c: Context<HttpEnv>, hold: HoldView, status: 200 | 201 = 200): Response {
  return c.json(hold, status, { 'x-bursar-receipt': hold.id })
}
