/** The purse as a process: found, started, shared, killed, and its key kept to itself. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { connectPurse, type PurseConnection } from '../../src/purse/client.ts'
import type { PurseEvent } from '../../src/purse/events.ts'
import { type Notice, readNotices } from '../../src/purse/notice.ts'
import { createWallet } from '../../src/purse/wallet.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { drawWalletKey } from '../support/chance.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import {
  configOf,
  type Fields,
  type Folder,
  makeFolder,
  makeInvoice,
  makeRuntime,
  makeTill,
  settingsOf,
} from './support/fixture.ts'
import { fund, mined } from './support/mined.ts'

const script = new URL('support/purse-process.ts', import.meta.url).pathname
const till = makeTill()
const privateKey = drawWalletKey()
const { address } = privateKeyToAccount(privateKey)
let anvil: Anvil
let folder: Folder
const connections: PurseConnection[] = []
const children: ChildProcess[] = []

beforeAll(async () => {
  anvil = await startAnvil()
  await fund(anvil, address)
})
afterAll(() => anvil.stop())
beforeEach(() => {
  folder = makeFolder()
})
afterEach(async () => {
  for (const connection of connections.splice(0)) await connection.close()
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  }
  folder.remove()
})

function configure(fields: Partial<Fields> = {}): { config: object; file: string } {
  const config = configOf({ rpc: anvil.url, payees: [till], wallet: { private_key: privateKey }, ...fields })
  const file = join(folder.path, 'config.json')
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 })
  return { config, file }
}

/** A connection as `bursar mcp` makes it. */
function connect(fields: Partial<Fields> = {}, { start = true } = {}): PurseConnection {
  const { config, file } = configure(fields)
  const spawnCommand = { command: process.execPath, args: [script, file, folder.path, '--child'] }
  const connection = connectPurse({
    settings: () => settingsOf(config, folder.path),
    runtime: makeRuntime(),
    ...(start ? { spawn: spawnCommand } : {}),
  })
  connections.push(connection)
  return connection
}

interface Running {
  readonly child: ChildProcess
  readonly event: PurseEvent
  output(): string
}

