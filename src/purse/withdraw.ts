/**
 * Whether a payment that was reserved before a restart is still what its human allows. One that may have been sent is
 * past recall; one that certainly was not ends here, when its payee was unpinned, its asset removed or a limit lowered.
 */
import { stillFits } from './budget.ts'
import { endUnsent } from './forgotten.ts'
import type { Payment } from './payment.ts'
import type { Network, Purse } from './purse.ts'

/** To be called in the network's turn, for a payment that is `reserved` or `signed`. */
export async function endIfWithdrawn(purse: Purse, network: Network, payment: Payment): Promise<Payment> {
  if (isPinned(purse, payment) && isPaidWith(network, payment)) {
    if (await stillFits(purse.db, purse.budget, payment)) return payment
  }
  return endUnsent(purse, network, payment, 'withdrawn')
}

function isPinned({ payees }: Purse, { payee }: Payment): boolean {
  return payees.some(({ key }) => key === payee)
}

function isPaidWith({ assets }: Network, { symbol, contract, decimals }: Payment): boolean {
  return assets.some(
    (asset) =>
      asset.symbol === symbol && (asset.contract ?? null) === contract && BigInt(asset.decimals) === decimals,
  )
}
