/** A data feed on a local chain, at the address where the real one stands. */
import { encodeFunctionData, type Hex, parseAbi } from 'viem'
import type { Anvil } from '../support/anvil.ts'
import { contractOf } from '../support/solidity.ts'

const SOURCE = new URL('aggregator.sol', import.meta.url)

const abi = parseAbi([
  'function describe(string description, uint8 decimals)',
  'function report(uint80 round, int256 answer, uint256 updatedAt, uint80 answeredIn)',
])

export interface Round {
  readonly answer: bigint
  /** Unix seconds. */
  readonly updatedAt: number
  readonly round?: bigint
  readonly answeredIn?: bigint
}

export interface TestFeed {
  describe(description: string, decimals?: number): Promise<void>
  report(round: Round): Promise<void>
}

export async function placeFeed(anvil: Anvil, address: string): Promise<TestFeed> {
  await anvil.rpc('anvil_setCode', [address, contractOf(SOURCE, 'TestFeed').runtime])
  const send = async (data: Hex) => {
    await anvil.mined(await anvil.send({ to: address, data }))
  }
  return {
    describe: (description, decimals = 8) =>
      send(encodeFunctionData({ abi, functionName: 'describe', args: [description, decimals] })),
    report: ({ answer, updatedAt, round = 7n, answeredIn = round }) =>
      send(
        encodeFunctionData({
          abi,
          functionName: 'report',
          args: [round, answer, BigInt(updatedAt), answeredIn],
        }),
      ),
  }
}
