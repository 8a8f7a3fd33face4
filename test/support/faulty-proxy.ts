/** An HTTP proxy before a till that does to each request what a test tells it to. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'

export interface Passed {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** `pass`: as it is; `cut`: breaks the connection, before or after the till has answered; `silent`: a stream that never says anything; or an answer of its own. */
export type Fault =
  | 'pass'
  | 'cut before'
  | 'cut after'
  | 'silent'
  | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: string }

export interface FaultyProxy {
  readonly url: string
  readonly passed: readonly Passed[]
  /** What happens to the next requests, one each; afterwards everything passes. */
  next(...faults: readonly Fault[]): void
  /** Decides for every request, while it is set. */
  rule: ((request: Passed) => Fault) | null
  /** Breaks every connection that is open. */
  cutAll(): void
  stop(): Promise<void>
}

export async function startFaultyProxy(target: string): Promise<FaultyProxy> {
  const passed: Passed[] = []
  let faults: Fault[] = []
  const proxy = {
    rule: null as FaultyProxy['rule'],
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers } = request
    const seen: Passed = { method, path: url, headers, body: await text(request) }
    passed.push(seen)
    const fault = proxy.rule?.(seen) ?? faults.shift() ?? 'pass'
    if (fault === 'cut before') {
      request.socket.destroy()
    } else if (fault === 'silent') {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    } else if (typeof fault === 'object') {
      response.writeHead(fault.status, fault.headers).end(fault.body ?? '')
    } else {
      await forward(seen, request, response, fault)
    }
  }

  async function forward(
    { method, path, headers, body }: Passed,
    request: IncomingMessage,
    response: ServerResponse,
    fault: 'pass' | 'cut after',
  ): Promise<void> {
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    const { host: _, connection: __, 'content-length': ___, ...rest } = headers
    const answered = await fetch(`${target}${path}`, {
      method,
      headers: rest as Record<string, string>,
      signal: gone.signal,
      ...(body === '' ? {} : { body }),
    })
    if (fault === 'cut after') {
      await answered.text()
      request.socket.destroy()
      return
    }
    const { 'content-encoding': ____, ...passing } = Object.fromEntries(answered.headers)
    response.writeHead(answered.status, passing).flushHeaders()
    if (answered.body)
      Readable.fromWeb(answered.body as never)
        .on('error', () => response.destroy())
        .pipe(response)
    else response.end()
  }

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return Object.assign(proxy, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    passed,
    next(...given: readonly Fault[]) {
      faults = [...given]
    },
    cutAll: () => server.closeAllConnections(),
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  })
}