/** A purse as a person starts it. */
async function run(file: string, ...args: string[]): Promise<Running> {
  const child = spawn(process.execPath, [script, file, folder.path, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  children.push(child)
  let text = ''
  child.stdout?.on('data', (chunk: Buffer) => (text += String(chunk)))
  child.stderr?.on('data', (chunk: Buffer) => (text += String(chunk)))
  const event = await vi.waitFor(
    () => {
      const line = text.split('\n').find((each) => each.startsWith('{"purse":'))
      if (!line) throw new Error(`no word from the purse yet:\n${text}`)
      return JSON.parse(line) as PurseEvent
    },
    { timeout: PATIENCE_MS, interval: 20 },
  )
  return { child, event, output: () => text }
}

function notice(): Notice {
  const [found] = readNotices(folder.path)
  if (!found) throw new Error('no purse has announced itself')
  return found
}

const alive = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

describe('a connection', () => {
  it('starts a purse, pays through it, and ends it', async () => {
    const purse = connect()
    expect(await purse.status()).toMatchObject({
      address,
      payees: [{ name: 'Test till', key: till.payee }],
      balances: [{ rail: 'local:ETH', network: 'eip155:31337' }],
    })
    const signed = makeInvoice(till)
    const { invoice } = JSON.parse(signed.payload) as { invoice: string }
    expect(await purse.find(invoice, till.payee)).toBeNull()
    const paid = await purse.pay({ signed, idempotencyKey: 'k' })
    await mined(anvil, paid.txid)
    expect(await purse.pay({ signed, idempotencyKey: 'k' })).toMatchObject({ id: paid.id, replayed: true })
    expect(await purse.find(invoice, till.payee)).toMatchObject({ id: paid.id, txid: paid.txid })
    await anvil.mine(2)
    // The purse looks at open payments by itself.
    await expect.poll(async () => (await purse.payment(paid.id)).state).toBe('confirmed')
    const { pid } = notice()
    await purse.close()
    expect(alive(pid)).toBe(false)
    expect(readNotices(folder.path)).toEqual([])
  })

  it('gets the errors of the purse as they were thrown', async () => {
    const purse = connect({ budget: { per_payment: '1', per_day: '1', per_month: '1' } })
    await expect(purse.pay({ signed: makeInvoice(till) })).rejects.toMatchObject({
      name: 'BursarError',
      code: 'budget_exceeded',
      status: 402,
      remedy: expect.stringContaining('purse.budget.per_payment'),
      details: { limit: 'per_payment', limit_usd: '1.00', required_usd: expect.stringMatching(/^2\.\d+$/) },
    })
    await expect(purse.pay({ signed: makeInvoice(makeTill()) })).rejects.toMatchObject({
      code: 'unknown_payee',
    })
    await expect(purse.payment('pay_none')).rejects.toMatchObject({ code: 'not_found', status: 404 })
  })

  it('gets chain_unavailable when the chain is dead, and the status without balances', async () => {
    const purse = connect({ rpc: 'http://127.0.0.1:9' })
    await expect(purse.pay({ signed: makeInvoice(till) })).rejects.toMatchObject({
      code: 'chain_unavailable',
    })
    expect(await purse.status()).toMatchObject({ balances: [{ rail: 'local:ETH', amount: null }] })
  })

  it('is shared by two editors that start at the same moment', async () => {
    const [one, two] = [connect(), connect()]
    const statuses = await Promise.all([one.status(), two.status()])
    expect(statuses.map((status) => status.address)).toEqual([address, address])
    expect(readNotices(folder.path)).toHaveLength(1)
    const signed = makeInvoice(till)
    const [a, b] = await Promise.all([one.pay({ signed }), two.pay({ signed })])
    expect(a.id).toBe(b.id)
    await mined(anvil, a.txid)
  })

  it('starts another when the purse was killed, and knows what it paid', async () => {
    const purse = connect()
    const signed = makeInvoice(till)
    const paid = await purse.pay({ signed })
    await mined(anvil, paid.txid)
    const { pid } = notice()
    process.kill(pid, 'SIGKILL')
    await expect.poll(() => alive(pid)).toBe(false)
    expect(await purse.pay({ signed })).toMatchObject({ id: paid.id, txid: paid.txid, replayed: true })
    expect(notice().pid).not.toBe(pid)
  })

  it('takes over when the editor that had started the purse is closed', async () => {
    const [one, two] = [connect(), connect()]
    await one.status()
    const { pid } = notice()
    expect(await two.status()).toMatchObject({ address })
    expect(notice().pid).toBe(pid)
    await one.close()
    expect(await two.status()).toMatchObject({ address })
    expect(notice().pid).not.toBe(pid)
  })

  it('without a way to start one says that none runs', async () => {
    await expect(connect({}, { start: false }).status()).rejects.toMatchObject({ code: 'purse_unavailable' })
  })

  it('tells why a purse did not start, and repeats no secret', async () => {
    const path = join(folder.path, 'wallet.json')
    const runtime = makeRuntime()
    await createWallet(runtime, { path, password: 'the right password' })
    const purse = connect({ wallet: { keystore: path, password: 'the wrong password' } })
    const error = await purse.status().catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining('does not open the keystore'),
    })
    expect(String(error)).not.toContain('the wrong password')
  })

  it('refuses a published key beside a main network', async () => {
    const [account] = anvil.accounts
    const chains = { ethereum: { rpc: ['http://127.0.0.1:9'], assets: ['ETH'] } }
    const { config, file } = configure({ chains, wallet: { private_key: account?.privateKey } })
    writeFileSync(file, JSON.stringify({ ...config, rates: {} }))
    const { event } = await run(file)
    expect(event).toMatchObject({
      purse: 'failed',
      problem: { code: 'invalid_config', detail: expect.stringContaining('test key') },
    })
  })

  it('to a fixed place uses the URL and token of the configuration', async () => {
    const { file } = configure()
    const { event } = await run(file)
    if (event.purse !== 'ready') throw new Error('the purse did not start')
    const { token } = notice()
    const fixed = connect({ purse: { url: event.url, token } }, { start: false })
    expect(await fixed.status()).toMatchObject({ address })
    const wrong = connect({ purse: { url: event.url, token: 'x'.repeat(43) } }, { start: false })
    await expect(wrong.status()).rejects.toMatchObject({ code: 'unauthorized' })
  })
})

describe('one wallet', () => {
  it('has one purse: a second start names the first and ends', async () => {
    const { file } = configure()
    const first = await run(file)
    if (first.event.purse !== 'ready') throw new Error('the first purse did not start')
    const second = await run(file)
    expect(second.event).toMatchObject({
      purse: 'failed',
      problem: { code: 'conflict', url: first.event.url, pid: first.event.pid },
    })
    if (second.child.exitCode === null) await once(second.child, 'exit')
    expect(second.child.exitCode).toBe(3)
  })
  it('stays taken while its purse hangs, and is free as soon as it is killed', async () => {
    const { file } = configure()
    const first = await run(file)
    first.child.kill('SIGSTOP')
    expect((await run(file)).event).toMatchObject({ purse: 'failed', problem: { code: 'conflict' } })
    first.child.kill('SIGKILL')
    await once(first.child, 'exit')
    expect((await run(file)).event).toMatchObject({ purse: 'ready', address })
  })
})

describe('a purse that is a child', () => {
  it('ends when its parent has gone', async () => {
    const { child, event } = await run(configure().file, '--child')
    expect(event.purse).toBe('ready')
    child.stdin?.destroy()
    const [code] = await once(child, 'exit')
    expect(code).toBe(0)
    expect(readNotices(folder.path)).toEqual([])
  })
  it('ends when it is told to', async () => {
    const { child } = await run(configure().file)
    child.kill('SIGTERM')
    const [code] = await once(child, 'exit')
    expect(code).toBe(0)
  })
})

