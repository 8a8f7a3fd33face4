/** Node's own requests and responses, for routes where every microsecond and every streamed byte counts. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Client } from '../models/streaming.ts'
import { tooLarge } from './security.ts'

/**
 * The whole body.
 *
 * @throws {BursarError} payload_too_large, as soon as that is known. Another error when the client went away.
 */
export function readRequest(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return Promise.reject(tooLarge(maxBytes))
  return new Promise((resolve, reject) => {
    // Most bodies arrive in one piece.
    let first: Buffer | undefined
    let more: Buffer[] | undefined
    let size = 0
    let over = false
    const fail = (reason: unknown): void => {
      if (!over) reject(reason)
      over = true
    }
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > maxBytes) {
        request.pause()
        fail(tooLarge(maxBytes))
      } else if (!first) first = chunk
      else if (more) more.push(chunk)
      else more = [first, chunk]
    })
    request.on('end', () => {
      over = true
      resolve(more ? Buffer.concat(more) : (first ?? EMPTY))
    })
    request.on('error', fail)
    request.on('close', () => {
      if (!over) fail(new Error('The client went away.'))
    })
  })
}

const EMPTY = Buffer.alloc(0)

/** A header as one text; where it was sent twice, Node has joined or dropped the second. */
export function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name]
  return Array.isArray(value) ? value[0] : value
}

type Left = Parameters<Client['onGone']>[0]

export interface HttpClient extends Client {
  /** It will be sent away: this process ends. */
  stop(): void
}

/**
 * The other side of a response, as the forwarding of a call sees it. No getters: in V8 each object literal with one
 * makes a hidden class of its own, which keeps what the getter sees until a full collection.
 */
export function clientOf(response: ServerResponse): HttpClient {
  let left: Left[] | null = null
  let leaving: Parameters<Left>[0] | null = response.destroyed ? 'abandoned' : null
  let gone = response.destroyed
  function leave(why: Parameters<Left>[0]): void {
    if (leaving !== null) return
    leaving = why
    for (const tell of left ?? []) tell(why)
  }
  response.on('close', () => {
    if (response.writableFinished) return
    gone = true
    leave('abandoned')
  })
  return {
    start(headers) {
      response.writeHead(200, headers)
      // What has arrived with the head leaves with it; else the head goes alone.
      process.nextTick(() => response.flushHeaders())
    },
    write: (chunk) => response.write(chunk),
    onDrain: (resume) => void response.on('drain', resume),
    gone: () => gone,
    onGone(tell) {
      if (leaving !== null) tell(leaving)
      else if (left) left.push(tell)
      else left = [tell]
    },
    stop: () => leave('stopped'),
  }
}
