/** What balances say about internal transfers, at an endpoint that offers no traces. */
import { type Hex, numberToHex } from 'viem'
import type { Block, Transfer } from '../chain.ts'
import { RpcError } from '../rpc.ts'
import type { Ask, RawReceipt } from './raw.ts'

/**
 * For an endpoint without traces: the transaction succeeded in that block, and the recipient got at least as much
 * in it. A node that no longer has the state of that time says what the recipient has now, or that it has spent.
 */
export async function internalEvidence({ txid, to, amount, block }: Transfer, ask: Ask): Promise<boolean> {
  const raw = await ask<RawReceipt | null>('eth_getTransactionReceipt', txid)
  if (!block || raw?.blockHash !== block.hash || BigInt(raw.status) !== 1n) return false
  const balance = async (at: string) => BigInt(await ask<Hex>('eth_getBalance', to, at))
  try {
    const before = await balance(numberToHex(block.height - 1))
    return (await balance(numberToHex(block.height))) - before >= amount
  } catch (error) {
    if (!(error instanceof RpcError)) throw error
    if ((await balance('latest')) >= amount) return true
    return BigInt(await ask<Hex>('eth_getTransactionCount', to, 'latest')) > 0n
  }
}

/** What an address got in a block; 0 for one that also spent in it, since then nobody can tell. */
export async function gainedIn({ height }: Block, address: string, ask: Ask): Promise<bigint> {
  const at = async (method: string, block: number) =>
    BigInt(await ask<Hex>(method, address, numberToHex(block)))
  const [before, after, nonceBefore, nonceAfter] = await Promise.all([
    at('eth_getBalance', height - 1),
    at('eth_getBalance', height),
    at('eth_getTransactionCount', height - 1),
    at('eth_getTransactionCount', height),
  ])
  return nonceBefore === nonceAfter ? after - before : 0n
}
