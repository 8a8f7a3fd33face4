import type { Bursar } from '../bursar.ts'
import type { Settings } from '../config.ts'
import { invalid, toBursarError } from '../errors.ts'
import { type Caller, serveMcpStdio } from '../mcp/server.ts'
import { connectPurse } from '../purse/client.ts'
import type { Runtime } from '../runtime.ts'
import type { Client } from '../sdk/client.ts'
import { remoteBursar } from '../sdk/remote.ts'
import { readVersion } from '../version.ts'
import { action, type Context, type Registers, stopped } from './command.ts'
import { tillClient } from './till-client.ts'

export const mcp: Registers = (program, shell) => {
  program
    .command('mcp')
    .description('serve an MCP client over stdio: what Claude Code, Cursor and others start')
    .option('--account <external-id>', 'whose credits to use (default: local)')
    .action(
      action(shell, async (context, options: { account?: string }) => {
        const { settings, reread, runtime, signal } = context
        const till = settings.till
          ? remoteTill(settings.till, options, runtime)
          : await ownTill(context, options.account ?? 'local')
        const purse = settings.config.purse
          ? connectPurse({ settings: reread, runtime, spawn: purseCommand(context) })
          : null
        try {
          const { bursar } = till
          const caller: Caller = purse ? { bursar, purse } : { bursar }
          const server = serveMcpStdio(caller, { version: readVersion(), log: runtime.log })
          await Promise.race([server.closed, stopped(signal)])
          await server.close()
        } finally {
          await purse?.close()
          await till.close()
        }
      }),
    )
}

interface OpenedTill {
  readonly bursar: Bursar
  close(): Promise<void>
}

/** A till in this process. Loaded only here: a client of another one neither reads chains nor opens a database. */
async function ownTill({ settings, runtime }: Context, account: string): Promise<OpenedTill> {
  const { openTill } = await import('../app.ts')
  const till = await openTill({ settings, runtime })
  try {
    return { bursar: await till.bursarOf(account), close: () => till.close() }
  } catch (error) {
    await till.close()
    throw error
  }
}

/** @throws {BursarError} invalid_config, invalid_request: what cannot be a till's URL, or its key. */
function remoteTill(
  till: NonNullable<Settings['till']>,
  { account }: { readonly account?: string },
  runtime: Runtime,
): OpenedTill {
  if (account !== undefined) {
    throw invalid('With BURSAR_URL the key decides whose credits are used.', {
      remedy: 'Leave out --account, or unset BURSAR_URL.',
    })
  }
  const client = tillClient(till, runtime)
  const stop = new AbortController()
  const looked = look(client, runtime, stop.signal)
  return {
    bursar: remoteBursar(client),
    async close() {
      stop.abort()
      await looked
    },
  }
}

/** Says at once in the log what every tool will answer: a wrong URL or key. */
async function look(client: Client, runtime: Runtime, signal: AbortSignal): Promise<void> {
  try {
    await client.balance({ signal })
  } catch (thrown) {
    if (signal.aborted) return
    const { code, message, remedy } = toBursarError(thrown)
    runtime.log.error({ code, url: client.url }, `${message} ${remedy ?? ''}`.trim())
  }
}

/** The same program, with the same configuration, as a child. */
function purseCommand({ settings }: Context): { command: string; args: string[] } {
  const program = process.argv[1] ?? 'bursar'
  const config = settings.path === null ? [] : ['--config', settings.path]
  return { command: process.execPath, args: [program, ...config, 'purse', '--child'] }
}
