/** `bursar deployment`: what the database is bound to, and how a human changes it. */
import { openChains } from '../chains/index.ts'
import { readCatalogue } from '../credits/packs.ts'
import { acceptDeployment, readDeployment, type Term, termsOf } from '../invoices/deployment.ts'
import { openTillLedger } from '../till-ledger.ts'
import { action, type Registers } from './command.ts'

export const deployment: Registers = (program, shell) => {
  const command = program
    .command('deployment')
    .description('what the database is bound to: extended keys, networks, the price of a credit')
  command
    .command('show', { isDefault: true })
    .description('show it beside what the configuration says')
    .action(
      action(shell, async ({ settings, runtime, answer }) => {
        const ledger = await openTillLedger({ settings, runtime })
        try {
          const asked = termsOf(termsIn(settings.config, runtime))
          const recorded = await readDeployment(ledger.db)
          answer({ recorded, configured: asked }, compare(recorded, asked))
        } finally {
          await ledger.close()
        }
      }),
    )
  command
    .command('accept')
    .description("take the configuration's extended keys and price of a credit from now on")
    .action(
      action(shell, async ({ settings, runtime, answer }) => {
        const ledger = await openTillLedger({ settings, runtime })
        try {
          const changed = await acceptDeployment(ledger, termsIn(settings.config, runtime))
          answer(
            { changed },
            changed.length === 0
              ? 'Nothing differs.'
              : `${changed.map(({ name }) => name).join(', ')} changed. Start every till of this database again.`,
          )
        } finally {
          await ledger.close()
        }
      }),
    )
}

type Config = Parameters<typeof readCatalogue>[0] & Parameters<typeof openChains>[0]['config']

function termsIn(config: Config, runtime: Parameters<typeof openChains>[0]['runtime']) {
  return { chains: openChains({ config, runtime }), usdPerCredit: readCatalogue(config).usdPerCredit }
}

function compare(recorded: readonly Term[], asked: readonly Term[]): string {
  const values = new Map(asked.map(({ name, value }) => [name, value]))
  const lines = recorded.map(({ name, value }) => {
    const other = values.get(name)
    return `${name.padEnd(24)} ${value}${other === undefined || other === value ? '' : `   (the configuration: ${other})`}`
  })
  return lines.join('\n') || 'Bound to nothing yet.'
}
