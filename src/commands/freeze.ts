/** `bursar freeze` and `unfreeze`: stop an account or an agent from spending, in every process, at once. */
import { BursarError } from '../errors.ts'
import { findAccount, freezeAccount } from '../ledger/accounts.ts'
import { updateAgent } from '../ledger/agents.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { action, type Context, type Registers } from './command.ts'
import { agentNamed, withLedger } from './ledger.ts'

const WHO = "an account's id or name, an agent's id, or account/agent"

export const freeze: Registers = (program, shell) => {
  program
    .command('freeze')
    .argument('<who>', WHO)
    .description('stop an account or an agent from spending, at once')
    .action(
      action(shell, (context, who: string) =>
        withLedger(context, (ledger) => set(ledger, who, context, true)),
      ),
    )
}

export const unfreeze: Registers = (program, shell) => {
  program
    .command('unfreeze')
    .argument('<who>', WHO)
    .description('let a frozen account or agent spend again')
    .action(
      action(shell, (context, who: string) =>
        withLedger(context, (ledger) => set(ledger, who, context, false)),
      ),
    )
}

async function set(
  ledger: Ledger,
  who: string,
  { answer }: Pick<Context, 'answer'>,
  frozen: boolean,
): Promise<void> {
  const what = frozen ? 'is frozen: it cannot spend. What it holds still settles.' : 'can spend again.'
  const account = await findAccount(ledger, who)
  if (account) {
    await freezeAccount(ledger, account.id, frozen)
    answer({ account: account.id, frozen }, `Account ${account.externalId ?? account.id} ${what}`)
    return
  }
  if (!/^agt_|\//.test(who)) throw nobodyNamed(who)
  const { id, account: owner, name } = await agentNamed(ledger, who)
  await updateAgent(ledger, { agent: id, frozen })
  answer({ account: owner, agent: id, frozen }, `Agent ${name} ${what}`)
}

function nobodyNamed(who: string): BursarError {
  return new BursarError('not_found', `There is no account ${JSON.stringify(who).slice(0, 80)}.`, {
    remedy: `Give ${WHO}: bursar accounts list and bursar agents list show them.`,
  })
}
