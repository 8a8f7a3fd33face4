/** What an address holds on a chain, as its node tells it. */
import { type Address, encodeFunctionData, erc20Abi, size } from 'viem'
import { BursarError } from '../errors.ts'
import type { Asset } from '../money.ts'
import { ask } from './ask.ts'
import type { Network } from './purse.ts'

/**
 * @returns atomic units.
 * @throws {BursarError} chain_unavailable; invalid_config: the token is not on this chain
 */
export async function readBalance(network: Network, address: Address, asset: Asset): Promise<bigint> {
  const { contract } = asset
  if (contract === undefined) return ask(network, (client) => client.getBalance({ address }))
  const data = encodeFunctionData({ abi: erc20Abi, functionName: 'balanceOf', args: [address] })
  const answer = await ask(network, (client) => client.call({ to: contract as Address, data }))
  if (answer.data === undefined || size(answer.data) < 32) {
    throw new BursarError(
      'invalid_config',
      `The token ${contract} does not exist on ${network.id} (${network.caip2}).`,
      { remedy: `Correct chains.${network.id}.tokens in the purse's configuration.` },
    )
  }
  return BigInt(answer.data.slice(0, 66))
}
