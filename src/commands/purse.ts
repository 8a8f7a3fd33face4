import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { copyDatabase } from '../db/backup.ts'
import { openSnapshot } from '../db/snapshot.ts'
import { BursarError, toBursarError } from '../errors.ts'
import type { PurseEvent } from '../purse/events.ts'
import { runPurse } from '../purse/main.ts'
import { purseDatabase } from '../purse/settings.ts'
import type { Runtime } from '../runtime.ts'
import { action, type Registers } from './command.ts'

export const purse: Registers = (program, shell) => {
  const command = program
    .command('purse')
    .description('run the process that holds the wallet and pays within the budget')
    .option('--child', 'end when standard input closes, and report in JSON (how bursar mcp starts it)')
    .action(
      action(
        shell,
        async ({ settings, runtime, signal, answer }, options: { child?: boolean }) => {
          const child = options.child === true
          const report = (event: PurseEvent): void => {
            if (child) shell.err(`${JSON.stringify(event)}\n`)
            else if (event.purse === 'ready')
              answer(event, `Purse of ${event.address} listening at ${event.url}`)
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
  command
    .command('backup')
    .argument('<path>', 'the file to write')
    .description("copy the purse's database to one file, beside a running purse; not the wallet's key")
    .action(
      action(shell, async ({ settings, runtime, answer }, path: string) => {
        const file = resolve(shell.cwd, path)
        await copyDatabase({
          url: purseDatabase(settings),
          backup: file,
          runtime,
          check: (url) => mustBeWhole(url, runtime),
          missing: 'Name it with purse.database; a purse makes it when it first starts.',
        })
        const { size } = await stat(file)
        answer(
          { path: file, bytes: size },
          `${file}: ${size} bytes, whole. Keep the wallet's keystore and its password elsewhere: they are not in it.`,
        )
      }),
    )
}

/** @throws {BursarError} conflict: the copy is damaged, as its original must be */
async function mustBeWhole(url: string, runtime: Runtime): Promise<void> {
  const snapshot = await openSnapshot({ url, runtime })
  try {
    const rows = await snapshot.query<{ integrity_check: string }>('PRAGMA integrity_check(1)')
    if (rows[0]?.integrity_check === 'ok') return
    throw new BursarError('conflict', `The purse's database is damaged: ${rows[0]?.integrity_check}.`, {
      remedy: 'Put an older copy in its place; docs/operations.md says what it does not know.',
    })
  } finally {
    snapshot.close()
  }
}
