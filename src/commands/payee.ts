import { openTillKey } from '../invoices/till-key.ts'
import { action, type Registers } from './command.ts'

export const payee: Registers = (program, shell) => {
  program
    .command('payee')
    .description("print this till's public key, which buyers pin in purse.payees")
    .action(
      action(shell, async ({ settings, runtime, answer }) => {
        const key = openTillKey({ dataDir: settings.dataDir, runtime })
        answer({ payee: key.payee }, key.payee)
      }),
    )
}
