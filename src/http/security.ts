/** Who may talk to this server at all, how much they may send, and on whose behalf they speak. */
import type { MiddlewareHandler } from 'hono'
import { BursarError, toBursarError } from '../errors.ts'
import type { AccountPrincipal, Principal } from '../ledger/keys.ts'
import { problemResponse } from './problem.ts'

/** What middleware leaves for the routes behind it. */
export interface HttpEnv {
  Variables: { principal: Principal }
}

const MAX_SEEN = 100
const LOOPBACK = ['localhost', '127.0.0.1', '[::1]']

/** What is wrong with where a request comes from; null when nothing is. */
export type CheckHost = (host: string | undefined, origin: string | undefined) => BursarError | null

/**
 * Refuses names that this server is not known by, so that a web page whose name was pointed at 127.0.0.1 (DNS
 * rebinding) reaches nothing, and pages of other origins, whose requests a browser sends with an Origin.
 */
export function hostCheck(allowed: readonly string[]): CheckHost {
  const known = new Set([...LOOPBACK, ...allowed])
  // Clients send one of a few headers, over and over.
  const seen = new Set<string>()

  function isKnown(header: string): boolean {
    if (seen.has(header)) return true
    const host = hostname(`http://${header}`)
    if (host === null || !known.has(host)) return false
    if (seen.size < MAX_SEEN) seen.add(header)
    return true
  }

  return (host, origin) => {
    if (!isKnown(host ?? '')) {
      return new BursarError('forbidden', 'This server is not known by the name in the Host header.', {
        remedy: 'Use http://127.0.0.1, or add the name to http.allowed_hosts in the configuration.',
      })
    }
    const page = origin === undefined ? undefined : hostname(origin)
    if (page === undefined || (page !== null && known.has(page))) return null
    return new BursarError('forbidden', 'Pages of this origin may not use this server.', {
      remedy: 'Add its host to http.allowed_hosts in the configuration, if you trust it.',
    })
  }
}

export function knownHosts(check: CheckHost): MiddlewareHandler {
  return async (c, next) => {
    const refused = check(c.req.header('host'), c.req.header('origin'))
    return refused ? problemResponse(refused) : next()
  }
}

/** Null for what is no http(s) URL; the opaque origin "null" is none. */
function hostname(url: string): string | null {
  const parsed = URL.parse(url)
  if (!parsed || !/^https?:$/.test(parsed.protocol) || parsed.hostname === '') return null
  return parsed.hostname
}

export function tooLarge(maxBytes: number): BursarError {
  return new BursarError('payload_too_large', `A request may have at most ${maxBytes} bytes.`, {
    remedy: 'Send less, or in several requests.',
    details: { max_bytes: maxBytes },
  })
}

/** Refuses a declared body over the limit before a byte of it is read; who reads a body bounds undeclared ones. */
export function bodyLimit(maxBytes: number): MiddlewareHandler {
  return async (c, next) => {
    if (Number(c.req.header('content-length') ?? 0) > maxBytes) {
      return problemResponse(tooLarge(maxBytes), { connection: 'close' })
    }
    return next()
  }
}

export function wrongMethod(path: string, methods: readonly string[]): BursarError {
  return new BursarError('method_not_allowed', `${path} takes ${methods.join(' or ')} only.`, {
    remedy: `Use ${methods[0]}.`,
  })
}

/** Refuses every method but these. */
export function onlyMethods(...methods: readonly string[]): MiddlewareHandler {
  return async (c, next) => {
    if (methods.includes(c.req.method)) return next()
    return problemResponse(wrongMethod(c.req.path, methods), { allow: methods.join(', ') })
  }
}

export interface Authenticate {
  (key: string): Promise<Principal>
  /** The same, of a request that has been counted already. Absent: nothing is counted. */
  readonly again?: (key: string) => Promise<Principal>
}

/** What to ask when a request has arrived whole. */
const arriving = new WeakMap<Request, () => Promise<unknown>>()

/**
 * To be awaited after a body was read. It may have come slowly, and its key been revoked meanwhile: a stolen key could
 * otherwise be used long after, on connections that were opened before.
 *
 * @throws {BursarError} unauthorized
 */
export async function requireStillInForce(request: Request): Promise<void> {
  await arriving.get(request)?.()
}

/**
 * Whom a request speaks for: `Authorization: Bearer KEY` or `x-api-key: KEY`.
 *
 * @throws {BursarError} unauthorized, unless the key is known and in force.
 */
export function principalOf(
  authenticate: Authenticate,
  authorization: string | undefined,
  apiKey: string | undefined,
): Promise<Principal> {
  const key = keyIn(authorization, apiKey)
  if (key !== null) return authenticate(key)
  throw new BursarError('unauthorized', 'This needs an API key.', {
    remedy: 'Send "Authorization: Bearer bk_..." or "x-api-key: bk_...".',
  })
}

/** The same once more, for what takes longer. It counts as no further request. @throws {BursarError} unauthorized */
export function principalAgain(
  authenticate: Authenticate,
  authorization: string | undefined,
  apiKey: string | undefined,
): Promise<Principal> {
  return principalOf(authenticate.again ?? authenticate, authorization, apiKey)
}

/** What RFC 6750 wants beside a 401. */
export function challenge(keyGiven: boolean): { readonly 'www-authenticate': string } {
  return { 'www-authenticate': `Bearer realm="bursar"${keyGiven ? ', error="invalid_token"' : ''}` }
}

/** Answers 401 unless the key is known and in force. */
export function authenticated(authenticate: Authenticate): MiddlewareHandler<HttpEnv> {
  return async (c, next) => {
    const [authorization, apiKey] = [c.req.header('authorization'), c.req.header('x-api-key')]
    try {
      c.set('principal', await principalOf(authenticate, authorization, apiKey))
      arriving.set(c.req.raw, () => principalAgain(authenticate, authorization, apiKey))
    } catch (thrown) {
      const error = toBursarError(thrown)
      if (error.code !== 'unauthorized') throw error
      return problemResponse(error, challenge(hasKey(authorization, apiKey)))
    }
    return next()
  }
}

/** The key that was sent, whatever it is worth; null: none that could be read. */
export function keyIn(authorization: string | undefined, apiKey: string | undefined): string | null {
  return /^Bearer +([^\s]+) *$/i.exec(authorization ?? '')?.[1] ?? (apiKey || null)
}

export function hasKey(authorization: string | undefined, apiKey: string | undefined): boolean {
  return keyIn(authorization, apiKey) !== null
}

/** An account's key. @throws {BursarError} forbidden: a seller's. */
export function buyer(principal: Principal): AccountPrincipal {
  if (principal.scope !== 'seller') return principal
  throw new BursarError('forbidden', "A seller's key has no credits: its holder cannot buy or spend.", {
    remedy: 'Use the key of an account or an agent: bursar keys create.',
  })
}
