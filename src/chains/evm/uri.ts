/** Payment URIs of EVM chains: EIP-681. */
import type { Asset, Atomic } from '../../money.ts'

/**
 * `ethereum:<address>@<chain id>?value=<wei>` for the coin, `ethereum:<contract>@<chain id>/transfer?...` for a
 * token. The scheme is `ethereum` on every EVM chain; the chain id tells them apart.
 */
export function evmUri(chainId: number, asset: Asset, address: string, amount: Atomic): string {
  return asset.contract === undefined
    ? `ethereum:${address}@${chainId}?value=${amount}`
    : `ethereum:${asset.contract}@${chainId}/transfer?address=${address}&uint256=${amount}`
}
