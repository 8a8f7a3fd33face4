/** An EVM node: JSON-RPC with failover, and a viem client on top of it for whoever builds transactions. */
import { createPublicClient, custom, type PublicClient, RpcRequestError } from 'viem'
import { BursarError } from '../../errors.ts'
import type { Asset } from '../../money.ts'
import type { Runtime } from '../../runtime.ts'
import { openRpc, type Rpc, RpcError } from '../rpc.ts'
import { verifyTokens } from './verify.ts'

export interface EvmEndpoints {
  readonly chain: string
  readonly chainId: number
  readonly urls: readonly string[]
  /** What is accepted; the tokens among it are looked at on each endpoint. */
  readonly assets: readonly Asset[]
  readonly runtime: Runtime
}

/**
 * Endpoints that must answer `eth_chainId` with the configured id, and have the configured tokens with their
 * decimals, before anything else is asked of them: at the start, and again whenever one comes back after a failure.
 */
export function openEvmRpc({ chain, chainId, urls, assets, runtime }: EvmEndpoints): Rpc {
  return openRpc({
    chain,
    urls,
    runtime,
    async identify(call, signal) {
      const answer = await call('eth_chainId', [], signal)
      const found = typeof answer === 'string' ? Number(answer) : Number.NaN
      if (found !== chainId) throw wrongChain(chain, chainId, found)
      await verifyTokens({ chain, assets, call, signal })
    },
  })
}

function wrongChain(chain: string, chainId: number, found: number): BursarError {
  return new BursarError(
    'invalid_config',
    Number.isSafeInteger(found)
      ? `An endpoint in chains.${chain}.rpc serves chain ${found}; expected chain ${chainId}.`
      : `An endpoint in chains.${chain}.rpc does not answer as an EVM node does; expected chain ${chainId}.`,
    { remedy: `Give the URL of a node of chain ${chainId}, or correct chains.${chain}.chain_id.` },
  )
}

/**
 * A viem client over the same endpoints. It does not retry by itself. A node's refusal arrives as viem's own
 * error classes; an unreachable chain as a BursarError chain_unavailable in the chain of causes.
 */
export function viemClient(rpc: Rpc, chain: string, signal?: AbortSignal): PublicClient {
  const provider = {
    async request({ method, params }: { method: string; params?: readonly unknown[] }): Promise<unknown> {
      try {
        return await rpc.call(method, params ?? [], signal)
      } catch (error) {
        if (!(error instanceof RpcError)) throw error
        const { code, message, data } = error
        throw new RpcRequestError({
          body: { method },
          url: `chains.${chain}.rpc`,
          error: { code, message, data },
        })
      }
    },
  }
  return createPublicClient({ transport: custom(provider, { retryCount: 0 }), cacheTime: 0 })
}
