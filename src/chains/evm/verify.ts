/** Asks the tokens of an EVM chain whether they are what they are taken for. */
import { invalidConfig } from '../../errors.ts'
import type { Asset } from '../../money.ts'
import { type Call, RpcError } from '../rpc.ts'

export interface VerifyTokens {
  readonly chain: string
  readonly assets: readonly Asset[]
  /** Asks one endpoint. */
  readonly call: Call
  readonly signal: AbortSignal | undefined
}

/** The selector of `decimals()` (ERC-20). */
const DECIMALS = '0x313ce567'

/** @throws {BursarError} invalid_config: no such token, or with other decimals; whatever the endpoint fails with */
export async function verifyTokens({ chain, assets, call, signal }: VerifyTokens): Promise<void> {
  for (const { symbol, decimals, contract } of assets) {
    if (contract === undefined) continue
    const field = `chains.${chain}.tokens.${symbol}`
    const code = await call('eth_getCode', [contract, 'latest'], signal)
    if (code === '0x') {
      throw invalidConfig(
        `${field}: there is no contract at ${contract} on this chain.`,
        'Correct the contract.',
      )
    }
    const found = await decimalsOf(contract, call, signal)
    if (found === decimals) continue
    throw invalidConfig(
      found === null
        ? `${field}: the contract at ${contract} does not say its decimals, so it is not an ERC-20 token.`
        : `${field}: the contract at ${contract} has ${found} decimals, ${decimals} were expected.`,
      'Take contract and decimals from the issuer of the token.',
    )
  }
}

/** null: the contract was reached and has no such function. */
async function decimalsOf(to: string, call: Call, signal: AbortSignal | undefined): Promise<number | null> {
  let answer: unknown
  try {
    answer = await call('eth_call', [{ to, data: DECIMALS }, 'latest'], signal)
  } catch (error) {
    // The node ran it, and it reverted.
    if (error instanceof RpcError && (error.code === 3 || /revert/i.test(error.message))) return null
    throw error
  }
  if (answer === '0x') return null
  // An answer without sense is the endpoint's failure, not the token's.
  if (typeof answer !== 'string' || !/^0x[0-9a-f]{64}$/i.test(answer)) throw new TypeError('not a number')
  return Number(answer)
}
