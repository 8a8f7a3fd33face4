/** `bursar deployment`: what the database is bound to, and how a human changes it. */
import { openChains } from '../chains/index.ts'
import { readCatalogue } from '../credits/packs.ts'
import { acceptDeployment, readDeployment, type Term, termsOf } from '../invoices/deployment.ts'
import { formatUsd } from '../money.ts'
import { openTillLedger } from '../till-ledger.ts'
import { action, type Registers } from './command.ts'
import { table } from './ledger.ts'

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
  if (recorded.length === 0) return 'Bound to nothing yet.'
  const values = new Map(asked.map(({ name, value }) => [name, value]))
  const rows = recorded.map(({ name, value }) => {
    const other = values.get(name)
    const beside = other === value ? 'the same' : other === undefined ? '-' : shown(name, other)
    return [name, shown(name, value), beside]
  })
  return table(['term', 'recorded', 'configuration'], rows)
}

/** Prices are kept in millionths of a dollar, keys as fingerprints. */
function shown(name: string, value: string): string {
  if (name === 'credit_usd') return `${formatUsd(BigInt(value))} USD`
  return name.startsWith('key:') ? `fingerprint ${value}` : value
}
