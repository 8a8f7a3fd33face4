/** Why the ledger refuses, in words for whoever reads it. */
import { BursarError } from '../errors.ts'
import { formatCredits } from '../money.ts'

export function unknownAccount(account: string): BursarError {
  return new BursarError('not_found', `There is no account ${JSON.stringify(account).slice(0, 80)}.`, {
    remedy: 'Check the id of the account.',
  })
}

export function unknownAgent(): BursarError {
  return new BursarError('not_found', 'There is no such agent in this account.', {
    remedy: 'Use a key of an agent of this account.',
  })
}

export function frozen(what: 'account' | 'agent'): BursarError {
  return new BursarError('frozen', `This ${what} is frozen: it cannot spend.`, {
    remedy:
      what === 'agent'
        ? 'Ask whoever manages the account, or the seller, to lift the freeze.'
        : 'Ask the seller to lift the freeze.',
  })
}

/** `held`: running calls hold what is missing, and may give it back. `empty`: it is not there. */
export function insufficient(available: bigint, held: bigint, required: bigint): BursarError {
  const reason = available + held >= required ? 'held' : 'empty'
  return new BursarError(
    'insufficient_credits',
    `This needs ${formatCredits(required)} credits; ${formatCredits(available)} are available.`,
    {
      remedy:
        reason === 'held'
          ? 'Wait until running calls end, or top up: create_invoice with a pack or rail of list_offers, and pay it.'
          : 'Top up: create_invoice with a pack and rail of list_offers, pay it, and call again.',
      details: {
        available: formatCredits(available),
        held: formatCredits(held),
        required: formatCredits(required),
        reason,
      },
    },
  )
}
