import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { backupDatabase } from '../db/backup.ts'
import { tillKeyPath } from '../invoices/till-key.ts'
import { type Verified, verifyDatabase } from '../ledger/verify/verify.ts'
import { action, type Registers } from './command.ts'

/** Exits with 1 when the copy does not verify; it is kept then too, being what there is. */
export const backup: Registers = (program, shell) => {
  program
    .command('backup')
    .argument('<path>', 'the file to write')
    .description("copy the till's database to one file, beside a running till, and verify the copy")
    .action(
      action(shell, async ({ settings, runtime, signal, answer }, path: string) => {
        const file = resolve(shell.cwd, path)
        let verified: Verified | undefined
        await backupDatabase({
          url: settings.database,
          backup: file,
          runtime,
          async check(url) {
            verified = await verifyDatabase({ url, runtime, signal })
          },
        })
        const { ok = false, head, counts, findings = [] } = verified ?? {}
        if (!ok) process.exitCode = 1
        const { size } = await stat(file)
        const key = tillKeyPath(settings.dataDir)
        answer(
          { path: file, bytes: size, ok, head, counts, findings, key },
          [
            `${file}: ${size} bytes, ${ok ? 'verified' : 'NOT right: bursar verify tells what was found'}`,
            ...(head ? [`head ${head.seal}:${head.hash}`] : []),
            `Keep ${key} with it: buyers know this till by that key.`,
          ].join('\n'),
        )
      }),
    )
}
