/** What every command shares: settings, the outside world, and one way to answer people and programs. */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { readSettings, type Settings } from '../config.ts'
import { type BursarError, toBursarError } from '../errors.ts'
import { type Runtime, systemRuntime } from '../runtime.ts'

/** Adds one command to the program. */
export type Registers = (program: Command, shell: Shell) => void

/** The process around a command. */
export interface Shell {
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal
}

export interface Context {
  readonly settings: Settings
  /** The settings as they are by now, from the same file. @throws {BursarError} invalid_config */
  reread(): Settings
  readonly runtime: Runtime
  readonly signal: AbortSignal
  /** Prints `json` as one line with --json, else the text. */
  answer(json: object, text: string): void
}

/**
 * Runs an action with its context. A failure prints what is wrong and what to do about it, or the problem as JSON
 * with --json, and the process exits with 1. Only an action of the purse's side asks for `wallet`, its key. One that is
 * `quiet` says itself what it met: warnings are logged only where somebody has set BURSAR_LOG.
 */
export function action<Args extends unknown[]>(
  shell: Shell,
  run: (context: Context, ...args: Args) => Promise<void>,
  { wallet = false, quiet = false }: { readonly wallet?: boolean; readonly quiet?: boolean } = {},
): (...args: [...Args, ...unknown[]]) => Promise<void> {
  return async (...all) => {
    // commander passes the command itself last, its options before that
    const command = all.at(-1) as Command
    const options = command.optsWithGlobals<{ config?: string; json?: boolean }>()
    const json = options.json === true
    try {
      const read = (path: string | undefined): Settings =>
        readSettings({
          path,
          env: shell.env,
          cwd: shell.cwd,
          folders: configFolders(shell.cwd),
          wallet,
        })
      const settings = read(options.config)
      const runtime = systemRuntime(quiet && !shell.env.BURSAR_LOG ? 'error' : settings.logLevel)
      const answer = (value: object, text: string): void =>
        shell.out(json ? `${JSON.stringify(value)}\n` : `${text}\n`)
      const reread = (): Settings => read(settings.path ?? options.config)
      await run({ settings, reread, runtime, signal: shell.signal, answer }, ...(all as unknown as Args))
    } catch (thrown) {
      fail(shell, toBursarError(thrown), json)
    }
  }
}

/** Prints what is wrong and what to do about it, or the problem as JSON, and lets the process exit with 1. */
export function fail(shell: Shell, error: BursarError, json: boolean): void {
  process.exitCode = 1
  if (json) {
    shell.out(`${JSON.stringify(error.toProblem())}\n`)
    return
  }
  const cause = error.code === 'internal' && error.cause instanceof Error ? `\n${error.cause.stack}` : ''
  shell.err(`bursar: ${error.message}${error.remedy ? `\n${error.remedy}` : ''}${cause}\n`)
}

/** Where a configuration is looked for: the current folder, then the checkout that this file is part of. */
function configFolders(cwd: string): string[] {
  const checkout = join(dirname(fileURLToPath(import.meta.url)), '../..')
  return import.meta.url.endsWith('.ts') ? [cwd, checkout] : [cwd]
}

/** Resolves when the process is asked to stop. */
export function stopped(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
