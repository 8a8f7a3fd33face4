import { openTill } from '../app.ts'
import { type Caller, serveMcpStdio } from '../mcp/server.ts'
import { connectPurse } from '../purse/client.ts'
import { readVersion } from '../version.ts'
import { action, type Context, type Registers, stopped } from './command.ts'

export const mcp: Registers = (program, shell) => {
  program
    .command('mcp')
    .description('serve an MCP client over stdio: what Claude Code, Cursor and others start')
    .option('--account <external-id>', 'whose credits to use', 'local')
    .action(
      action(shell, async (context, options: { account: string }) => {
        const { settings, runtime, signal } = context
        const till = await openTill({ settings, runtime })
        const purse = settings.config.purse
          ? connectPurse({ settings, runtime, spawn: purseCommand(context) })
          : null
        try {
          const bursar = await till.bursarOf(options.account)
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

/** The same program, with the same configuration, as a child. */
function purseCommand({ settings }: Context): { command: string; args: string[] } {
  const program = process.argv[1] ?? 'bursar'
  const config = settings.path === null ? [] : ['--config', settings.path]
  return { command: process.execPath, args: [program, ...config, 'purse', '--child'] }
}
