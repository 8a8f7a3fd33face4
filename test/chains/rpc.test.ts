/** What the log says of an endpoint that fails: at once, then once a minute while it lasts, and when it is over. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openRpc, type Rpc } from '../../src/chains/rpc.ts'
import { type TestRuntime, testRuntime } from '../support/runtime.ts'

let server: Server
let runtime: TestRuntime
let rpc: Rpc
let works: boolean

beforeEach(async () => {
  works = true
  server = createServer((request, response) => {
    request.resume()
    response.writeHead(works ? 200 : 503)
    response.end(works ? '{"jsonrpc":"2.0","id":1,"result":"0x1"}' : 'down for now')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  runtime = testRuntime()
  const { port } = server.address() as AddressInfo
  rpc = openRpc({ chain: 'local', urls: [`http://127.0.0.1:${port}`], runtime, identify: async () => {} })
})
afterEach(() => {
  server.closeAllConnections()
  return new Promise((resolve) => server.close(resolve))
})

/** Asks once every `everyMs`, each time at an endpoint that works or not. */
async function ask(everyMs: number, working: readonly boolean[]): Promise<void> {
  for (works of working) {
    const asked = rpc.call('eth_blockNumber', [])
    if (works) expect(await asked).toBe('0x1')
    else await expect(asked).rejects.toMatchObject({ code: 'chain_unavailable' })
    runtime.clock.advance(everyMs)
  }
}

const said = (): unknown[] => runtime.lines.map(({ level, facts }) => ({ level, ...facts }))
const about = { chain: 'local', endpoint: expect.stringMatching(/^127\.0\.0\.1:\d+$/) }

test('an endpoint that is down is said at once, then once a minute, and when it has worked for a while', async () => {
  const since = new Date(runtime.now()).toISOString()
  await ask(5_000, Array(24).fill(false))
  const failed = { ...about, level: 'warn', event: 'endpoint_failed', error: 'Error' }
  expect(said()).toEqual([failed, { ...failed, failures: 13, since }])
  await ask(5_000, Array(5).fill(true))
  expect(said()).toHaveLength(2)
  await ask(5_000, [true, true])
  expect(said().slice(2)).toEqual([
    { ...about, level: 'info', event: 'endpoint_resumed', failures: 24, lasted_ms: 145_000 },
  ])
})

test('one that fails at every other request is one outage', async () => {
  await ask(
    1_000,
    Array.from({ length: 60 }, (_, i) => i % 2 === 1),
  )
  expect(said()).toHaveLength(1)
})
