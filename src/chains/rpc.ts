/**
 * JSON-RPC over HTTP with several endpoints: together, where the first that answers is used, or each by itself. An
 * endpoint is asked who it is before its first answer is believed, and again after it failed: what comes back may
 * be another node. URLs carry passwords and API keys, so neither errors nor logs repeat them; what a node says in
 * an error stays in `cause`.
 */
import { request } from 'undici'
import { BursarError } from '../errors.ts'
import { watchOutage } from '../outages.ts'
import type { Runtime } from '../runtime.ts'

/** An answer of the node itself: it was reached and refused. Everything else is an endpoint that failed. */
export class RpcError extends Error {
  readonly code: number
  readonly data: unknown

  constructor(code: number, message: string, data: unknown) {
    super(message)
    this.name = 'RpcError'
    this.code = code
    this.data = data
  }
}

/** Sends one request; what it resolves with is the `result` member. */
export type Call = (method: string, params: readonly unknown[], signal?: AbortSignal) => Promise<unknown>

export interface Rpc {
  /**
   * Asks the endpoints in order until one answers.
   * @throws {RpcError} the node refused; {BursarError} chain_unavailable: none could be reached;
   *   invalid_config: none is a node of the right chain
   */
  readonly call: Call
  /**
   * Asks every endpoint who it is.
   * @throws {BursarError} chain_unavailable: none could be reached; invalid_config: one is of another chain
   */
  check(signal?: AbortSignal): Promise<void>
  /** In the configured order. */
  readonly endpoints: readonly Endpoint[]
}

/** One of several endpoints, asked by itself. */
export interface Endpoint {
  /** For the log: host and port only. */
  readonly host: string
  /**
   * @throws {RpcError} the node refused; {BursarError} invalid_config: it is of another chain; anything else: it
   *   failed
   */
  readonly call: Call
  /** It failed lately: others are asked first. */
  resting(): boolean
}

export interface RpcOptions {
  /** The chain's id, for errors. */
  readonly chain: string
  /** May hold user and password, which are sent as basic authentication. */
  readonly urls: readonly string[]
  readonly runtime: Runtime
  /** @throws {BursarError} invalid_config: this endpoint belongs to another chain */
  identify(call: Call, signal?: AbortSignal): Promise<void>
}

/** A whole answer must be there after this, large blocks included. */
const TIMEOUT_MS = 20_000
/** A failed endpoint is asked last for this long. Its outage is over when it works and has not failed for as long. */
const REST_MS = 30_000
/** Codes that mean "not now" rather than "no": limits (EIP-1474), and Bitcoin Core while it starts. */
const NOT_NOW: ReadonlySet<number> = new Set([-32005, 429, -28])

export function openRpc(options: RpcOptions): Rpc {
  const { chain, urls } = options
  const endpoints = urls.map((url) => openEndpoint(url, options))
  return {
    endpoints,
    async call(method, params, signal) {
      const failures: unknown[] = []
      for (const endpoint of inOrder(endpoints)) {
        try {
          return await endpoint.call(method, params, signal)
        } catch (error) {
          signal?.throwIfAborted()
          if (error instanceof RpcError) throw error
          failures.push(error)
        }
      }
      throw noEndpoint(chain, failures)
    },
    async check(signal) {
      const failures: unknown[] = []
      for (const endpoint of endpoints) {
        try {
          await endpoint.identify(signal)
        } catch (error) {
          signal?.throwIfAborted()
          if (error instanceof BursarError) throw error
          failures.push(error)
        }
      }
      if (failures.length === endpoints.length) throw noEndpoint(chain, failures)
    },
  }
}

/** Endpoints that work, in the configured order, then those that failed lately. */
function inOrder<E extends Endpoint>(endpoints: readonly E[]): E[] {
  return [...endpoints].sort((a, b) => Number(a.resting()) - Number(b.resting()))
}

interface OpenEndpoint extends Endpoint {
  identify(signal?: AbortSignal): Promise<void>
}

