/** The members of JSON-RPC answers that are read (Ethereum execution API). Malformed ones throw when converted. */
import type { Hex } from 'viem'

/** Asks one node. */
export type Ask = <T>(method: string, ...params: unknown[]) => Promise<T>

export interface RawBlock {
  readonly number: Hex
  readonly hash: string
  readonly parentHash: string
  readonly timestamp: Hex
  readonly transactions: readonly RawTransaction[]
}

interface RawTransaction {
  readonly hash: string
  readonly to: Hex | null
  readonly value: Hex
}

export interface RawLog {
  readonly address: string
  readonly topics: readonly Hex[]
  readonly data: Hex
  readonly blockHash: string
  readonly transactionHash: string
  readonly logIndex: Hex
}

export interface RawReceipt {
  readonly blockHash: string
  readonly status: Hex
  readonly logs: readonly RawLog[]
}
