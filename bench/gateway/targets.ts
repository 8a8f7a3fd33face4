/** What is measured, each as a process of its own over the same upstream. */

import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openDb } from '../../src/db/client.ts'
import { createAccount } from '../../src/ledger/accounts.ts'
import { grantStatements } from '../../src/ledger/grant.ts'
import { createKey } from '../../src/ledger/keys.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { systemRuntime } from '../../src/runtime.ts'
import { printed, type Started, start } from '../../test/support/process.ts'
import type { Job, Measured } from './load.ts'
import { portkeyProgram } from './portkey.ts'

export const TARGETS = ['direct', 'pass-through', 'logged', 'portkey', 'bursar'] as const
export type TargetName = (typeof TARGETS)[number]

export interface Target {
  readonly name: TargetName
  readonly port: number
  readonly headers: Readonly<Record<string, string>>
  /** CPU time that its process has used, microseconds; null where the system does not say. */
  cpu(): number | null
  /** For Bursar: how many calls its ledger has charged, and how many it still holds. */
  books?(): Promise<{ readonly charged: number; readonly open: number }>
  /** For Bursar: what its process uses, once the garbage is gone. */
  memory?(): Promise<Memory>
  /** What it printed, for whoever looks for the reason of a failure. */
  output?(): string
  stop(): Promise<void>
}

/** Asks a target, over and over. */
export type Load = (target: Target, job: Omit<Job, 'port' | 'path' | 'headers' | 'body'>) => Promise<Measured>

export interface Memory {
  readonly rss: number
  readonly heapUsed: number
  readonly external: number
}

/** Sold by Bursar and known to the upstream. */
export const MODEL = 'bench'
/** A hundred million calls' worth: the balance is never what ends a run. */
const MICRO_CREDITS = 900_000_000_000_000n

export async function startUpstream(): Promise<{ port: number; stop(): Promise<void> }> {
  return await startScript('upstream.ts', [])
}

export async function startTarget(name: TargetName, upstreamPort: number): Promise<Target> {
  const origin = `http://127.0.0.1:${upstreamPort}`
  const headers = { authorization: 'Bearer bench-key' }
  if (name === 'direct')
    return { name, port: upstreamPort, headers, cpu: () => null, stop: async () => undefined }
  if (name === 'pass-through') return { name, headers, ...(await startScript('pass-through.ts', [origin])) }
  if (name === 'logged') return await startLogged(origin, headers)
  return name === 'portkey' ? await startPortkey(origin) : await startBursar(origin)
}

interface Script extends Pick<Target, 'cpu'>, Pick<Started, 'stop' | 'output'> {
  readonly port: number
}

async function startScript(file: string, args: readonly string[]): Promise<Script> {
  const script = fileURLToPath(new URL(file, import.meta.url))
  const started = start(process.execPath, [script, ...args])
  const [, port] = await printed(started, /listening (\d+)/)
  return { port: Number(port), ...processOf(started) }
}

function processOf(started: Started): Pick<Script, 'cpu' | 'stop' | 'output'> {
  return { cpu: () => cpuOf(started.child.pid), stop: started.stop, output: started.output }
}

/** Of the whole process, its garbage collector included (proc(5), in hundredths of a second). */
function cpuOf(pid: number | undefined): number | null {
  try {
    const [user, system] =
      readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ').slice(11, 13) ?? []
    return (Number(user) + Number(system)) * 10_000
  } catch {
    return null
  }
}

