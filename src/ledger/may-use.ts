/**
 * Whether somebody may use what costs nothing: no hold is taken there that would check it. An account without a credit
 * may not, or whoever signs up could use the seller's upstream.
 */
import { getAgent } from './agents.ts'
import { allowanceRefusal } from './allowance.ts'
import { getBalance } from './balance.ts'
import { frozen, insufficient } from './errors.ts'
import type { Ledger } from './ledger.ts'

/** @throws {BursarError} frozen, insufficient_credits, allowance_exceeded (the agent may not use this model), not_found */
export async function checkMayUse(
  ledger: Ledger,
  { account, agent }: { readonly account: string; readonly agent?: string },
  model: string,
): Promise<void> {
  const { available, held, frozen: isFrozen } = await getBalance(ledger, account)
  if (isFrozen) throw frozen('account')
  if (available + held <= 0n) throw insufficient(available, held, 1n)
  if (agent === undefined) return
  const known = await getAgent(ledger, { agent, account })
  if (known.frozen) throw frozen('agent')
  const refused = allowanceRefusal(known.allowance, { required: 0n, model, at: ledger.runtime.now() })
  if (refused) throw refused
}
