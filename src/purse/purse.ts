/** The purse as its parts see it: everything that paying needs, put together by main.ts. */
import type { Address } from 'viem'
import type { EvmNetwork } from '../chains/evm/network.ts'
import type { Db } from '../db/db.ts'
import type { Asset } from '../money.ts'
import type { Rates } from '../rates/rates.ts'
import type { Runtime } from '../runtime.ts'
import type { Budget } from './budget.ts'
import type { Turns } from './turns.ts'
import type { Wallet } from './wallet.ts'

export interface Payee {
  readonly name: string
  /** `ed25519:` + base64url */
  readonly key: string
}

/** An EVM chain on which the purse pays, from the purse's own configuration. */
export type Network = EvmNetwork

export interface Purse {
  readonly db: Db
  readonly runtime: Runtime
  readonly wallet: Wallet
  readonly networks: readonly Network[]
  /** The purse's own prices; never the payee's word. */
  readonly rates: Rates
  readonly budget: Budget
  readonly payees: readonly Payee[]
  /** One payment at a time for each network: nonces and balances are taken in turn. */
  readonly turns: Turns
}

/** What a verified invoice asks for, in the purse's own terms. */
export interface Order {
  readonly payee: Payee
  readonly invoice: string
  readonly rail: string
  readonly network: Network
  readonly asset: Asset
  /** EIP-55 checksummed. */
  readonly recipient: Address
  /** Atomic units, more than zero. */
  readonly amount: bigint
  /** Unix milliseconds. */
  readonly expiresAt: number
  readonly payload: string
  readonly signature: string
}