describe('its HTTP server', () => {
  let url: string
  let token: string
  let server: ChildProcess
  let home: Folder
  // One purse for all of them: none changes it.
  beforeAll(async () => {
    home = makeFolder()
    folder = home
    server = (await run(configure().file)).child
    children.length = 0
    ;({ url, token } = notice())
  })
  afterAll(async () => {
    server.kill('SIGKILL')
    await once(server, 'exit')
    home.remove()
  })
  const ask = (path: string, init: RequestInit = {}, headers: Record<string, string> = {}) =>
    fetch(`${url}${path}`, { ...init, headers: { authorization: `Bearer ${token}`, ...headers } })

  it('listens on the loopback interface only and answers whoever has the token', async () => {
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
    expect((await ask('/hello')).status).toBe(200)
    for (const authorization of ['', 'Bearer ', `Bearer ${token}x`, `Basic ${token}`]) {
      const refused = await ask('/status', {}, { authorization })
      expect(refused.status).toBe(401)
      expect(refused.headers.get('content-type')).toBe('application/problem+json')
      expect(await refused.json()).toMatchObject({ code: 'unauthorized', remedy: expect.any(String) })
    }
  })
  it('refuses web pages, also under a name of their own', async () => {
    expect((await ask('/status', {}, { origin: 'http://evil.example' })).status).toBe(403)
    const { request } = await import('undici')
    const rebound = await request(`${url}/status`, {
      headers: { authorization: `Bearer ${token}`, host: 'evil.example' },
    })
    expect(rebound.statusCode).toBe(403)
    await rebound.body.dump()
  })
  it('refuses malformed requests clearly', async () => {
    const bodies = ['', 'not json', '{}', '[]', JSON.stringify({ signed: makeInvoice(till), amount: '1' })]
    for (const body of bodies) {
      const refused = await ask('/pay', { method: 'POST', body }, { 'content-type': 'application/json' })
      expect(refused.status, body).toBe(400)
      expect(await refused.json()).toMatchObject({ code: 'invalid_request' })
    }
    const large = await ask('/pay', { method: 'POST', body: JSON.stringify({ signed: 'x'.repeat(20_000) }) })
    expect(large.ok).toBe(false)
    expect((await ask('/payments')).status).toBe(400)
    expect((await ask('/payments/pay_none')).status).toBe(404)
    expect((await ask('/elsewhere')).status).toBe(404)
  })
})

describe('the key', () => {
  it('is in no file, answer or log of the purse', async () => {
    const path = join(folder.path, 'wallet.json')
    const password = 'a password of some length'
    const made = await createWallet(makeRuntime(), { path, password })
    await fund(anvil, made.address)
    // The configuration holds the password and lies elsewhere.
    const elsewhere = makeFolder()
    const { config } = configure({ wallet: { private_key: privateKey } })
    const file = join(elsewhere.path, 'config.json')
    writeFileSync(file, JSON.stringify(config))
    writeFileSync(join(folder.path, 'config.json'), '')
    const purse = await run(file)
    const { url, token } = notice()
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const answers: string[] = []
    for (const body of [
      { signed: makeInvoice(till) },
      { signed: makeInvoice(makeTill()) },
      { signed: privateKey },
    ]) {
      const answer = await fetch(`${url}/pay`, { method: 'POST', headers, body: JSON.stringify(body) })
      answers.push(await answer.text(), JSON.stringify([...answer.headers]))
    }
    for (const page of ['/status', '/payments/pay_1', '/hello']) {
      answers.push(await (await fetch(`${url}${page}`, { headers })).text())
    }
    purse.child.kill('SIGTERM')
    await once(purse.child, 'exit')
    const raw = Buffer.from(privateKey.slice(2), 'hex')
    const needles = [
      raw,
      ...(['hex', 'base64', 'base64url'] as const).map((form) => Buffer.from(raw.toString(form))),
    ]
    const files = readdirSync(folder.path).map((name) => join(folder.path, name))
    expect(files.length).toBeGreaterThan(2)
    const haystacks = [
      ...files.map((each) => readFileSync(each)),
      Buffer.from(answers.join('\n')),
      Buffer.from(purse.output()),
    ]
    expect(answers.join('\n')).toContain(address)
    for (const haystack of haystacks) {
      for (const needle of needles) expect(haystack.includes(needle)).toBe(false)
    }
    elsewhere.remove()
  })
  it("and the token are readable by the purse's owner only", async () => {
    await run(configure().file)
    expect(statSync(join(folder.path, `purse-${address}.json`)).mode & 0o777).toBe(0o600)
    expect(statSync(join(folder.path, `purse-${address}.lock`)).mode & 0o777).toBe(0o600)
  })
  it('is out of reach of whatever only connects to a purse', () => {
    const seen = new Set<string>()
    const visit = (file: string) => {
      if (seen.has(file)) return
      seen.add(file)
      for (const [, path] of readFileSync(file, 'utf8').matchAll(/from '(\.[^']+)'/g))
        visit(resolve(dirname(file), path ?? ''))
    }
    visit(new URL('../../src/purse/client.ts', import.meta.url).pathname)
    const names = [...seen].map((file) => file.replace(/^.*\/src\//, ''))
    expect(names).toContain('purse/exchange.ts')
    expect(names).not.toContain('purse/wallet.ts')
    expect(names).not.toContain('purse/keystore.ts')
  })
})