function openEndpoint(text: string, { chain, runtime, identify }: RpcOptions): OpenEndpoint {
  const { host, call } = openTransport(text, runtime)
  const outage = watchOutage(runtime)
  let identified = false
  let failedAt = Number.NEGATIVE_INFINITY
  let restsUntil = 0

  function failed(error: unknown): void {
    runtime.metrics?.endpointFailed(chain, host)
    const what = describe(error)
    const facts = { event: 'endpoint_failed', chain, endpoint: host, error: what }
    outage.failed(what, 'warn', facts, 'A chain endpoint failed.')
    failedAt = runtime.now()
    restsUntil = failedAt + REST_MS
    identified = false
  }

  /** One that fails at every other request, or at one method only, is still failing. */
  function worked(): void {
    restsUntil = 0
    if (runtime.now() - failedAt < REST_MS) return
    const facts = { event: 'endpoint_resumed', chain, endpoint: host }
    outage.over(facts, 'A chain endpoint has answered for a while.')
  }

  /** Only an RpcError of `run` leaves this as one; every other failure lets the endpoint rest. */
  async function guarded<T>(run: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    try {
      return await run()
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof RpcError && !NOT_NOW.has(error.code)) throw error
      failed(error)
      throw error instanceof RpcError ? new Error('the node says: not now', { cause: error }) : error
    }
  }

  async function mustIdentify(signal?: AbortSignal): Promise<void> {
    await guarded(async () => {
      try {
        await identify(call, signal)
      } catch (error) {
        // A node that does not say who it is has failed; it has not refused what was really asked.
        if (error instanceof RpcError)
          throw new Error('the endpoint does not say who it is', { cause: error })
        throw error
      }
    }, signal)
    identified = true
  }

  return {
    host,
    identify: mustIdentify,
    resting() {
      const left = restsUntil - runtime.now()
      // A clock that was set back ends it as well.
      return left > 0 && left <= REST_MS
    },
    async call(method, params, signal) {
      if (!identified) await mustIdentify(signal)
      const result = await guarded(() => call(method, params, signal), signal)
      worked()
      return result
    },
  }
}

function openTransport(text: string, runtime: Runtime): { host: string; call: Call } {
  const url = new URL(text)
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (url.username || url.password) {
    const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`
    headers['authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`
    url.username = ''
    url.password = ''
  }
  let id = 0
  const call: Call = async (method, params, signal) => {
    id += 1
    const body = JSON.stringify({ jsonrpc: '2.0', id, method, params })
    const deadline = new AbortController()
    const cancel = runtime.after(TIMEOUT_MS, () => deadline.abort(new Error(`no answer in ${TIMEOUT_MS} ms`)))
    try {
      const answer = await request(url, {
        method: 'POST',
        headers,
        body,
        dispatcher: runtime.network,
        signal: signal ? AbortSignal.any([signal, deadline.signal]) : deadline.signal,
      })
      return resultOf(answer.statusCode, await answer.body.text())
    } finally {
      cancel()
    }
  }
  return { call, host: url.host }
}

/** Bitcoin Core sends its JSON-RPC errors with status 500, others with 200: the body decides. */
function resultOf(status: number, text: string): unknown {
  const answer = parse(text)
  const error = answer?.['error']
  if (typeof error === 'object' && error !== null && status !== 401 && status !== 403 && status !== 429) {
    const { code, message, data } = error as { code?: unknown; message?: unknown; data?: unknown }
    throw new RpcError(typeof code === 'number' ? code : 0, String(message).slice(0, 500), data)
  }
  if (status !== 200 || !answer || !('result' in answer)) throw new Error(`HTTP ${status} without a result`)
  return answer['result']
}

function parse(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}

export function noEndpoint(chain: string, failures: readonly unknown[]): BursarError {
  const misplaced = failures.find((error) => error instanceof BursarError)
  if (misplaced) return misplaced
  const which = failures.length === 1 ? 'its endpoint does' : `all ${failures.length} of its endpoints do`
  return unavailable(chain, `${which} not answer.`, failures[0])
}

/** A chain that cannot be read right now; whoever follows it asks again from the same cursor. */
export function unavailable(chain: string, what: string, cause?: unknown, reason?: string): BursarError {
  return new BursarError('chain_unavailable', `${chain} cannot be read: ${what}`, {
    remedy: `Nothing is lost, it is tried again; the operator checks the node behind chains.${chain}.rpc.`,
    details: { chain, ...(reason === undefined ? {} : { reason }) },
    cause,
  })
}

/**
 * Runs what reads a chain, so that only BursarErrors (or the signal's reason) leave it: the one at the root of what
 * was thrown, since libraries wrap errors, or a chain_unavailable around an answer without sense.
 */
export async function readingChain<T>(
  chain: string,
  signal: AbortSignal | undefined,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run()
  } catch (thrown) {
    signal?.throwIfAborted()
    for (let error = thrown; error instanceof Error; error = error.cause) {
      if (error instanceof BursarError) throw error
    }
    throw unavailable(chain, 'the node gave an answer that makes no sense.', thrown)
  }
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  const { code } = error as { code?: unknown }
  return typeof code === 'string' || typeof code === 'number' ? `${error.name} ${code}` : error.name
}
