/** A USDC-like token for local chains, and what else token.sol has. */
import { encodeDeployData, encodeFunctionData, getAddress, parseAbi } from 'viem'
import type { Anvil } from './anvil.ts'
import { type Artefact, contractOf } from './solidity.ts'

export const tokenAbi = parseAbi([
  'function mint(address to, uint256 value)',
  'function transfer(address to, uint256 value) returns (bool)',
  'function approve(address spender, uint256 value) returns (bool)',
  'function transferFrom(address from, address to, uint256 value) returns (bool)',
  'function balanceOf(address owner) view returns (uint256)',
  'function decimals() view returns (uint8)',
  'function authorizationState(address authorizer, bytes32 nonce) view returns (bool)',
  'function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)',
  'event Transfer(address indexed from, address indexed to, uint256 value)',
])

const splitterAbi = parseAbi([
  'function payTokens(address token, address[] to, uint256[] values)',
  'function fail() payable',
])

export interface TestToken {
  readonly address: `0x${string}`
  readonly decimals: 6
  /** Amounts are in millionths of a dollar. Each returns the transaction hash. */
  mint(to: string, amount: bigint): Promise<`0x${string}`>
  transfer(from: string, to: string, amount: bigint): Promise<`0x${string}`>
  balance(owner: string): Promise<bigint>
}

export interface Splitter {
  readonly address: `0x${string}`
  /** One transaction, one Transfer event per payee, paid from the splitter's own tokens. */
  payTokens(token: string, payees: readonly { address: string; amount: bigint }[]): Promise<`0x${string}`>
  /** A transaction with value that is mined and reverts. */
  fail(value: bigint): Promise<`0x${string}`>
}

/** Deploys the token, or puts it at `at` (as USDC's real address). Needs automatic mining. */
export async function deployToken(anvil: Anvil, at?: `0x${string}`): Promise<TestToken> {
  const artefact = compiled('TestDollar')
  let address = at
  if (address) await anvil.rpc('anvil_setCode', [address, artefact.runtime])
  else address = await deploy(anvil, artefact)
  const call = (from: string | undefined, data: `0x${string}`) =>
    anvil.send({ ...(from === undefined ? {} : { from }), to: address, data })
  return {
    address,
    decimals: 6,
    mint: (to, amount) =>
      call(
        undefined,
        encodeFunctionData({ abi: tokenAbi, functionName: 'mint', args: [getAddress(to), amount] }),
      ),
    transfer: (from, to, amount) =>
      call(
        from,
        encodeFunctionData({ abi: tokenAbi, functionName: 'transfer', args: [getAddress(to), amount] }),
      ),
    async balance(owner) {
      const data = encodeFunctionData({ abi: tokenAbi, functionName: 'balanceOf', args: [getAddress(owner)] })
      return BigInt(await anvil.rpc<string>('eth_call', [{ to: address, data }, 'latest']))
    },
  }
}

export async function deploySplitter(anvil: Anvil): Promise<Splitter> {
  const address = await deploy(anvil, compiled('Splitter'))
  return {
    address,
    payTokens: (token, payees) =>
      anvil.send({
        to: address,
        data: encodeFunctionData({
          abi: splitterAbi,
          functionName: 'payTokens',
          args: [getAddress(token), payees.map((p) => getAddress(p.address)), payees.map((p) => p.amount)],
        }),
      }),
    fail: (value) =>
      anvil.send({
        to: address,
        value,
        data: encodeFunctionData({ abi: splitterAbi, functionName: 'fail' }),
        gas: 100_000n,
      }),
  }
}

export type Passing =
  | 'pass'
  | 'passSigned'
  | 'passTwice'
  | 'passDeep'
  | 'passByDelegate'
  | 'passByDestruction'
  | 'failInside'
  | 'pretend'
  | 'failWhole'

export interface Passer {
  readonly address: `0x${string}`
  /** Sends coins to the contract, which passes them on. */
  pass(how: Passing, to: string, value: bigint): Promise<`0x${string}`>
}

/** Needs automatic mining. */
export async function deployPasser(anvil: Anvil): Promise<Passer> {
  const { abi, ...rest } = compiled('Passer')
  const address = await deploy(anvil, { abi, ...rest })
  return {
    address,
    pass: (how, to, value) =>
      anvil.send({
        to: address,
        value,
        data: encodeFunctionData({ abi, functionName: how, args: [getAddress(to)] }),
        gas: 1_000_000n,
      }),
  }
}

/** Deploys a contract without constructor arguments. Needs automatic mining. */
export async function deploy(anvil: Anvil, { abi, bytecode }: Artefact): Promise<`0x${string}`> {
  const hash = await anvil.send({ data: encodeDeployData({ abi, bytecode }) })
  const { contractAddress } = await anvil.mined(hash)
  if (!contractAddress) throw new Error('The transaction made no contract.')
  return getAddress(contractAddress)
}

const SOURCE = new URL('token.sol', import.meta.url)

export function compiled(contract: 'TestDollar' | 'Splitter' | 'Collectible' | 'Passer'): Artefact {
  return contractOf(SOURCE, contract)
}
