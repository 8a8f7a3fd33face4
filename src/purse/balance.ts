/** What an address holds on a chain, as its node tells it. */
import { type Address, encodeFunctionData, erc20Abi, size } from 'viem'
import { BursarError } from '../errors.ts'
import type { Asset } from '../money.ts'
import { ask } from './ask.ts'
import type { Network } from './purse.ts'

/**
 * @param block the height to read it at; by default the latest that the node has.
 * @returns atomic units.
 * @throws {BursarError} chain_unavailable (also: the node does not have that block); invalid_config: the token is not on
 *   this chain
 */
export async function readBalance(
  network: Network,
  address: Address,
  asset: Asset,
  block?: bigint,
): Promise<bigint> {
  const { contract } = asset
  const at = block === undefined ? {} : { blockNumber: block }
  if (contract === undefined) return ask(network, (client) => client.getBalance({ address, ...at }))
  const data = encodeFunctionData({ abi: erc20Abi, functionName: 'balanceOf', args: [address] })
  const answer = await ask(network, (client) => client.call({ to: contract as Address, data, ...at }))
  if (answer.data === undefined || size(answer.data) < 32) {
    throw new BursarError(
      'invalid_config',
      `The token ${contract} does not exist on ${network.id} (${network.caip2}).`,
      { remedy: `Correct chains.${network.id}.tokens in the purse's configuration.` },
    )
  }
  return BigInt(answer.data.slice(0, 66))
}
