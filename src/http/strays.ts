/**
 * What no route takes: paths where there is nothing, mostly because a client's base URL is wrong, and bytes that are no
 * request. Both are said in the words that clients of a model provider show to whoever set them up.
 */
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { BursarError, invalid } from '../errors.ts'
import { ENDPOINTS } from '../models/endpoints/index.ts'
import { openaiError, wireError } from '../models/endpoints/wire-errors.ts'
import { problemResponse } from './problem.ts'

const SOLD = [...ENDPOINTS.map(({ route }) => route), '/v1/models'].join(', ')

export function nothingThere(path: string, anthropicVersion: string | undefined): Response {
  const error = new BursarError('not_found', `There is nothing at ${path.slice(0, 200)}.`, {
    remedy: remedyFor(path),
  })
  const format = anthropicVersion === undefined ? 'openai' : 'anthropic'
  return problemResponse(error, { 'x-should-retry': 'false' }, wireError(format, error))
}

function remedyFor(path: string): string {
  const plain = path.replace(/\/+$/, '')
  if (ENDPOINTS.some((endpoint) => plain.endsWith(endpoint.path)) || plain.endsWith('/models')) {
    return "Correct the client's base URL: for OpenAI's clients it ends with /v1, for Anthropic's it does not."
  }
  return plain.startsWith('/v1/')
    ? `Models are called at ${SOLD}; /openapi.json has the other routes.`
    : 'The MCP endpoint is /mcp; /v1/offers, /v1/balance and /v1/models say what there is.'
}

/**
 * Answers what Node could not read as a request: a body with two lengths, a header that is none, too many headers.
 *
 * @param answering an answer on this connection has begun, which another one would spoil.
 */
export function refuseUnreadable(thrown: NodeJS.ErrnoException, socket: Duplex, answering: boolean): void {
  if (answering || !socket.writable) {
    socket.destroy()
    return
  }
  if (thrown.code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    socket.end('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n')
    return
  }
  const error =
    thrown.code === 'HPE_HEADER_OVERFLOW'
      ? new BursarError('payload_too_large', 'The headers are too large.', { remedy: 'Send fewer headers.' })
      : invalid('This is no valid HTTP/1.1 request.', {
          remedy: 'Send one body length, and headers as HTTP/1.1 has them.',
        })
  // Nobody knows yet whose client this is: the body reads in either format.
  const body = JSON.stringify({ ...error.toProblem(), type: 'error', ...openaiError(error) })
  socket.end(
    [
      `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status]}`,
      'Content-Type: application/problem+json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'X-Should-Retry: false',
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
  )
}
