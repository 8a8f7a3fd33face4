/** `bursar deployment`: what the database is bound to, and how a human changes it. */
import { openChains } from '../chains/index.ts'
import { readCatalogue } from '../credits/packs.ts'
import { acceptDeployment, readDeployment, type Term, type Terms, termsOf } from '../invoices/deployment.ts'
import { formatUsd } from '../money.ts'
import { action, type Context, type Registers } from './command.ts'
import { table, withDb } from './ledger.ts'

export const deployment: Registers = (program, shell) => {
  const command = program
    .command('deployment')
    .description('what the database is bound to: extended keys, networks, the price of a credit')
  command
    .command('show', { isDefault: true })
    .description('show it beside what the configuration says')
    .action(
      action(shell, (context) =>
        withDb(context, async (db) => {
          const asked = termsOf(termsIn(context))
          const recorded = await readDeployment(db)
          context.answer({ recorded, configured: asked }, compare(recorded, asked))
        }),
      ),
    )
  command
    .command('accept')
    .description("take the configuration's extended keys and price of a credit from now on")
    .action(
      action(shell, (context) =>
        withDb(context, async (db) => {
          const changed = await acceptDeployment({ db, runtime: context.runtime }, termsIn(context))
          context.answer(
            { changed },
            changed.length === 0
              ? 'Nothing differs.'
              : `${changed.map(({ name }) => name).join(', ')} changed. Start every till of this database again.`,
          )
        }),
      ),
    )
}

function termsIn({ settings: { config }, runtime }: Context): Terms {
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
