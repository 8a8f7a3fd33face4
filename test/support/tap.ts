/** Stands between a client and a till, and notes what each was told: a refused call leaves no trace in the till. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { request } from 'undici'

export interface Tap {
  readonly url: string
  /** The statuses of the calls so far, in the order of their answers. */
  statuses(): readonly number[]
  /** To this till from now on, with nothing noted. */
  turn(url: string): void
  stop(): Promise<void>
}

export async function startTap(): Promise<Tap> {
  let target = ''
  let noted: number[] = []
  const server = createServer((incoming, outgoing) => {
    pass(incoming, outgoing, noted).catch(() => outgoing.destroy())
  })

  async function pass(incoming: IncomingMessage, outgoing: ServerResponse, notes: number[]): Promise<void> {
    const { host: _, connection: __, 'transfer-encoding': ___, ...headers } = incoming.headers
    const asked = incoming.method === 'POST'
    const answer = await request(`${target}${incoming.url}`, {
      method: asked ? 'POST' : 'GET',
      headers,
      // A connection each: none that the till is just closing.
      reset: true,
      ...(asked ? { body: incoming } : {}),
    })
    if (asked) notes.push(answer.statusCode)
    outgoing.writeHead(answer.statusCode, answer.headers)
    await pipeline(answer.body, outgoing)
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    statuses: () => noted,
    turn(url) {
      target = url
      noted = []
    },
    async stop() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}
