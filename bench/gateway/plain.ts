/** A plain gateway's common part: a server of Node's that passes each request on with undici. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Agent, type Dispatcher } from 'undici'

/** Sends the request on. */
export type Ask = () => Promise<Dispatcher.ResponseData>

/** Argument: the upstream's origin. Prints `listening PORT`. */
export function serve(pass: (ask: Ask, response: ServerResponse) => Promise<void>): void {
  const [origin = ''] = process.argv.slice(2)
  const agent = new Agent()
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => void pass(() => ask(agent, origin, request, Buffer.concat(chunks)), response))
  })
  server.keepAliveTimeout = 60_000
  server.listen(0, '127.0.0.1', () => {
    console.log(`listening ${(server.address() as AddressInfo).port}`)
  })
}

function ask(
  agent: Agent,
  origin: string,
  request: IncomingMessage,
  body: Buffer,
): Promise<Dispatcher.ResponseData> {
  return agent.request({
    origin,
    path: request.url ?? '/',
    method: 'POST',
    headers: {
      'content-type': request.headers['content-type'] ?? '',
      authorization: request.headers.authorization ?? '',
    },
    body,
  })
}

export function writeHead(
  response: ServerResponse,
  { statusCode, headers }: Dispatcher.ResponseData,
): ServerResponse {
  return response.writeHead(statusCode, kept(headers))
}

function kept(headers: IncomingHttpHeaders): Record<string, string | string[]> {
  const passed: Record<string, string | string[]> = {}
  for (const name of ['content-type', 'content-length'] as const) {
    if (headers[name] !== undefined) passed[name] = headers[name]
  }
  return passed
}
