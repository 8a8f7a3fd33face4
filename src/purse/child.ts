/** A purse as a child process: it tells on stderr, in one line of JSON, that it listens or why it does not. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { BursarError, type ErrorCode, STATUS } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import type { PurseEvent } from './events.ts'

export interface SpawnCommand {
  readonly command: string
  readonly args: readonly string[]
  /** By default the environment of this process. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

export interface PurseChild {
  /**
   * Resolves when the purse listens.
   * @throws {BursarError} what kept it from starting; purse_unavailable when it ended without a word.
   */
  readonly started: Promise<void>
  /** Closes its stdin, upon which it ends; resolves when it has. Safe to repeat. */
  close(): Promise<void>
}

const PATIENCE_MS = 10_000

export function startChild({ command, args, env }: SpawnCommand, runtime: Runtime): PurseChild {
  const child = spawn(command, args, { stdio: ['pipe', 'ignore', 'pipe'], ...(env ? { env } : {}) })
  // A purse that has ended already takes no more: nothing to say about it.
  child.stdin.on('error', () => undefined)
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve())
    child.once('error', () => resolve())
  })
  const started = new Promise<void>((resolve, reject) => {
    child.once('error', (cause) => reject(failed('it cannot be run', cause)))
    createInterface({ input: child.stderr }).on('line', (line) => {
      const event = eventOf(line)
      if (event?.purse === 'ready') resolve()
      else if (event?.purse === 'failed') reject(errorOf(event))
      else process.stderr.write(`${line}\n`)
    })
    child.once('close', (code) => reject(failed(`it ended with exit code ${code ?? 'none'}`)))
  })
  // Whoever waits gets the error; nobody has to.
  started.catch(() => undefined)
  return {
    started,
    async close() {
      child.stdin.end()
      const giveUp = runtime.after(PATIENCE_MS, () => child.kill('SIGKILL'))
      await ended
      giveUp()
    },
  }
}

function eventOf(line: string): PurseEvent | null {
  if (!line.startsWith('{"purse":')) return null
  try {
    return JSON.parse(line) as PurseEvent
  } catch {
    return null
  }
}

function errorOf({ problem }: Extract<PurseEvent, { purse: 'failed' }>): BursarError {
  const code: ErrorCode = Object.hasOwn(STATUS, problem.code) ? problem.code : 'internal'
  const { code: _code, title: _title, status: _status, detail, remedy, ...details } = problem
  return new BursarError(code, detail, { ...(remedy === undefined ? {} : { remedy }), details })
}

function failed(how: string, cause?: Error): BursarError {
  return new BursarError('purse_unavailable', `The purse could not be started: ${how}.`, {
    remedy: 'Start it by hand to see why: bursar purse.',
    cause,
  })
}
