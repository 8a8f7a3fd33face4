/** The till's HTTP server: every route behind the same checks, every error in the same form, a stop that waits. */
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { getRequestListener, RequestError } from '@hono/node-server'
import { Hono } from 'hono'
import { BursarError, invalid, toBursarError } from '../errors.ts'
import { mcpHttp } from '../mcp/server.ts'
import type { CallContext } from '../models/reserve.ts'
import type { Runtime } from '../runtime.ts'
import { type AccountService, accountRoutes } from './account-routes.ts'
import { type ClaimRoutesOptions, claimRoutes } from './claim-routes.ts'
import { healthRoutes, type ReadinessCheck } from './health.ts'
import { holdRoutes } from './holds-routes.ts'
import { type McpRoute, mcpRoutes } from './mcp.ts'
import { type MetricsAccess, metricsRoutes } from './metrics-route.ts'
import { headersOf } from './model-errors.ts'
import { modelRoutes } from './model-routes.ts'
import { openapi } from './openapi.ts'
import { problemResponse } from './problem.ts'
import { bodyLimit, type CheckHost, type HttpEnv, hostCheck, knownHosts, onlyMethods } from './security.ts'
import { nothingThere, refuseUnreadable } from './strays.ts'
import { tillRoutes } from './till-routes.ts'

export interface HttpOptions extends Omit<McpRoute, 'mcp' | 'maxBodyBytes'> {
  readonly runtime: Runtime
  readonly version: string
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  /** Host names besides those of the loopback interface, without port. */
  readonly allowedHosts: readonly string[]
  readonly checks: readonly ReadinessCheck[]
  /** What works less well; shown by /readyz, which is 200 all the same. */
  readonly degraded?: () => string[]
  /** Absent: there is no /metrics. */
  readonly metrics?: MetricsAccess
  /** Absent: this server sells no model calls over HTTP. */
  readonly calls?: CallContext
  /** Absent: accounts and keys are not managed here. */
  readonly accounts?: AccountService
  /** Absent: payments cannot be claimed here. */
  readonly claimPayment?: ClaimRoutesOptions['claimPayment']
}

export interface HttpServer {
  /** Where it can be reached from this machine: `http://127.0.0.1:8402`. */
  readonly url: string
  readonly port: number
  /** Takes no new requests, lets the running ones end (ten seconds at most), tells the calls among the rest, and closes. */
  close(): Promise<void>
}

/** A long conversation fits; a request that only fills memory does not. */
const MAX_BODY_BYTES = 4 * 1024 * 1024
const GRACE_MS = 10_000
/**
 * How long an idle connection is kept. Longer than the minute after which nginx and AWS's balancers let go of theirs: a
 * request that meets a connection being closed here becomes a 502 there. At Node's own 5 s that happens every day.
 */
const IDLE_MS = 75_000
/** For the last bytes of answers. */
const SENT_MS = 500
/** As long as Node gives a client to send its request. */
const UNREAD_MS = 300_000

/** @throws {BursarError} conflict (another program has the port), invalid_config (no such address here). */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const { runtime, host, port } = options
  const mcp = mcpHttp({ version: options.version, log: runtime.log }, MAX_BODY_BYTES)
  const checkHost = hostCheck(options.allowedHosts)
  const stopping = new AbortController()
  const app = routes(options, checkHost, { ...options, mcp, maxBodyBytes: MAX_BODY_BYTES }, stopping.signal)
  const models = options.calls && modelRoutes({ ...options, calls: options.calls, checkHost })
  const listener = getRequestListener(app.fetch, { errorHandler: unreadable, overrideGlobalObjects: false })
  const running = runningRequests()
  const server = createServer((request, response) => {
    running.add(response)
    boundUnread(runtime, request.socket, response)
    if (!models?.handle(request, response)) void listener(request, response)
  })
  server.keepAliveTimeout = IDLE_MS
  server.on('clientError', (thrown, socket) => refuseUnreadable(thrown, socket, running.hasBegun(socket)))
  await listening(server, host, port)
  const bound = server.address() as AddressInfo
  let stopped: Promise<void> | undefined
  return {
    url: `http://${reachable(host)}:${bound.port}`,
    port: bound.port,
    close() {
      stopping.abort(new Error('The server stops.'))
      return (stopped ??= stop(server, within(runtime, GRACE_MS, running.ended()), async () => {
        // Calls are still read for what they used, and settled, also those whose clients have gone.
        models?.stop()
        if (models) await within(runtime, GRACE_MS, models.idle())
        await mcp.close()
        await within(runtime, SENT_MS, running.ended())
        server.closeAllConnections()
      }))
    },
  }
}

