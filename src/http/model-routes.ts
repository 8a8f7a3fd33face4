/**
 * The model endpoints, on Node's own HTTP: `/v1/chat/completions` and its like. Whatever speaks to a model provider
 * speaks to these by base URL alone.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { BursarError, invalid, toBursarError } from '../errors.ts'
import type { AccountPrincipal } from '../ledger/keys.ts'
import { ANTHROPIC_VERSION } from '../models/chat.ts'
import type { Endpoint, Format } from '../models/endpoints/endpoint.ts'
import { ENDPOINTS } from '../models/endpoints/index.ts'
import { fitFloorOf } from '../models/fit.ts'
import { forward, type RawCall } from '../models/forward.ts'
import { mayCall, modelEntry, modelList } from '../models/listing.ts'
import type { CallContext, Caller } from '../models/reserve.ts'
import { refuse } from './model-errors.ts'
import { clientOf, type HttpClient, header, readRequest } from './node.ts'
import {
  type Authenticate,
  buyer,
  type CheckHost,
  challenge,
  hasKey,
  principalAgain,
  principalOf,
  wrongMethod,
} from './security.ts'
import { createSlots } from './slots.ts'

export interface ModelRoutesOptions {
  readonly calls: CallContext
  readonly authenticate: Authenticate
  readonly checkHost: CheckHost
}

export interface ModelRoutes {
  /** False: not one of these; nothing has been done. */
  handle(request: IncomingMessage, response: ServerResponse): boolean
  /** Whoever still waits for an answer gets what comes within the `drain_ms` of its upstream, then an error. */
  stop(): void
  /** Resolves when every call has been settled, also those whose clients have gone. */
  idle(): Promise<void>
}

/** What the largest of the providers take: long conversations with images. */
const MAX_BODY_BYTES = 32 * 1024 * 1024
/** What arrives faster is not looked at again: as long as another process may take a key that was revoked here. */
const SLOW_MS = 1_000
const MODELS = '/v1/models'
/** Claude Code looks whether its API is there, without a key. */
const HELLO = '/api/hello'

export function modelRoutes(options: ModelRoutesOptions): ModelRoutes {
  const endpoints = new Map(ENDPOINTS.map((endpoint) => [endpoint.route, endpoint]))
  const running = createSlots<HttpClient>()

  function track(response: ServerResponse, answer: (client: HttpClient) => Promise<void>): void {
    const client = clientOf(response)
    const slot = running.add(client)
    void answer(client).finally(() => running.remove(slot))
  }

  return {
    handle(request, response) {
      const url = request.url ?? ''
      const queryAt = url.indexOf('?')
      const path = queryAt === -1 ? url : url.slice(0, queryAt)
      const endpoint = endpoints.get(path)
      if (endpoint) {
        track(response, (client) => answerCall(options, endpoint, { request, response, client }))
      } else if (path === MODELS || path.startsWith(`${MODELS}/`)) {
        track(response, () => answerModels(options, path, request, response))
      } else if (path === HELLO) response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
      else return false
      return true
    },
    stop() {
      for (const client of running.all()) client.stop()
    },
    idle: running.empty,
  }
}

interface Called {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly client: HttpClient
}

async function answerCall(
  options: ModelRoutesOptions,
  endpoint: Endpoint,
  { request, response, client }: Called,
): Promise<void> {
  await guarded(options, endpoint.format, request, response, async () => {
    const caller = await admit(options, request, 'POST')
    const { now } = options.calls.ledger.runtime
    const admittedAt = now()
    const call = await callOf(endpoint, request)
    if (now() - admittedAt >= SLOW_MS) await requireStillInForce(options, request)
    const answer = await forward(options.calls, caller, call, client)
    if (answer) {
      response.writeHead(200, { ...answer.headers, 'content-length': answer.body.length }).end(answer.body)
    } else {
      response.end()
    }
  })
}

/** While its body came slowly, the key may have been revoked. @throws {BursarError} unauthorized */
async function requireStillInForce(
  { authenticate }: ModelRoutesOptions,
  request: IncomingMessage,
): Promise<void> {
  await principalAgain(authenticate, header(request, 'authorization'), header(request, 'x-api-key'))
}

