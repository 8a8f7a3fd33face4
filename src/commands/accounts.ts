/** `bursar accounts`: who owns credits at this till. */
import type { Command } from 'commander'
import { wireAccount, wireAgent, wireKey } from '../http/account-views.ts'
import { createAccount, listAccounts } from '../ledger/accounts.ts'
import { listAgents } from '../ledger/agents.ts'
import { getBalance } from '../ledger/balance.ts'
import { listKeys } from '../ledger/keys.ts'
import { pageOf } from '../ledger/page.ts'
import { formatCredits } from '../money.ts'
import { shellWord } from '../shell-word.ts'
import { agentTable } from './agents.ts'
import { action, type Registers, type Shell } from './command.ts'
import { keyTable } from './keys.ts'
import { accountNamed, pageSize, table, withLedger } from './ledger.ts'

interface ListOptions {
  readonly externalId?: string
  readonly limit?: string
  readonly after?: string
}

export const accounts: Registers = (program, shell) => {
  const group: Command = program.command('accounts').description('accounts: who owns credits')
  registerCreate(group, shell)
  registerList(group, shell)
  registerShow(group, shell)
}

function registerCreate(group: Command, shell: Shell): void {
  group
    .command('create')
    .argument('[external-id]', 'your own name for it; one that is there already is that account')
    .description('open an account')
    .action(
      action(shell, async (context, externalId: string | undefined) =>
        withLedger(context, async (ledger) => {
          const account = await createAccount(ledger, externalId === undefined ? {} : { externalId })
          const view = wireAccount(account, await getBalance(ledger, account.id))
          context.answer(
            view,
            `${account.id}\nGive it a key with: bursar keys create --account ${shellWord(externalId ?? account.id)}`,
          )
        }),
      ),
    )
}

function registerList(group: Command, shell: Shell): void {
  group
    .command('list')
    .option('--external-id <name>', 'only the one that you call so')
    .option('--limit <n>', 'how many, 100 by default')
    .option('--after <id>', 'those behind this one')
    .description('accounts with their balances')
    .action(
      action(shell, async (context, options: ListOptions) =>
        withLedger(context, async (ledger) => {
          const after = options.after === undefined ? {} : { after: options.after }
          const { externalId } = options
          const named = externalId === undefined ? {} : { externalId }
          const { page, next } = await pageOf(pageSize(options.limit), (limit) =>
            listAccounts(ledger, { ...named, ...after, limit }),
          )
          const rows = page.map((each) => [
            each.id,
            each.externalId ?? '-',
            formatCredits(each.available),
            formatCredits(each.held),
            each.frozen ? 'frozen' : '',
          ])
          const more = next === null ? '' : `\nMore: bursar accounts list --after ${next}`
          context.answer(
            { accounts: page.map((each) => wireAccount(each, each)), next_cursor: next },
            rows.length === 0
              ? nothingListed(options)
              : `${table(['account', 'name', 'available', 'held', ''], rows)}${more}`,
          )
        }),
      ),
    )
}

function nothingListed({ externalId, after }: ListOptions): string {
  if (externalId !== undefined) return `No account is called ${externalId}.`
  if (after !== undefined) return 'No more accounts.'
  return 'No accounts. Open one: bursar accounts create NAME'
}

/** More of either are listed by the commands of their own. */
const SHOWN = 100

function registerShow(group: Command, shell: Shell): void {
  group
    .command('show')
    .argument('<account>', 'its id, or your name for it')
    .description('an account with its balance, agents and keys')
    .action(
      action(shell, async (context, name: string) =>
        withLedger(context, async (ledger) => {
          const account = await accountNamed(ledger, name)
          const balance = await getBalance(ledger, account.id)
          const of = { account: account.id, limit: SHOWN }
          const [agents, keys] = [await listAgents(ledger, of), await listKeys(ledger, of)]
          const state = account.frozen ? ', frozen' : ''
          const parts = [
            `${account.id}  ${account.externalId ?? ''}${state}`.trimEnd(),
            `${formatCredits(balance.available)} credits available, ${formatCredits(balance.held)} held`,
            ...(agents.length > 0 ? ['', agentTable(agents)] : []),
            ...(keys.length > 0 ? ['', keyTable(keys)] : []),
          ]
          context.answer(
            {
              ...wireAccount(account, balance),
              agents: agents.map(wireAgent),
              keys: keys.map(wireKey),
            },
            parts.join('\n'),
          )
        }),
      ),
    )
}
