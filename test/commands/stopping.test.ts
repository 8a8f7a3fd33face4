/** Ctrl-C, and what process managers send: a command that waits is ended, a till that drains ends at the second one. */
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { printed, start } from '../support/process.ts'
import { BIN, type Environment } from '../support/program.ts'

let folder: string
let env: Environment
/** Takes requests and never answers. */
const silent = createServer()
let url: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bursar-stopping-'))
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
  const config = join(folder, 'bursar.config.json')
  await writeFile(config, JSON.stringify({ signup: { open: true } }))
  env = { PATH: process.env['PATH'] ?? '', BURSAR_CONFIG: config, BURSAR_DATA: folder, PORT: '0' }
})
afterAll(async () => {
  silent.closeAllConnections()
  silent.close()
  await rm(folder, { recursive: true, force: true })
})

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s ends a command that waits for another program', async (signal, status) => {
  const asked = once(silent, 'request')
  const command = start(process.execPath, [BIN, 'signup', url], env)
  await asked
  await command.stop(signal)
  expect(command.child.exitCode).toBe(status)
})

test('a till waits for its requests, and ends at once when it is told a second time', async () => {
  const till = start(process.execPath, [BIN, 'serve'], env)
  const ended = once(till.child, 'close')
  const [, address = ''] = await printed(till, / is open at (http:\/\/\S+)/)
  // Its body never comes: this request keeps the till from stopping for as long as it waits for requests.
  const asking = request(`${address}/v1/accounts`, {
    method: 'POST',
    headers: { 'content-length': '10', expect: '100-continue' },
  })
  const cut = once(asking, 'error')
  const under = once(asking, 'continue')
  asking.flushHeaders()
  await under
  // Again and again, as somebody who is impatient does. Those that come with the first count as the first.
  while (till.child.exitCode === null && till.child.signalCode === null) {
    till.child.kill('SIGINT')
    await Promise.race([ended, sleep(50)])
  }
  await ended
  // One more may meet it on its way out. A till that had waited to the end would say 0.
  expect(till.child.exitCode ?? till.child.signalCode).toBeOneOf([130, 'SIGINT'])
  await cut
})