async function answerModels(
  options: ModelRoutesOptions,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  // Anthropic's clients send their version with everything.
  const format: Format = header(request, 'anthropic-version') === undefined ? 'openai' : 'anthropic'
  await guarded(options, format, request, response, async () => {
    const caller = await admit(options, request, 'GET')
    const { models } = options.calls
    const answer =
      path === MODELS
        ? modelList(models, format, await mayCall(options.calls, caller))
        : modelEntry(models, format, decoded(path.slice(MODELS.length + 1)))
    response
      .writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      .end(JSON.stringify(answer))
  })
}

/** Never rejects: whatever is thrown becomes the answer, in the caller's format. */
async function guarded(
  { calls }: ModelRoutesOptions,
  format: Format,
  request: IncomingMessage,
  response: ServerResponse,
  answer: () => Promise<void>,
): Promise<void> {
  try {
    await answer()
  } catch (thrown) {
    const error = toBursarError(thrown)
    if (error.code === 'internal' && !request.destroyed) {
      calls.ledger.runtime.log.error({ err: thrown }, error.message)
    }
    refuse(response, format, error, extraHeaders(error, request))
  }
}

function extraHeaders(error: BursarError, request: IncomingMessage): Record<string, string> {
  if (error.code === 'unauthorized') {
    return challenge(hasKey(header(request, 'authorization'), header(request, 'x-api-key')))
  }
  return error.code === 'method_not_allowed'
    ? { allow: request.url?.startsWith(MODELS) ? 'GET' : 'POST' }
    : {}
}

/** @throws {BursarError} forbidden, method_not_allowed, unauthorized */
async function admit(
  { authenticate, checkHost }: ModelRoutesOptions,
  request: IncomingMessage,
  method: string,
): Promise<Caller> {
  const refused = checkHost(request.headers.host, header(request, 'origin'))
  if (refused) throw refused
  if (request.method !== method) throw wrongMethod(request.url?.split('?')[0] ?? '', [method])
  const principal = buyer(
    await principalOf(authenticate, header(request, 'authorization'), header(request, 'x-api-key')),
  )
  return callerOf(principal)
}

function callerOf(principal: AccountPrincipal): Caller {
  const { account } = principal
  return principal.scope === 'agent' ? { account, agent: principal.agent } : { account }
}

async function callOf(endpoint: Endpoint, request: IncomingMessage): Promise<RawCall> {
  const encoding = header(request, 'content-encoding')
  if (encoding !== undefined && encoding !== 'identity') {
    throw invalid('The body must not be compressed.', { remedy: 'Send it without content-encoding.' })
  }
  return {
    endpoint,
    query:
      endpoint.format === 'anthropic' && /[?&]beta=true(?:&|$)/.test(request.url ?? '') ? '?beta=true' : '',
    headers: endpoint.format === 'anthropic' ? anthropicHeaders(request) : {},
    idempotencyKey: header(request, 'idempotency-key'),
    fitFloor: fitHeader(request),
    body: await readRequest(request, MAX_BODY_BYTES),
  }
}

/** Versions and beta features are the caller's choice; everything else a client sends stays here. */
function anthropicHeaders(request: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = { ...ANTHROPIC_VERSION }
  for (const name of Object.keys(request.headers)) {
    if (!/^anthropic-(?:version|beta)$/.test(name)) continue
    const value = header(request, name) ?? ''
    if (!/^[\x20-\x7e]{0,2000}$/.test(value)) throw invalid(`The header ${name} is not plain text.`)
    headers[name] = value
  }
  return headers
}

/** `x-bursar-fit: 256`: shrink the output limit to what the balance affords, down to 256 tokens; `off`: refuse. */
function fitHeader(request: IncomingMessage): number | undefined {
  const value = header(request, 'x-bursar-fit')
  return fitFloorOf(/^\d{1,8}$/.test(value ?? '') ? Number(value) : value, 'The header x-bursar-fit')
}

function decoded(id: string): string {
  try {
    return decodeURIComponent(id)
  } catch {
    throw invalid('The name of the model is not a valid path.')
  }
}
