/** Connections to others are used again, but not one that the other side is about to close. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { request } from 'undici'
import { expect, test } from 'vitest'
import { systemRuntime } from '../src/runtime.ts'
import { turns } from './support/runtime.ts'

/** Two requests, one after the other, to a server that says this of its idle connections; tells how many there were. */
async function connectionsFor(keepAlive: string): Promise<number> {
  let connections = 0
  const server = createServer((incoming, response) => {
    incoming.resume()
    response.setHeader('connection', 'keep-alive')
    response.setHeader('keep-alive', keepAlive)
    response.end('{}')
  }).on('connection', () => {
    connections += 1
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { network } = systemRuntime('silent')
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    for (let n = 0; n < 2; n++) {
      await (await request(url, { method: 'POST', body: '{}', dispatcher: network })).body.text()
      // What is waiting for a connection gets it in the next turn of the loop; until then it counts as taken.
      await turns()
    }
    return connections
  } finally {
    await network.close()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}

test('a connection that the other side keeps for long is used again', async () => {
  expect(await connectionsFor('timeout=600')).toBe(1)
})

test('one that it keeps for three seconds or less is not', async () => {
  expect(await connectionsFor('timeout=3')).toBe(2)
})
