/** Child processes of tests and demos: started until ready, stopped for certain, never left behind. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { PATIENCE_MS } from './patience.ts'

export interface Started {
  readonly child: ChildProcess
  /** Everything printed so far, stdout and stderr together. */
  output(): string
  /** Ends the process and resolves when it is gone. Safe to repeat. */
  readonly stop: (signal?: NodeJS.Signals) => Promise<void>
}

/** The environment of a program, and where Node keeps what it has compiled: most of a short life is spent on that. */
export function compiling<Env extends Readonly<Record<string, string | undefined>>>(
  env: Env,
): Env & { NODE_COMPILE_CACHE?: string } {
  const cache = process.env['NODE_COMPILE_CACHE']
  return cache === undefined ? env : { NODE_COMPILE_CACHE: cache, ...env }
}

/** Starts a program, by default in the environment of this one. It is killed with this process, however that ends short of kill -9. */
export function start(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = process.env,
): Started {
  const child = spawn(program, args, { env: compiling(env), stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  child.on('error', (error) => {
    text += String(error)
  })
  const kill = () => void child.kill('SIGKILL')
  process.once('exit', kill)
  const gone = once(child, 'close')
  return {
    child,
    output: () => text,
    async stop(signal = 'SIGTERM') {
      process.removeListener('exit', kill)
      if (child.exitCode === null && child.signalCode === null) child.kill(signal)
      await gone.catch(() => undefined)
    },
  }
}

/** Resolves with the first match of `pattern` in the program's output. Rejects when it ends or takes too long. */
export function printed(
  started: Started,
  pattern: RegExp,
  timeoutMs = PATIENCE_MS,
): Promise<RegExpExecArray> {
  const { child } = started
  return new Promise((resolve, reject) => {
    const finish = () => {
      clearTimeout(timer)
      child.stdout?.removeListener('data', look)
      child.stderr?.removeListener('data', look)
      child.removeListener('close', closed)
    }
    const fail = (why: string) => {
      finish()
      reject(new Error(`${child.spawnfile} ${why}:\n${started.output().slice(-2000)}`))
    }
    const look = () => {
      const match = pattern.exec(started.output())
      if (!match) return
      finish()
      resolve(match)
    }
    const closed = () => fail('ended before it was ready')
    const timer = setTimeout(() => fail(`was not ready after ${timeoutMs} ms`), timeoutMs)
    child.stdout?.on('data', look)
    child.stderr?.on('data', look)
    child.on('close', closed)
    look()
  })
}
