import type { Command } from 'commander'
import { invalid } from '../errors.ts'
import { wireKey } from '../http/account-views.ts'
import { createAgent } from '../ledger/agents.ts'
import { createKey, type KeyHolder, type KeyView, listKeys, revokeKey } from '../ledger/keys.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { action, type Registers, type Shell } from './command.ts'
import { accountFor, accountNamed, table, withLedger } from './ledger.ts'

interface CreateOptions {
  readonly account?: string
  readonly agent?: string
  readonly seller?: boolean
  readonly name?: string
}

export const keys: Registers = (program, shell) => {
  const group: Command = program.command('keys').description('API keys: who may buy and spend over HTTP')
  registerCreate(group, shell)
  registerList(group, shell)
  registerRevoke(group, shell)
}

function registerCreate(group: Command, shell: Shell): void {
  group
    .command('create')
    .description('make a key and show it, once')
    .option('--account <external-id>', 'your name for the account, or its id; made when it does not exist')
    .option('--agent <name>', 'a key for one agent within the account; made when it does not exist')
    .option('--seller', "the seller's own key, for no account")
    .option('--name <text>', 'what the key is for')
    .action(
      action(shell, async (context, options: CreateOptions) =>
        withLedger(context, async (ledger) => {
          const holder = await holderOf(ledger, options)
          const name = options.name ?? options.agent ?? options.account ?? 'seller'
          const created = await createKey(ledger, { ...holder, name })
          context.answer(
            { ...created, ...holder },
            `${created.key}\nThis is the only time it is shown. Revoke it with: bursar keys revoke ${created.id}`,
          )
        }),
      ),
    )
}

function registerList(group: Command, shell: Shell): void {
  group
    .command('list')
    .option('--account <external-id>', 'only those of this account, by your name for it or its id')
    .description('list keys by prefix, with their last use')
    .action(
      action(shell, async (context, { account }: { readonly account?: string }) =>
        withLedger(context, async (ledger) => {
          const whose = account === undefined ? {} : { account: (await accountNamed(ledger, account)).id }
          const all = await listKeys(ledger, whose)
          context.answer(
            { keys: all.map(wireKey) },
            all.length === 0 ? 'No keys. Make one: bursar keys create --account NAME' : keyTable(all),
          )
        }),
      ),
    )
}

function registerRevoke(group: Command, shell: Shell): void {
  group
    .command('revoke')
    .argument('<id>', 'as bursar keys list shows it')
    .description('end a key: a running till refuses it within a second')
    .action(
      action(shell, async (context, id: string) =>
        withLedger(context, async (ledger) => {
          await revokeKey(ledger, { id })
          context.answer({ id, revoked: true }, `${id} is revoked.`)
        }),
      ),
    )
}

async function holderOf(ledger: Ledger, options: CreateOptions): Promise<KeyHolder> {
  if (options.seller) {
    if (options.account || options.agent) throw invalid('--seller goes without --account and --agent.')
    return { scope: 'seller' }
  }
  if (!options.account) throw invalid('A key needs --account NAME (your name for the buyer), or --seller.')
  const account = await accountFor(ledger, options.account)
  if (!options.agent) return { scope: 'account', account: account.id }
  const agent = await createAgent(ledger, { account: account.id, name: options.agent })
  return { scope: 'agent', account: account.id, agent: agent.id }
}

export function keyTable(keys: readonly KeyView[]): string {
  return table(
    ['key', 'begins with', 'scope', 'name', 'last used', ''],
    keys.map((key) => [
      key.id,
      `${key.prefix}...`,
      key.scope,
      key.name,
      key.lastUsedAt === null ? 'never' : new Date(key.lastUsedAt).toISOString(),
      key.revokedAt === null ? '' : `revoked ${new Date(key.revokedAt).toISOString()}`,
    ]),
  )
}
