import { toBursarError } from '../errors.ts'
import type { PurseEvent } from '../purse/events.ts'
import { runPurse } from '../purse/main.ts'
import { action, type Registers } from './command.ts'

export const purse: Registers = (program, shell) => {
  program
    .command('purse')
    .description('run the process that holds the wallet and pays within the budget')
    .option('--child', 'end when standard input closes, and report in JSON (how bursar mcp starts it)')
    .action(
      action(
        shell,
        async ({ settings, runtime, signal }, options: { child?: boolean }) => {
          const child = options.child === true
          const report = (event: PurseEvent): void => {
            if (child) shell.err(`${JSON.stringify(event)}\n`)
            else if (event.purse === 'ready')
              shell.err(`Purse of ${event.address} listening at ${event.url}\n`)
          }
          try {
            await runPurse({ settings, runtime, signal, report, ...(child ? { parent: process.stdin } : {}) })
          } catch (thrown) {
            // The parent has heard of it; where another purse was faster, there is nothing to say to people.
            if (!child || toBursarError(thrown).code === 'internal') throw thrown
            process.exitCode = 1
          }
        },
        { wallet: true },
      ),
    )
}
