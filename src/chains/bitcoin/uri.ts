/** Payment URIs of Bitcoin: BIP-321. */
import { type Atomic, formatDecimal } from '../../money.ts'

/** `bitcoin:<address>?amount=<decimal BTC>`. */
export function bitcoinUri(address: string, sats: Atomic): string {
  return `bitcoin:${address}?amount=${formatDecimal(sats, 8)}`
}
