/** `bursar claim`: a payment that a contract made, at an endpoint without block traces. */
import { openChains } from '../chains/index.ts'
import { createChanges } from '../invoices/changes.ts'
import { claimPayment } from '../invoices/claim.ts'
import { action, type Registers } from './command.ts'
import { withDb } from './ledger.ts'

interface ClaimOptions {
  readonly chain?: string
}

export const claim: Registers = (program, shell) => {
  program
    .command('claim')
    .argument('<invoice>', 'its id')
    .argument('<txid>', 'hash of the transaction that paid it')
    .option('--chain <id>', 'where it was paid, if not on the chain of the invoice')
    .description('credit a payment that a contract made and that the endpoints do not show by themselves')
    .action(
      action(shell, (context, invoice: string, txid: string, options: ClaimOptions) =>
        withDb(context, async (db) => {
          const { settings, runtime } = context
          const all = openChains({ config: settings.config, runtime })
          const chains = new Map(all.map((chain) => [chain.id, chain]))
          const ctx = { db, runtime, chains, changes: createChanges() }
          const view = await claimPayment(ctx, { invoice, txid, ...options })
          const paid = view.payments.filter((payment) => payment.txid === txid.toLowerCase())
          context.answer(
            view,
            paid
              .map(({ state, amount, rail, confirmations, confirmations_needed: needed }) => {
                return `${amount} atomic units of ${rail}: ${state}, ${confirmations} of ${needed} confirmations`
              })
              .join('\n'),
          )
        }),
      ),
    )
}
