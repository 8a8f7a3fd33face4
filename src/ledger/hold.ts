/** Sets credits aside for the worst case of a call, before anything is spent on it. */
import { invalid } from '../errors.ts'
import { MAX_MICRO, type MicroCredits } from '../money.ts'
import type { Hold, HoldRequest, HoldResult, Ledger, Outcome, Settled } from './ledger.ts'

/**
 * Durable when it returns: a hold survives any crash, and lapses by itself when its lifetime ends without an outcome.
 * A refused one leaves nothing behind.
 *
 * @throws {BursarError} insufficient_credits (with available, held, required and reason), frozen,
 *   idempotency_conflict (the key was used for another request, or its answer is not kept), not_found (account or
 *   agent), invalid_request, database_unavailable
 */
export async function hold(ledger: Ledger, request: HoldRequest): Promise<HoldResult> {
  checkRequest(request)
  const ref = ledger.runtime.id('hold')
  const expiresAt = ledger.runtime.now() + request.lifetimeMs
  const opened = await ledger.changes.add({ kind: 'open', ref, expiresAt, request })
  if (opened.kind === 'closed') throw new Error('A request for a hold was answered with an outcome.')
  if (opened.kind !== 'held') return opened
  return {
    kind: 'held',
    hold: holdOf(ledger, { ref, account: request.account, amount: request.amount, expiresAt }),
  }
}

interface OpenedHold {
  readonly ref: string
  readonly account: string
  readonly amount: MicroCredits
  readonly expiresAt: number
}

function holdOf(ledger: Ledger, { ref, account, amount, expiresAt }: OpenedHold): Hold {
  async function close(kind: 'capture' | 'release', cost: MicroCredits, outcome: Outcome): Promise<Settled> {
    const changed = await ledger.changes.add({ kind, ref, account, cost, outcome })
    if (changed.kind !== 'closed') throw new Error('An outcome was answered as a request for a hold.')
    return changed.settled
  }
  return {
    ref,
    amount,
    expiresAt,
    async capture(cost, outcome = {}) {
      if (cost < 0n) throw invalid('A charge must not be less than zero.')
      if (cost > amount) {
        ledger.runtime.log.warn(
          { ref, cost: String(cost), amount: String(amount) },
          'a call cost more than its hold; the hold is charged',
        )
      }
      return await close('capture', cost < amount ? cost : amount, outcome)
    },
    release: (outcome = {}) => close('release', 0n, outcome),
  }
}

function checkRequest(request: HoldRequest): void {
  const { account, agent = '', amount, lapseCharge = 0n, lifetimeMs, idempotency, receipt } = request
  if (amount <= 0n || amount > MAX_MICRO) {
    throw invalid('A hold must be more than zero and at most a billion credits.')
  }
  if (lapseCharge < 0n || lapseCharge > amount) {
    throw invalid('What a lapsed hold charges must be between zero and its amount.')
  }
  if (!Number.isSafeInteger(lifetimeMs) || lifetimeMs <= 0) {
    throw invalid('The lifetime of a hold must be a whole number of milliseconds, more than zero.')
  }
  if (idempotency && (idempotency.key.length === 0 || idempotency.key.length > 255)) {
    throw invalid('An idempotency key must have 1 to 255 characters.')
  }
  // They go to the database as JSON. Of half a surrogate pair it makes bytes that are not UTF-8, and the driver ends the
  // whole process when it reads them.
  const texts = [account, agent, ...Object.values(idempotency ?? {}), ...Object.values(receipt ?? {})]
  if (!texts.every((text: string) => text.isWellFormed())) {
    throw invalid('A name or key holds half of a character: it is not Unicode text.')
  }
}
