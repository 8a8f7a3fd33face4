/** `bursar mcp` as clients start, share, kill and leave it. */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { lockWallet } from '../../src/purse/lock.ts'
import { tools } from '../../tools/index.ts'
import { ask, awaited } from '../support/mcp-answers.ts'
import { connect, type Endpoint, type Generation, type McpSession } from '../support/mcp-clients.ts'
import { alive, childrenOf, gone } from '../support/processes.ts'
import { BIN, clockAhead } from '../support/program.ts'
import { type Stage, setStage } from '../support/stage.ts'
import { startEmulator } from '../support/upstream.ts'

const EXAMPLE = fileURLToPath(new URL('../../mcp.json.example', import.meta.url))
const sessions: McpSession[] = []

async function open(endpoint: Endpoint, generation: Generation = '2026-07-28'): Promise<McpSession> {
  const session = await connect(generation, endpoint)
  sessions.push(session)
  return session
}

afterEach(async () => {
  await Promise.all(sessions.splice(0).map((session) => session.close()))
})

describe('mcp.json.example', () => {
  let project: string
  beforeAll(async () => {
    project = await mkdtemp(join(tmpdir(), 'bursar project '))
  })
  afterAll(() => rm(project, { recursive: true, force: true }))

  test("works with one path filled in, on the system's Node, from a project's folder", async () => {
    const text = await readFile(EXAMPLE, 'utf8')
    expect(text.split('/path/to/bursar')).toHaveLength(2)
    await writeFile(
      join(project, '.mcp.json'),
      text.replace('/path/to/bursar', fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')),
    )
    await writeFile(
      join(project, 'bursar.config.json'),
      '// A seller\n{ "seller": { "name": "The project" } }',
    )
    const home = join(project, 'home')
    await mkdir(home)

    const copied = JSON.parse(await readFile(join(project, '.mcp.json'), 'utf8')) as {
      mcpServers: { bursar: { command: string; args: string[] } }
    }
    const { command, args } = copied.mcpServers.bursar
    // npm puts the clone's own Node first on PATH; a client has only the system's.
    const path = (process.env['PATH'] ?? '').split(delimiter).filter((part) => !part.includes('node_modules'))
    expect(path.some((part) => existsSync(join(part, command)))).toBe(true)
    const env = { PATH: path.join(delimiter), HOME: home, XDG_DATA_HOME: join(home, 'data') }
    const session = await open({ kind: 'stdio', command, args, env, cwd: project })

    expect((await session.listTools()).map(({ name }) => name)).toEqual(
      tools.flatMap((tool) => (tool.needs === 'till' ? [tool.name] : [])),
    )
    expect(await ask(session, 'list_offers')).toMatchObject({ seller: 'The project' })
    // What it keeps is in the user's data folder, not in the project.
    expect((await readdir(project)).toSorted()).toEqual(['.mcp.json', 'bursar.config.json', 'home'])
    expect(await readdir(join(home, 'data', 'bursar'))).toContain('bursar.db')

    const pid = session.pid ?? 0
    const all = [pid, ...childrenOf(pid)]
    expect(alive(pid)).toBe(true)
    await session.close()
    await gone(...all)
  })

  test("ends with the clone's Node that it started, when it is told to", async () => {
    const path = (process.env['PATH'] ?? '').split(delimiter).filter((part) => !part.includes('node_modules'))
    const env = { PATH: path.join(delimiter), HOME: project, XDG_DATA_HOME: join(project, 'home', 'data') }
    const session = await open({ kind: 'stdio', command: 'node', args: [BIN, 'mcp'], env, cwd: project })
    await ask(session, 'list_offers')
    const pid = session.pid ?? 0
    const all = [pid, ...childrenOf(pid)]
    process.kill(pid, 'SIGTERM')
    await gone(...all)
  })
})

describe('bursar mcp with a purse', () => {
  let stage: Stage

  beforeAll(async () => {
    stage = await setStage({ upstream: await startEmulator([]) })
  })
  afterAll(() => stage?.stop())

  async function pay(session: McpSession): Promise<string> {
    const { id } = await ask(session, 'create_invoice', { rail: 'ethereum:USDC', pack: 'starter' })
    expect(await ask(session, 'pay_invoice', { invoice: id })).toMatchObject({ replayed: false })
    return String(id)
  }

  async function settled(session: McpSession, invoice: string): Promise<void> {
    expect(await awaited(session, invoice)).toMatchObject({ timed_out: false, invoice: { state: 'paid' } })
  }

  /** Who watches the chain; the fence grows whenever that changes. */
  const watcher = () =>
    stage.query<{ holder: string; fence: number }>(
      "SELECT holder, fence FROM lease WHERE name = 'watch:ethereum'",
    )[0]

  // In `auto` mode the client first starts a second, short-lived one to find out what it speaks.
  test.each(['auto', 'first-generation SDK'] as const)(
    'starts no purse before one is needed, client: %s',
    async (generation) => {
      const session = await open(stage.stdio(), generation)
      await session.listTools()
      await ask(session, 'list_offers')
      await ask(session, 'create_invoice', { rail: 'ethereum:USDC', pack: 'starter' })
      expect((await readdir(stage.folder)).filter((name) => name.startsWith('purse'))).toEqual([])
      expect(childrenOf(session.pid ?? 0)).toEqual([])
    },
  )

  test('waits for a purse that ends, and then starts one of its own', async () => {
    const session = await open(stage.stdio())
    const { id } = await ask(session, 'create_invoice', { rail: 'ethereum:USDC', pack: 'starter' })
    // What the last purse does between closing its server and its end: nothing answers, and the wallet is taken.
    const lock = lockWallet(stage.folder, stage.wallet)
    const paid = ask(session, 'pay_invoice', { invoice: id })
    const children = () => childrenOf(session.pid ?? 0).length
    await expect.poll(children).toBe(1)
    await expect.poll(children).toBe(0)
    lock.release()
    expect(await paid).toMatchObject({ invoice: id, replayed: false })
  })

  test('shares one watcher and one purse with a second; when the first is killed, the second goes on', async () => {
    const first = await open(stage.stdio())
    const invoices = [await pay(first)]
    await settled(first, invoices[0] ?? '')
    const [purse, watching] = [await stage.purse(), watcher()]

    const second = await open(stage.stdio('local', clockAhead('when told')))
    invoices.push(await pay(second))
    await settled(second, invoices[1] ?? '')
    expect(childrenOf(first.pid ?? 0)).toEqual([purse?.pid])
    expect(childrenOf(second.pid ?? 0)).toEqual([])
    expect(watcher()).toEqual(watching)

    process.kill(first.pid ?? 0, 'SIGKILL')
    // At once, while the purse of the killed one still ends: it may serve this one yet.
    invoices.push(await pay(second))
    // Some seconds later its lease has lapsed.
    process.kill(second.pid ?? 0, 'SIGUSR2')
    await gone(first.pid ?? 0, purse?.pid ?? 0)
    invoices.push(await pay(second))
    expect(childrenOf(second.pid ?? 0)).toEqual([(await stage.purse())?.pid])
    await Promise.all(invoices.map((invoice) => settled(second, invoice)))
    expect(watcher()?.fence).toBe((watching?.fence ?? 0) + 1)

    // Whoever watched and whoever paid: each invoice by one transaction, each credited once.
    const paid = stage.query<{ n: number; credits: number }>(
      `SELECT count(*) AS n, sum(credits) AS credits FROM payment WHERE invoice IN (?, ?, ?, ?) GROUP BY invoice`,
      ...invoices,
    )
    expect(paid).toEqual(invoices.map(() => ({ n: 1, credits: 100_000_000 })))
  })

  // Last: a killed one leaves its lease, and whoever is next would wait until that has lapsed.
  test.each([
    ['the client closes standard input', (session: McpSession) => session.close()],
    ['it gets SIGTERM', async (session: McpSession) => void process.kill(session.pid ?? 0, 'SIGTERM')],
    ['it gets SIGKILL', async (session: McpSession) => void process.kill(session.pid ?? 0, 'SIGKILL')],
  ])('leaves nothing running when %s', async (_, end) => {
    const session = await open(stage.stdio())
    await pay(session)
    const purse = await stage.purse()
    const pid = session.pid ?? 0
    expect(childrenOf(pid)).toEqual([purse?.pid])
    await end(session)
    await gone(pid, purse?.pid ?? 0)
    await session.close()
  })
})
