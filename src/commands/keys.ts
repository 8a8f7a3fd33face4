import type { Command } from 'commander'
import { invalid } from '../errors.ts'
import { createAccount } from '../ledger/accounts.ts'
import { createAgent } from '../ledger/agents.ts'
import { createKey, type KeyHolder, type KeyView, listKeys, revokeKey } from '../ledger/keys.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { openTillLedger } from '../till-ledger.ts'
import { action, type Registers } from './command.ts'

interface CreateOptions {
  readonly account?: string
  readonly agent?: string
  readonly seller?: boolean
  readonly name?: string
}

export const keys: Registers = (program, shell) => {
  const group: Command = program.command('keys').description('API keys: who may buy and spend over HTTP')

  group
    .command('create')
    .description('make a key and show it, once')
    .option('--account <external-id>', 'your name for the account; made when it does not exist')
    .option('--agent <name>', 'a key for one agent within the account; made when it does not exist')
    .option('--seller', "the seller's own key, for no account")
    .option('--name <text>', 'what the key is for')
    .action(
      action(shell, async ({ settings, runtime, answer }, options: CreateOptions) => {
        const ledger = await openTillLedger({ settings, runtime })
        try {
          const holder = await holderOf(ledger, options)
          const name = options.name ?? options.agent ?? options.account ?? 'seller'
          const created = await createKey(ledger, { ...holder, name })
          answer(
            { ...created, ...holder },
            `${created.key}\nThis is the only time it is shown. Revoke it with: bursar keys revoke ${created.id}`,
          )
        } finally {
          await ledger.db.close()
        }
      }),
    )

  group
    .command('list')
    .description('list keys by prefix, with their last use')
    .action(
      action(shell, async ({ settings, runtime, answer }) => {
        const ledger = await openTillLedger({ settings, runtime })
        try {
          const all = await listKeys(ledger)
          answer(
            { keys: all.map(wireKey) },
            all.map(keyLine).join('\n') || 'No keys. Make one: bursar keys create --account NAME',
          )
        } finally {
          await ledger.db.close()
        }
      }),
    )

  group
    .command('revoke')
    .argument('<id>', 'as bursar keys list shows it')
    .description('end a key at once')
    .action(
      action(shell, async ({ settings, runtime, answer }, id: string) => {
        const ledger = await openTillLedger({ settings, runtime })
        try {
          await revokeKey(ledger, { id })
          answer({ id, revoked: true }, `${id} is revoked.`)
        } finally {
          await ledger.db.close()
        }
      }),
    )
}

async function holderOf(ledger: Ledger, options: CreateOptions): Promise<KeyHolder> {
  if (options.seller) {
    if (options.account || options.agent) throw invalid('--seller goes without --account and --agent.')
    return { scope: 'seller' }
  }
  if (!options.account) throw invalid('A key needs --account NAME (your name for the buyer), or --seller.')
  const account = await createAccount(ledger, { externalId: options.account })
  if (!options.agent) return { scope: 'account', account: account.id }
  const agent = await createAgent(ledger, { account: account.id, name: options.agent })
  return { scope: 'agent', account: account.id, agent: agent.id }
}

function wireKey(key: KeyView): Record<string, unknown> {
  return {
    id: key.id,
    prefix: key.prefix,
    name: key.name,
    scope: key.scope,
    account: key.account,
    agent: key.agent,
    created_at: time(key.createdAt),
    last_used_at: time(key.lastUsedAt),
    revoked_at: time(key.revokedAt),
  }
}

function keyLine(key: KeyView): string {
  const use =
    key.revokedAt === null ? `last used ${time(key.lastUsedAt) ?? 'never'}` : `revoked ${time(key.revokedAt)}`
  return `${key.id}  ${key.prefix}...  ${key.scope.padEnd(7)}  ${key.name}  ${use}`
}

function time(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString()
}
