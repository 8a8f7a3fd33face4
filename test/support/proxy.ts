/** A JSON-RPC proxy in front of a real node, to make the network between fail in chosen ways. */
import { createServer, type IncomingMessage } from 'node:http'

export interface RpcRequest {
  readonly method: string
  readonly params: readonly unknown[]
  /** Counted from 1, over all requests since `count` was last set to 0. */
  readonly number: number
}

/** `drop` cuts the connection; a status answers without a body; an object is sent instead of the node's answer. */
export type Verdict =
  | 'pass'
  | 'drop'
  | number
  | { readonly error: { readonly code: number; readonly message: string } }
  | { readonly result: unknown }

export interface Proxy {
  /** Keeps the node's user and password. */
  readonly url: string
  count: number
  /** Asked before each request is passed on; everything passes by default. */
  decide: (request: RpcRequest) => Verdict | Promise<Verdict>
  /** What is said instead of the node's own result; the same by default. */
  alter: (request: RpcRequest, result: unknown) => unknown
  readonly stop: () => Promise<void>
}

export async function startProxy(target: string): Promise<Proxy> {
  const to = new URL(target)
  const server = createServer((request, response) => {
    void answer(request).then(
      ({ status, body }) => response.writeHead(status, { 'content-type': 'application/json' }).end(body),
      () => response.destroy(),
    )
  })

  async function answer(request: IncomingMessage): Promise<{ status: number; body: string }> {
    const body = await textOf(request)
    const { id, method, params } = JSON.parse(body) as { id: number; method: string; params: unknown[] }
    proxy.count += 1
    const asked = { method, params, number: proxy.count }
    const verdict = await proxy.decide(asked)
    if (verdict === 'drop') throw new Error('dropped')
    if (typeof verdict === 'number') return { status: verdict, body: '' }
    if (verdict !== 'pass') return { status: 200, body: JSON.stringify({ jsonrpc: '2.0', id, ...verdict }) }
    const { authorization } = request.headers
    const answered = await fetch(`${to.protocol}//${to.host}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(authorization ? { authorization } : {}) },
      body,
    })
    const said = JSON.parse(await answered.text()) as { result?: unknown }
    const altered = 'result' in said ? { ...said, result: proxy.alter(asked, said.result) } : said
    return { status: answered.status, body: JSON.stringify(altered) }
  }

  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the proxy has no port')
  const url = new URL(target)
  url.port = String(address.port)
  const proxy: Proxy = {
    url: url.href,
    count: 0,
    decide: () => 'pass',
    alter: (_, result) => result,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return proxy
}

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts).toString('utf8')
}
