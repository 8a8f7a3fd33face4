/** A purse that is told to end: it answers what it was asked, and waits for nobody who has not finished asking. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createConnection, type Socket } from 'node:net'
import { join } from 'node:path'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest'
import { type Notice, readNotices } from '../../src/purse/notice.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { drawWalletKey } from '../support/chance.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { type Endpoint, startEndpoint } from './support/endpoint.ts'
import { configOf, type Folder, makeFolder, makeInvoice, makeTill } from './support/fixture.ts'
import { fund, mined } from './support/mined.ts'

const script = new URL('support/purse-process.ts', import.meta.url).pathname
const till = makeTill()
let anvil: Anvil
let endpoint: Endpoint
let folder: Folder
let purse: ChildProcess
let ended: Promise<unknown>
let notice: Notice
const sockets: Socket[] = []

beforeAll(async () => {
  anvil = await startAnvil()
})
afterAll(() => anvil.stop())
beforeEach(async () => {
  endpoint = await startEndpoint(anvil.url)
  folder = makeFolder()
  const key = drawWalletKey()
  await fund(anvil, privateKeyToAccount(key).address)
  const file = join(folder.path, 'config.json')
  const config = configOf({ rpc: endpoint.url, payees: [till], wallet: { private_key: key } })
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 })
  purse = spawn(process.execPath, [script, file, folder.path], { stdio: 'ignore' })
  ended = once(purse, 'exit').then(([code]) => code as unknown)
  notice = await vi.waitFor(
    () => {
      const [found] = readNotices(folder.path)
      if (!found) throw new Error('the purse has not announced itself yet')
      return found
    },
    { timeout: PATIENCE_MS, interval: 20 },
  )
})
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  purse.kill('SIGKILL')
  await ended
  await endpoint.close()
  folder.remove()
})

async function begin(lines: readonly string[]): Promise<Socket> {
  const socket = createConnection({ host: '127.0.0.1', port: Number(new URL(notice.url).port) })
  sockets.push(socket)
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.write(lines.join('\r\n'))
  return socket
}

it('waits for nobody who is in the middle of a request', async () => {
  const head = ['POST /pay HTTP/1.1', 'Host: 127.0.0.1', `Authorization: Bearer ${notice.token}`]
  // Anybody on the machine can do this, without the token.
  await begin(head.slice(0, 2))
  const body = await begin([...head, 'Content-Length: 100', 'Expect: 100-continue', '', '{'])
  // It has taken this connection, and the one before it.
  expect(String(await once(body, 'data'))).toContain('100 Continue')
  purse.kill('SIGTERM')
  expect(await ended).toBe(0)
})

it('answers what it has begun', async () => {
  endpoint.treat(({ method }) => {
    if (method === 'eth_sendRawTransaction') purse.kill('SIGTERM')
    return 'pass'
  })
  const answer = await fetch(`${notice.url}/pay`, {
    method: 'POST',
    headers: { authorization: `Bearer ${notice.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ signed: makeInvoice(till) }),
  })
  const payment = (await answer.json()) as { state: string; txid: string }
  expect(payment).toMatchObject({ state: 'broadcast' })
  await mined(anvil, payment.txid)
  expect(await ended).toBe(0)
})
