/** Questions to a chain's endpoint, and what its failures mean. */
import { BaseError, ExecutionRevertedError, type PublicClient, RawContractError, RpcRequestError } from 'viem'
import { readingChain } from '../chains/rpc.ts'
import type { Network } from './purse.ts'

/**
 * Runs a read. What the endpoint says in an error is not passed on.
 *
 * @throws {BursarError} chain_unavailable; invalid_config: the endpoint is of another chain
 */
export function ask<T>(network: Network, question: (client: PublicClient) => Promise<T>): Promise<T> {
  return readingChain(network.id, undefined, () => question(network.client()))
}

/** The chain executed it and undid it: a clear answer. */
export function isRevert(error: unknown): boolean {
  return (
    error instanceof BaseError &&
    error.walk((e) => e instanceof ExecutionRevertedError || e instanceof RawContractError) !== null
  )
}

/** What a node said in refusing, or null when no node answered. To be compared, never passed on. */
export function nodeAnswer(error: unknown): string | null {
  if (!(error instanceof BaseError)) return null
  const answer = error.walk((e) => e instanceof RpcRequestError)
  return answer instanceof RpcRequestError ? answer.details : null
}
