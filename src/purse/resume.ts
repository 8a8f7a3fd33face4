/**
 * Takes up what a crash, a dead endpoint or a slow chain left open: at the start of a purse, and as long as it runs.
 */
import { type BursarError, toBursarError } from '../errors.ts'
import { confirm } from './confirm.ts'
import { mustBeOf, openPayments, type Payment, readPayment } from './payment.ts'
import type { Network, Purse } from './purse.ts'
import { advance } from './send.ts'
import { endIfWithdrawn } from './withdraw.ts'

/**
 * Moves every open payment on as far as it goes now, in the order of their nonces. What a chain does not answer
 * stays as it is and is taken up the next time.
 *
 * @returns how many are still open, and the first trouble on each network.
 */
export async function resume(purse: Purse): Promise<{ open: number; troubles: BursarError[] }> {
  const results = await Promise.all(purse.networks.map((network) => resumeNetwork(purse, network)))
  return {
    open: results.reduce((sum, { open }) => sum + open, 0),
    troubles: results.flatMap(({ trouble }) => (trouble ? [trouble] : [])),
  }
}

/**
 * Moves one payment on; what has ended stays as it is. To be called in the network's turn.
 *
 * @throws {BursarError} chain_unavailable, database_unavailable
 */
export async function resumeOne(purse: Purse, network: Network, payment: Payment): Promise<Payment> {
  mustBeOf(network, payment)
  if (payment.state === 'reserved' || payment.state === 'signed') {
    return advance(purse, network, await endIfWithdrawn(purse, network, payment))
  }
  if (payment.state === 'unknown' || payment.state === 'broadcast') return confirm(purse, network, payment)
  return payment
}

/** Runs until the signal ends it: open payments are looked at in the rhythm of their chain. */
export async function keepResuming(purse: Purse, signal: AbortSignal): Promise<void> {
  await Promise.all(
    purse.networks.map(async (network) => {
      let wait = network.pollMs
      while (!signal.aborted) {
        const { trouble } = await resumeNetwork(purse, network)
        // A dead endpoint is asked ever more rarely, up to a minute.
        wait = trouble ? Math.min(2 * wait, 60_000) : network.pollMs
        await purse.runtime.sleep(wait, signal).catch(() => undefined)
      }
    }),
  )
}

async function resumeNetwork(
  purse: Purse,
  network: Network,
): Promise<{ open: number; trouble: BursarError | null }> {
  let left = 0
  try {
    const open = await openPayments(purse.db, network.caip2)
    left = open.length
    for (const { id } of open) {
      // Each in a turn of its own, so that a payment that is asked for now does not wait for all of them.
      const after = await purse.turns.take(network.caip2, async () =>
        resumeOne(purse, network, await readPayment(purse.db, id)),
      )
      if (after.state === 'confirmed' || after.state === 'failed') left -= 1
    }
    return { open: left, trouble: null }
  } catch (error) {
    const trouble = toBursarError(error)
    purse.runtime.log.warn(
      { network: network.id, code: trouble.code },
      'open payments could not be looked at',
    )
    return { open: left, trouble }
  }
}
