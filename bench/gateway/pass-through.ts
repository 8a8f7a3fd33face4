/**
 * The least that a gateway can do: Node's own server, undici's client, bytes passed on and nothing looked at. Argument:
 * the upstream's origin. Prints `listening PORT`.
 */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { Agent } from 'undici'

const [origin = ''] = process.argv.slice(2)
const agent = new Agent()

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => void pass(request, Buffer.concat(chunks), response))
})

async function pass(request: IncomingMessage, body: Buffer, response: ServerResponse): Promise<void> {
  const answer = await agent.request({
    origin,
    path: request.url ?? '/',
    method: 'POST',
    headers: {
      'content-type': request.headers['content-type'] ?? '',
      authorization: request.headers.authorization ?? '',
    },
    body,
  })
  response.writeHead(answer.statusCode, kept(answer.headers))
  answer.body.pipe(response)
}

function kept(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const passed: OutgoingHttpHeaders = {}
  for (const name of ['content-type', 'content-length'] as const) {
    if (headers[name] !== undefined) passed[name] = headers[name]
  }
  return passed
}

server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  console.log(`listening ${(server.address() as AddressInfo).port}`)
})
