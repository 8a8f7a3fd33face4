/** A data feed on a local chain, at the address where the real one stands. */
import { readFileSync } from 'node:fs'
import solc from 'solc'
import { encodeFunctionData, type Hex, parseAbi } from 'viem'
import type { Anvil } from '../support/anvil.ts'

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
  await anvil.rpc('anvil_setCode', [address, compile()])
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

let compiled: Hex | undefined

function compile(): Hex {
  if (compiled !== undefined) return compiled
  const file = 'aggregator.sol'
  const input = {
    language: 'Solidity',
    sources: { [file]: { content: readFileSync(new URL(file, import.meta.url), 'utf8') } },
    settings: { outputSelection: { '*': { '*': ['evm.deployedBytecode.object'] } } },
  }
  const output = JSON.parse((solc.compile as (input: string) => string)(JSON.stringify(input))) as {
    contracts?: Record<string, Record<string, { evm: { deployedBytecode: { object: string } } }>>
  }
  const found = output.contracts?.[file]?.['TestFeed']
  if (!found) throw new Error(`${file} does not compile.`)
  compiled = `0x${found.evm.deployedBytecode.object}`
  return compiled
}
