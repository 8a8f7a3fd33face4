/** `bursar agents`: who spends an account's credits, and how much of them. */
import type { Command } from 'commander'
import { invalid } from '../errors.ts'
import { wireAgent } from '../http/account-views.ts'
import { type Agent, createAgent, listAgents, updateAgent } from '../ledger/agents.ts'
import { type AllowanceChange, leftOf } from '../ledger/allowance.ts'
import { createKey } from '../ledger/keys.ts'
import { pageOf } from '../ledger/page.ts'
import { formatDecimal, type MicroCredits, parseCredits } from '../money.ts'
import { shellWord } from '../shell-word.ts'
import { action, type Registers, type Shell } from './command.ts'
import { accountFor, accountNamed, agentNamed, pageSize, table, withLedger } from './ledger.ts'

interface LimitOptions {
  readonly perCall?: string
  readonly perDay?: string
  readonly perMonth?: string
  readonly models?: string
}

interface CreateOptions extends LimitOptions {
  readonly key?: boolean
}

interface ListOptions {
  readonly limit?: string
  readonly after?: string
}

export const agents: Registers = (program, shell) => {
  const group: Command = program
    .command('agents')
    .description("agents: who spends an account's credits, each within an allowance")
  registerCreate(group, shell)
  registerList(group, shell)
  registerAllow(group, shell)
}

function withLimits(command: Command): Command {
  return command
    .option('--per-call <credits>', 'the most that one call may hold; none lifts the limit')
    .option('--per-day <credits>', 'credits a calendar day, UTC')
    .option('--per-month <credits>', 'credits a calendar month, UTC')
    .option('--models <ids>', 'models that it may call, with commas between; all lifts the limit')
}

function registerCreate(group: Command, shell: Shell): void {
  withLimits(group.command('create'))
    .argument('<account>', 'its id, or your name for it; made when it does not exist')
    .argument('<name>', 'of the agent; one that is there already is that agent, with these limits')
    .option('--key', 'also make a key for it, and show it, once')
    .description('add an agent to an account')
    .action(
      action(shell, async (context, account: string, name: string, options: CreateOptions) =>
        withLedger(context, async (ledger) => {
          const allowance = limitsOf(options)
          const { id } = await accountFor(ledger, account)
          const agent = await createAgent(ledger, { account: id, name, allowance })
          const key = options.key
            ? await createKey(ledger, { scope: 'agent', account: id, agent: agent.id, name })
            : null
          const next = key
            ? `${key.key}\nThis is the only time the key is shown. Revoke it with: bursar keys revoke ${key.id}`
            : `Give it a key with: bursar keys create --account ${shellWord(account)} --agent ${shellWord(name)}`
          context.answer(
            { ...wireAgent(agent), ...(key ? { key: key.key, key_id: key.id } : {}) },
            `${agentTable([agent])}\n${next}`,
          )
        }),
      ),
    )
}

function registerList(group: Command, shell: Shell): void {
  group
    .command('list')
    .argument('[account]', 'its id, or your name for it; all of them by default')
    .option('--limit <n>', 'how many, 100 by default')
    .option('--after <id>', 'those behind this one')
    .description('agents, with what their allowances leave')
    .action(
      action(shell, async (context, account: string | undefined, options: ListOptions) =>
        withLedger(context, async (ledger) => {
          const whose = account === undefined ? {} : { account: (await accountNamed(ledger, account)).id }
          const after = options.after === undefined ? {} : { after: options.after }
          const { page, next } = await pageOf(pageSize(options.limit), (limit) =>
            listAgents(ledger, { ...whose, ...after, limit }),
          )
          const more = next === null ? '' : `\nMore: bursar agents list --after ${next}`
          context.answer(
            { agents: page.map(wireAgent), next_cursor: next },
            page.length === 0
              ? 'No agents. Add one: bursar agents create ACCOUNT NAME --per-day 5'
              : `${agentTable(page)}${more}`,
          )
        }),
      ),
    )
}

function registerAllow(group: Command, shell: Shell): void {
  withLimits(group.command('allow'))
    .argument('<agent>', 'its id, or account/agent')
    .description("change an agent's allowance; what is not named stays as it is")
    .action(
      action(shell, async (context, name: string, options: LimitOptions) =>
        withLedger(context, async (ledger) => {
          const allowance = limitsOf(options)
          if (Object.keys(allowance).length === 0) {
            throw invalid('An allowance needs --per-call, --per-day, --per-month or --models.')
          }
          const { id } = await agentNamed(ledger, name)
          const agent = await updateAgent(ledger, { agent: id, allowance })
          context.answer(wireAgent(agent), agentTable([agent]))
        }),
      ),
    )
}

function limitsOf({ perCall, perDay, perMonth, models }: LimitOptions): AllowanceChange {
  return {
    ...(perCall === undefined ? {} : { perCall: limitOf(perCall, '--per-call') }),
    ...(perDay === undefined ? {} : { perDay: limitOf(perDay, '--per-day') }),
    ...(perMonth === undefined ? {} : { perMonth: limitOf(perMonth, '--per-month') }),
    ...(models === undefined ? {} : { models: idsIn(models) }),
  }
}

function limitOf(text: string, what: string): MicroCredits | null {
  return text === 'none' ? null : parseCredits(text, what)
}

/** Null lifts the limit. @throws {BursarError} invalid_request: nothing is named, as by an empty variable */
function idsIn(text: string): string[] | null {
  if (text === 'all') return null
  const ids = text
    .split(',')
    .map((id) => id.trim())
    .filter((id) => id !== '')
  // For credits that word lifts the limit; here it would forbid every model.
  if (text === 'none' || ids.length === 0) {
    throw invalid('--models takes ids of models with commas between, or all.', {
      remedy: 'all lifts the limit; bursar freeze stops an agent.',
    })
  }
  return ids
}

export function agentTable(agents: readonly Agent[]): string {
  return table(
    ['agent', 'name', 'a call', 'a day (left)', 'a month (left)', 'models', ''],
    agents.map(({ id, name, allowance, frozen }) => {
      const left = leftOf(allowance)
      return [
        id,
        name,
        credits(allowance.perCall),
        withLeft(allowance.perDay, left.perDay),
        withLeft(allowance.perMonth, left.perMonth),
        modelsText(allowance.models),
        frozen ? 'frozen' : '',
      ]
    }),
  )
}

/** Over HTTP an agent may also be given no model at all. */
function modelsText(models: readonly string[] | null): string {
  if (models === null) return 'all'
  return models.length === 0 ? 'none' : models.join(', ')
}

function withLeft(limit: MicroCredits | null, left: MicroCredits | null): string {
  return limit === null ? '-' : `${credits(limit)} (${credits(left)})`
}

function credits(amount: MicroCredits | null): string {
  return amount === null ? '-' : formatDecimal(amount, 6)
}