function routes(
  options: HttpOptions,
  checkHost: CheckHost,
  mcp: McpRoute,
  stopping: AbortSignal,
): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()
  app.onError((thrown) => {
    const error = toBursarError(thrown)
    if (error.code === 'internal') options.runtime.log.error({ err: thrown }, error.message)
    return problemResponse(error, headersOf(error))
  })
  app.notFound((c) => nothingThere(c.req.path, c.req.header('anthropic-version')))
  // Before the checks of names: probes ask by address, and learn nothing else.
  const health = healthRoutes(options.runtime, options.checks, options.degraded)
  app.all('/healthz', (c) => health.fetch(c.req.raw))
  app.all('/readyz', (c) => health.fetch(c.req.raw))
  if (options.metrics) app.route('/metrics', metricsRoutes({ ...options.metrics, ...options, checkHost }))
  app.use('*', knownHosts(checkHost), bodyLimit(MAX_BODY_BYTES))
  app.route('/mcp', mcpRoutes(mcp))
  app.use('/openapi.json', onlyMethods('GET', 'HEAD'))
  app.get('/openapi.json', (c) => c.json(openapi(options.version, new URL(c.req.url).origin)))
  app.route('/v1', tillRoutes({ ...options, stopping }))
  if (options.calls) app.route('/v1', holdRoutes({ ...options, ledger: options.calls.ledger }))
  const { accounts, authenticate } = options
  if (accounts) app.route('/v1', accountRoutes({ ...accounts, authenticate }))
  const { claimPayment } = options
  if (claimPayment) app.route('/v1', claimRoutes({ ...options, claimPayment }))
  return app
}

/** What is no request at all never reaches the routes. */
function unreadable(thrown: unknown): Response {
  if (!(thrown instanceof RequestError)) return problemResponse(toBursarError(thrown))
  return problemResponse(
    invalid('The request has no valid Host header or path.', { remedy: 'Send a valid HTTP/1.1 request.' }),
  )
}

/** Closes a connection whose client does not take a complete answer. Node itself would keep both for ever. */
function boundUnread({ after }: Runtime, socket: Socket, response: ServerResponse): void {
  response.once('prefinish', () => {
    // The system has taken all of it, as it mostly does.
    if (socket.writableLength === 0) return
    const cancel = after(UNREAD_MS, () => socket.destroy())
    response.once('close', cancel)
  })
}

interface Running {
  add(response: ServerResponse): void
  /** Whether a part of an answer, and not all of it, has been sent on this connection. */
  hasBegun(socket: object): boolean
  ended(): Promise<void>
}

/** Counts running requests, because a stop waits for these, and not for idle or silent connections. */
function runningRequests(): Running {
  let running = 0
  const last = new WeakMap<object, ServerResponse>()
  let onLast: (() => void) | undefined
  const ended = (): void => {
    running -= 1
    if (running === 0) onLast?.()
  }
  return {
    add(response) {
      running += 1
      response.on('close', ended)
      if (response.socket) last.set(response.socket, response)
    },
    hasBegun(socket) {
      const response = last.get(socket)
      return response !== undefined && response.headersSent && !response.writableFinished
    },
    ended: () =>
      running === 0
        ? Promise.resolve()
        : new Promise((resolve) => {
            onLast = resolve
          }),
  }
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const taken = cause.code === 'EADDRINUSE'
      reject(
        new BursarError(
          taken ? 'conflict' : 'invalid_config',
          taken
            ? `Port ${port} of ${host} is in use.`
            : `Cannot listen on ${host}, port ${port} (${cause.code}).`,
          { remedy: 'Set PORT (and HOST) to what is free here, or stop the other program.', cause },
        ),
      )
    })
    server.listen(port, host, resolve)
  })
}

async function stop(server: Server, idle: Promise<void>, finish: () => Promise<void>): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve())
  })
  await idle
  await finish()
  await closed
}

async function within(runtime: Runtime, ms: number, task: Promise<void>): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>()
  const cancel = runtime.after(ms, resolve)
  await Promise.race([task, late])
  cancel()
}

function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') ? `[${host}]` : host
}
