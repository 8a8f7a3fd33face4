/** The tools over Streamable HTTP, at `/mcp`: the caller's key decides whose till they see. */
import { Hono } from 'hono'
import type { Bursar } from '../bursar.ts'
import type { AccountPrincipal } from '../ledger/keys.ts'
import type { McpHttp } from '../mcp/server.ts'
import { type Authenticate, authenticated, buyer, type HttpEnv, onlyMethods } from './security.ts'

export interface McpRoute {
  readonly mcp: McpHttp
  readonly authenticate: Authenticate
  /** The till, bound to one account (and agent): it shows and spends nothing of another. */
  readonly bursarFor: (principal: AccountPrincipal) => Bursar
}

export function mcpRoutes({ mcp, authenticate, bursarFor }: McpRoute): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()
  // Without sessions there is no stream to open with GET and none to end with DELETE.
  app.use('*', onlyMethods('POST'), authenticated(authenticate))
  app.post('/', async (c) => mcp.fetch(c.req.raw, bursarFor(buyer(c.get('principal')))))
  return app
}
