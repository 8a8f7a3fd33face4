/** Node's own requests and responses, for routes where every microsecond and every streamed byte counts. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Client } from '../models/forward.ts'
import { tooLarge } from './security.ts'

/**
 * The whole body.
 *
 * @throws {BursarError} payload_too_large, as soon as that is known. Another error when the client went away.
 */
export function readRequest(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return Promise.reject(tooLarge(maxBytes))
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const chunks: Buffer[] = []
  let size = 0
  request.on('data', (chunk: Buffer) => {
    size += chunk.length
    if (size > maxBytes) {
      request.pause()
      reject(tooLarge(maxBytes))
    } else chunks.push(chunk)
  })
  request.on('end', () => resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)))
  request.on('error', reject)
  request.on('close', () => reject(new Error('The client went away.')))
  return promise
}

/** A header as one text; where it was sent twice, Node has joined or dropped the second. */
export function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name]
  return Array.isArray(value) ? value[0] : value
}

export function clientOf(response: ServerResponse): Client {
  const left: (() => void)[] = []
  let gone = response.destroyed
  response.once('close', () => {
    if (response.writableFinished) return
    gone = true
    for (const tell of left) tell()
  })
  return {
    start: (headers) => response.writeHead(200, headers).flushHeaders(),
    write: (chunk) => response.write(chunk),
    onDrain: (resume) => void response.on('drain', resume),
    get gone() {
      return gone
    },
    onGone(tell) {
      if (gone) tell()
      else left.push(tell)
    },
  }
}
