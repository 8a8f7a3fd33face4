/** `bursar unassigned`: payments that belong to no invoice, and how a human gives them to an account. */
import { openChains, openEvmNetworks } from '../chains/index.ts'
import { readCatalogue } from '../credits/packs.ts'
import type { Db } from '../db/db.ts'
import { BursarError, invalid } from '../errors.ts'
import { createChanges } from '../invoices/changes.ts'
import type { InvoiceContext } from '../invoices/context.ts'
import { openTillKey } from '../invoices/till-key.ts'
import { assignPayment, listUnassigned, type UnassignedPayment } from '../invoices/unassigned.ts'
import { openRates } from '../rates/open.ts'
import { action, type Context, type Registers } from './command.ts'
import { withDb } from './ledger.ts'

interface AssignOptions {
  readonly account?: string
  readonly externalId?: string
}

export const unassigned: Registers = (program, shell) => {
  const command = program
    .command('unassigned')
    .description('payments to addresses of this till that belong to no invoice')
  command
    .command('list', { isDefault: true })
    .description('those that wait for somebody to find out whose they are')
    .action(
      action(shell, (context) =>
        withInvoices(context, async (ctx) => {
          const payments = await listUnassigned(ctx)
          context.answer({ payments }, payments.map(line).join('\n') || 'None.')
        }),
      ),
    )
  command
    .command('assign')
    .argument('<payment>', 'as the list shows it, or the hash of its transaction')
    .option('--account <id>', 'whose it is')
    .option('--external-id <id>', "the same, by the seller's own name for the account")
    .description('give one to an account: it is credited as a late payment')
    .action(
      action(shell, (context, payment: string, options: AssignOptions) =>
        withInvoices(context, async (ctx) => {
          const account = await accountOf(ctx.db, options)
          const view = await assignPayment(ctx, { payment, account })
          context.answer(
            view,
            `It belongs to ${account} now, as invoice ${view.id} (${view.state}). The till that watches ${view.rail} credits it.`,
          )
        }),
      ),
    )
}

async function accountOf(db: Db, { account, externalId }: AssignOptions): Promise<string> {
  if ((account === undefined) === (externalId === undefined)) {
    throw invalid('Name the account: one of --account and --external-id.')
  }
  const [row] = await db.query<{ id: string }>('SELECT id FROM account WHERE id = ? OR external_id = ?', [
    account ?? null,
    externalId ?? null,
  ])
  if (row) return row.id
  throw new BursarError('not_found', `There is no account ${JSON.stringify(account ?? externalId)}.`, {
    remedy: 'Check the name, or make it first: bursar keys create --account NAME',
  })
}

async function withInvoices(context: Context, work: (ctx: InvoiceContext) => Promise<void>): Promise<void> {
  const { settings, runtime } = context
  const { config } = settings
  const chains = openChains({ config, runtime })
  const rates = openRates({
    config: config.rates,
    networks: chains,
    feeds: openEvmNetworks({ config, runtime }),
    runtime,
  })
  await withDb(context, (db) =>
    work({
      db,
      runtime,
      chains: new Map(chains.map((chain) => [chain.id, chain])),
      rates,
      catalogue: readCatalogue(config),
      tillKey: openTillKey({ dataDir: settings.dataDir, runtime }),
      changes: createChanges(),
      lockMs: config.invoices.lock_minutes * 60_000,
    }),
  )
}

function line(payment: UnassignedPayment): string {
  const { payment: key, rail, amount, amount_display: display, address, path, seen_at: at } = payment
  const what = display ?? `${amount} atomic units`
  return `${key}\n  ${what} on ${rail} to ${address}${path === null ? '' : ` (${path})`}, seen ${at}`
}
