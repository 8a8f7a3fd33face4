/** Claims of payments that no endpoint shows by itself, by those whom the invoice concerns. */
import { Hono } from 'hono'
import { z } from 'zod'
import { checkInput } from '../../tools/tool.ts'
import type { InvoiceView, PaymentClaim } from '../bursar.ts'
import type { ClaimPayment } from '../invoices/claim.ts'
import type { Runtime } from '../runtime.ts'
import { jsonOf } from './body.ts'
import type { Operation } from './operation.ts'
import { type RateLimiter, rateLimited, rateLimiter } from './rate-limit.ts'
import { type Authenticate, authenticated, type HttpEnv, onlyMethods } from './security.ts'
import { knownId, signedInvoice } from './till-routes.ts'

/** Each asks an endpoint several times, which the seller pays for; one that came too early is repeated in a minute. */
const CLAIMS = { count: 20, perMs: 60_000, burst: 20 }

export interface ClaimRoutesOptions {
  readonly runtime: Pick<Runtime, 'now'>
  readonly authenticate: Authenticate
  readonly claimPayment: (claim: ClaimPayment) => Promise<InvoiceView>
}

export const claimInput = z.strictObject({
  txid: z
    .string()
    .regex(/^0x[0-9a-fA-F]{64}$/, { error: 'expected a transaction hash: 0x and 64 hexadecimal digits' }),
  chain: z
    .string()
    .min(1)
    .max(80)
    .exactOptional()
    .describe('Where it was paid, if not on the chain of the invoice'),
}) satisfies z.ZodType<PaymentClaim>

export const claimOperations: readonly Operation[] = [
  {
    id: 'claimPayment',
    method: 'post',
    path: '/v1/invoices/{id}/claim',
    summary: 'Credit a payment that a contract made and that the endpoints do not show by themselves',
    key: 'any',
    body: claimInput,
    status: 200,
    output: signedInvoice,
    errors: ['not_found', 'conflict', 'chain_unavailable'],
  },
]

/** Mounted at `/v1`. Safe to repeat. An account claims for its own invoices, the seller for anybody's. */
export function claimRoutes({ runtime, authenticate, claimPayment }: ClaimRoutesOptions): Hono<HttpEnv> {
  const limiter = rateLimiter(() => runtime.now(), CLAIMS)
  const app = new Hono<HttpEnv>()
  app.use('/invoices/:id/claim', onlyMethods('POST'), authenticated(authenticate))
  app.post('/invoices/:id/claim', async (c) => {
    const id = knownId(c.req.param('id'))
    const input = checkInput({ name: '/v1/invoices/:id/claim', input: claimInput }, await jsonOf(c.req.raw))
    const principal = c.get('principal')
    const whose = principal.scope === 'seller' ? {} : { account: principal.account }
    if (principal.scope !== 'seller') limited(limiter, principal.account)
    return c.json(await claimPayment({ ...whose, invoice: id, ...input }))
  })
  return app
}

/** @throws {BursarError} rate_limited */
function limited(limiter: RateLimiter, account: string): void {
  const wait = limiter.waitFor(account)
  if (wait > 0) throw rateLimited('This account claims too many payments.', wait)
  limiter.take(account)
}
