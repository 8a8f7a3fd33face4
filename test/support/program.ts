/** `bursar` itself, started as anybody starts it: its exit status, what it prints, and its HTTP server. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { compiling, printed, start } from './process.ts'

export const BIN = fileURLToPath(new URL('../../bin/bursar.js', import.meta.url))

/** For the environment of a process; by default more than a lease, so that it need not wait for that of a killed one. */
export function clockAhead(when: 'at once' | 'when told' = 'at once', ms = 20_000): Environment {
  const clock = new URL('clock-ahead.ts', import.meta.url).href
  return { NODE_OPTIONS: `--import=${clock}`, CLOCK_AHEAD_MS: String(ms), CLOCK_AHEAD: when }
}

export type Environment = Readonly<Record<string, string>>

export interface Ran {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Server {
  /** Without a path: `http://127.0.0.1:12345`. */
  readonly url: string
  readonly pid: number
  /** Everything printed so far. */
  output(): string
  /** By default with SIGTERM; resolves with the exit status when it is gone. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
}

/** Runs a command to its end. */
export async function run(args: readonly string[], env: Environment, cwd = tmpdir()): Promise<Ran> {
  const child = spawn(process.execPath, [BIN, ...args], {
    env: compiling(env),
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = once(child, 'close') as Promise<[number | null]>
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), ended])
  return { status, stdout, stderr }
}

/** Runs a command that must succeed, with --json, and returns its answer. */
export async function answerOf<T>(args: readonly string[], env: Environment): Promise<T> {
  const { status, stdout, stderr } = await run([...args, '--json'], env)
  if (status !== 0) throw new Error(`bursar ${args.join(' ')} ended with ${status}: ${stdout}${stderr}`)
  return JSON.parse(stdout) as T
}

/** Starts `bursar serve`; resolves when it listens. */
export async function serve(env: Environment): Promise<Server> {
  const started = start(process.execPath, [BIN, 'serve'], env)
  const [, url] = await printed(started, / is open at (http:\/\/\S+)/)
  const { child } = started
  return {
    url: url ?? '',
    pid: child.pid ?? 0,
    output: started.output,
    async stop(signal) {
      await started.stop(signal)
      return child.exitCode
    },
  }
}
