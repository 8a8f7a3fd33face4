/** `GET /metrics`, for whoever may see how much a till sells: with the operator's token or a seller's key. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Hono } from 'hono'
import { BursarError } from '../errors.ts'
import { problemResponse } from './problem.ts'
import {
  type Authenticate,
  type CheckHost,
  challenge,
  type HttpEnv,
  hasKey,
  keyIn,
  onlyMethods,
  principalOf,
} from './security.ts'

export interface MetricsAccess {
  /** `loopback`: also without any key, from this machine. */
  readonly access: 'key' | 'loopback'
  readonly adminToken: string | undefined
  readonly read: () => Promise<{ readonly type: string; readonly text: string }>
}

interface Options extends MetricsAccess {
  readonly authenticate: Authenticate
  readonly checkHost: CheckHost
}

/** Behind no check of names: who scrapes asks by whatever name the network has, and shows a key. */
export function metricsRoutes(options: Options): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()
  app.use('*', onlyMethods('GET', 'HEAD'))
  app.get('/', async (c) => {
    const { incoming } = c.env as { readonly incoming: IncomingMessage }
    const [authorization, apiKey] = [c.req.header('authorization'), c.req.header('x-api-key')]
    if (!isLocal(options, incoming)) {
      const refused = await refusal(options, authorization, apiKey)
      if (refused?.code === 'unauthorized') {
        return problemResponse(refused, challenge(hasKey(authorization, apiKey)))
      }
      if (refused) return problemResponse(refused)
    }
    const { type, text } = await options.read()
    return c.body(text, 200, { 'content-type': type, 'cache-control': 'no-store' })
  })
  return app
}

const FORWARDED = ['forwarded', 'x-forwarded-for', 'x-real-ip']

/** From this machine, not through a proxy on it, and not from a web page whose name was pointed at it. */
function isLocal({ access, checkHost }: Options, { headers, socket }: IncomingMessage): boolean {
  if (access !== 'loopback' || FORWARDED.some((name) => headers[name] !== undefined)) return false
  const origin = headers['origin']
  if (checkHost(headers.host, origin) !== null) return false
  return /^(?:127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+)$/.test(socket.remoteAddress ?? '')
}

async function refusal(
  { adminToken, authenticate }: Options,
  authorization: string | undefined,
  apiKey: string | undefined,
): Promise<BursarError | null> {
  const shown = keyIn(authorization, apiKey)
  if (adminToken !== undefined && shown !== null && isSame(shown, adminToken)) return null
  try {
    const { scope } = await principalOf(authenticate, authorization, apiKey)
    if (scope === 'seller') return null
    return new BursarError('forbidden', 'This key may not see how the till is doing.', {
      remedy: "Use a seller's key (bursar keys create --seller), or BURSAR_ADMIN_TOKEN.",
    })
  } catch (thrown) {
    if (thrown instanceof BursarError && thrown.code === 'unauthorized') return thrown
    throw thrown
  }
}

/** In a time that tells nothing about where they differ. */
function isSame(given: string, expected: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}
