/** Whether an address was used before it is issued: by another deployment, or before the key came here. */
import type { Chain } from '../chains/chain.ts'
import { BursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import type { InvoiceContext } from './context.ts'

/** What other chains know about an address is worth this long a wait, and no outage. */
const OTHERS_MS = 2_000

/**
 * Asks the chain that the invoice is on, and every other one that shares its key. The invoice's own chain must
 * answer: it could not be watched for the payment either. Of the others, only a yes counts.
 *
 * @throws {BursarError} chain_unavailable, from the check
 */
export function historyCheck(
  chains: readonly Chain[],
  runtime: Runtime,
): NonNullable<InvoiceContext['hasHistory']> {
  return async (chain, address) => {
    const others = chains.filter(
      ({ id, keyFingerprint }) => id !== chain.id && keyFingerprint === chain.keyFingerprint,
    )
    const elsewhere = Promise.all(others.map((other) => knownTo(other, address, runtime)))
    if (await chain.hasHistory?.(address)) return true
    return (await elsewhere).includes(true)
  }
}

async function knownTo(chain: Chain, address: string, runtime: Runtime): Promise<boolean> {
  const deadline = new AbortController()
  const cancel = runtime.after(OTHERS_MS, () => deadline.abort(new Error('no answer in time')))
  try {
    return (await chain.hasHistory?.(address, deadline.signal)) ?? false
  } catch (error) {
    if (error instanceof BursarError || deadline.signal.aborted) return false
    throw error
  } finally {
    cancel()
  }
}