async function startLogged(origin: string, headers: Target['headers']): Promise<Target> {
  const folder = await mkdtemp(join(tmpdir(), 'bursar-bench-'))
  const script = await startScript('logged.ts', [origin, join(folder, 'log')])
  return {
    name: 'logged',
    headers,
    ...script,
    async stop() {
      await script.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function startPortkey(origin: string): Promise<Target> {
  const port = await freePort()
  const started = start(process.execPath, [portkeyProgram(), `--port=${port}`, '--headless'], {
    ...process.env,
    NODE_ENV: 'production',
  })
  await answers(port, started)
  const headers = {
    authorization: 'Bearer bench-key',
    'x-portkey-provider': 'openai',
    'x-portkey-custom-host': `${origin}/v1`,
  }
  return { name: 'portkey', port, headers, ...processOf(started) }
}

/** `bursar serve` as anybody would run it: a file, synchronous FULL, an account with credits, a price per token. */
async function startBursar(origin: string): Promise<Target> {
  const folder = await mkdtemp(join(tmpdir(), 'bursar-bench-'))
  const config = join(folder, 'bursar.config.json')
  const database = `file:${join(folder, 'bursar.db')}`
  await writeFile(config, JSON.stringify(configOver(origin)))
  const key = await fundedKey(database)
  const program = fileURLToPath(new URL('../../bin/bursar.js', import.meta.url))
  const probe = new URL('memory-probe.ts', import.meta.url).href
  const extra = process.env['BENCH_NODE_ARGS']?.split(' ') ?? []
  const started = start(
    process.execPath,
    [...extra, '--expose-gc', '--import', probe, program, 'serve', '--json', '--config', config],
    { ...process.env, BURSAR_DB: database, BURSAR_DATA: folder, PORT: '0', HOST: '127.0.0.1' },
  )
  const [, port] = await printed(started, /"url":\s*"http:\/\/127\.0\.0\.1:(\d+)"/)
  return {
    name: 'bursar',
    port: Number(port),
    headers: { authorization: `Bearer ${key}` },
    books: () => booksOf(database),
    memory: () => memoryOf(started),
    ...processOf(started),
    async stop() {
      await started.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function configOver(origin: string): object {
  return {
    upstreams: { bench: { base_url: `${origin}/v1`, api_key: 'bench-key' } },
    models: {
      [MODEL]: {
        upstream: 'bench',
        usd_per_million_input: '0.25',
        usd_per_million_output: '2.00',
        margin_percent: '20',
      },
    },
  }
}

async function fundedKey(database: string): Promise<string> {
  const runtime = systemRuntime('warn')
  const ledger = openLedger({ db: await openDb({ url: database, runtime }), runtime })
  const { id: account } = await createAccount(ledger, { externalId: 'bench' })
  const grant = { ref: 'bench', account, credits: MICRO_CREDITS, kind: 'grant', expiresAt: null } as const
  await ledger.db.commit(grantStatements({ ...grant, at: runtime.now() }))
  const { key } = await createKey(ledger, { scope: 'account', account, name: 'bench' })
  await ledger.close()
  return key
}

async function booksOf(database: string): Promise<{ charged: number; open: number }> {
  const db = await openDb({ url: database, runtime: systemRuntime('warn') })
  const [row] = await db.query<{ charged: bigint; open: bigint }>(
    `SELECT (SELECT count(*) FROM receipt WHERE state = 'charged' AND charged > 0 AND note IS NULL) AS charged,
       (SELECT count(*) FROM hold) AS open`,
  )
  await db.close()
  return { charged: Number(row?.charged), open: Number(row?.open) }
}

/** The process is asked by a signal, and answers on stderr. */
async function memoryOf(started: Started): Promise<Memory> {
  const before = started.output().length
  started.child.kill('SIGUSR2')
  const deadline = Date.now() + 10_000
  while (Date.now() < deadline) {
    const found = /memory (\{[^}]+\})/.exec(started.output().slice(before))?.[1]
    if (found !== undefined) return JSON.parse(found) as Memory
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error('The till does not say what memory it uses.')
}

async function answers(port: number, started: Started): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const ok = await fetch(`http://127.0.0.1:${port}/`).then(
      () => true,
      () => false,
    )
    if (ok) return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`The gateway does not answer:\n${started.output().slice(-2000)}`)
}

async function freePort(): Promise<number> {
  const { createServer } = await import('node:net')
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
