/** The tools over Streamable HTTP, at `/mcp`: the caller's key decides whose till they see. */
import { Hono } from 'hono'
import type { Bursar } from '../bursar.ts'
import type { AccountPrincipal } from '../ledger/keys.ts'
import type { McpHttp } from '../mcp/server.ts'
import { textOf } from './body.ts'
import { type Authenticate, authenticated, buyer, type HttpEnv, onlyMethods } from './security.ts'

export interface McpRoute {
  readonly mcp: McpHttp
  readonly authenticate: Authenticate
  /** The till, bound to one account (and agent): it shows and spends nothing of another. */
  readonly bursarFor: (principal: AccountPrincipal) => Bursar
  readonly maxBodyBytes: number
}

export function mcpRoutes({ mcp, authenticate, bursarFor, maxBodyBytes }: McpRoute): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()
  // Without sessions there is no stream to open with GET and none to end with DELETE.
  app.use('*', onlyMethods('POST'), authenticated(authenticate))
  app.post('/', async (c) => {
    const { url, headers, signal } = c.req.raw
    const bursar = bursarFor(buyer(c.get('principal')))
    const body = await textOf(c.req.raw, maxBodyBytes)
    if (/^\s*\[/.test(body)) return batchRefused()
    return mcp.fetch(new Request(url, { method: 'POST', headers, body, signal }), bursar)
  })
  return app
}

/**
 * One request is one message, and counts as one against its key's limit. Batches were in the protocol for three months
 * (2025-03-26), and no known client sends them.
 */
function batchRefused(): Response {
  const error = { code: -32600, message: 'Batches are not taken: send one message in each request.' }
  return Response.json({ jsonrpc: '2.0', id: null, error }, { status: 400 })
}
