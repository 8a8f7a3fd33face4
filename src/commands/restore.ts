/** `bursar restore`: puts a backup in the database's place, where it stays frozen until a human has confirmed it. */
import { resolve } from 'node:path'
import { openChains } from '../chains/index.ts'
import { restoreDatabase } from '../db/backup.ts'
import { BursarError, invalid } from '../errors.ts'
import { confirmReconciled, type Reconciliation, reconcile } from '../invoices/reconcile.ts'
import { verifyDatabase } from '../ledger/verify/verify.ts'
import { action, type Context, type Registers, type Shell } from './command.ts'
import { counted } from './counted.ts'
import { withDb } from './ledger.ts'

interface RestoreOptions {
  readonly check?: true
  readonly confirm?: true
  readonly skip: string
}

export const restore: Registers = (program, shell) => {
  program
    .command('restore')
    .argument('[backup]', 'a file that bursar backup wrote')
    .option('--check', 'show what was paid since the backup, and what it cannot know; writes nothing')
    .option('--confirm', 'end the freeze: skip addresses, then sell, spend and credit again')
    .option(
      '--skip <number>',
      'addresses to skip, of each key: more than were issued since the backup',
      '1000',
    )
    .description("put a backup in the database's place; the till is frozen until --confirm")
    .action(
      action(shell, async (context, backup: string | undefined, options: RestoreOptions) => {
        const { check, confirm } = options
        if ([backup, check, confirm].filter((each) => each !== undefined).length !== 1) {
          throw invalid('bursar restore takes the path of a backup, or --check, or --confirm.')
        }
        if (backup === undefined) await look(shell, context, options)
        else await putBack(context, resolve(shell.cwd, backup))
      }),
    )
}

async function putBack({ settings, runtime, signal, answer }: Context, backup: string): Promise<void> {
  const url = settings.database
  await restoreDatabase({
    url,
    backup,
    runtime,
    async check(made) {
      const { ok, findings } = await verifyDatabase({ url: made, runtime, signal })
      if (ok) return
      throw new BursarError('conflict', `This backup is not right: ${findings[0]?.message ?? ''}`, {
        remedy: 'Restore an older one; BURSAR_DB=file:PATH bursar verify shows all that was found.',
        details: { findings: findings.length },
      })
    },
  })
  answer(
    { database: url, frozen: true },
    'Restored, and frozen: no call, invoice or payment is taken. Next: bursar restore --check',
  )
}

async function look(shell: Shell, context: Context, { confirm, skip }: RestoreOptions): Promise<void> {
  const { settings, runtime, signal, answer } = context
  const count = Number(skip)
  if (!/^\d+$/.test(skip) || count > 1_000_000) throw invalid('--skip must be a number up to 1000000.')
  await withDb(context, async (db) => {
    const chains = openChains({ config: settings.config, runtime })
    const ctx = { db, runtime, chains }
    const options = {
      skip: count,
      signal,
      onProgress: (chain: string, height: number, tip: number) =>
        shell.err(`${chain}: read to block ${height} of ${tip}\n`),
    }
    const found = await (confirm ? confirmReconciled(ctx, options) : reconcile(ctx, options))
    answer(wire(found, count, confirm === undefined), text(found, count, confirm === undefined))
  })
}

function wire(found: Reconciliation, skip: number, frozen: boolean): Record<string, unknown> {
  return {
    frozen,
    backup_at: new Date(found.backupAt).toISOString(),
    skip,
    chains: found.chains.map(({ chain, from, to, arrived }) => ({
      chain,
      from,
      to,
      arrived: arrived.map((each) => ({ ...each, amount: String(each.amount) })),
    })),
    keys: found.keys,
    open_holds: found.openHolds,
  }
}

function text(found: Reconciliation, skip: number, frozen: boolean): string {
  const at = new Date(found.backupAt).toISOString()
  const chains = found.chains.flatMap(({ chain, from, to, arrived }) => [
    from === null
      ? `${chain}: came after the backup. What was paid on it until now is not seen: look for it by hand.`
      : `${chain}: blocks ${from} to ${to}, ${counted(arrived.length, 'payment')} that the backup does not know`,
    ...arrived.map(({ txid, symbol, amount, address, invoice }) => {
      const whose = invoice === null ? 'unassigned: its invoice was lost' : `for ${invoice}`
      return `  ${txid}: ${amount} atomic units of ${symbol} to ${address}, ${whose}`
    }),
  ])
  const keys = found.keys.map(({ family, from, watched }) => {
    const end = watched ? 'and watched' : 'and NOT watched: the configuration does not have this key'
    return `${family} key: addresses ${from} to ${from + skip - 1} are skipped ${end}`
  })
  return [
    `The backup was taken at ${at}.`,
    ...chains,
    ...keys,
    `Running then: ${counted(found.openHolds, 'call')}, to be ended as those of a process that died.`,
    `Calls that were charged after ${at} are not known: their credits are back, and their idempotency keys are free.`,
    `Compare with your upstreams' bills, and see that fewer than ${skip} invoices were made since.`,
    frozen ? 'Then: bursar restore --confirm' : 'The till sells, spends and credits again.',
  ].join('\n')
}
