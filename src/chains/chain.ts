/**
 * A chain, as the rest of Bursar sees it: it derives addresses from a public key, writes payment URIs, and
 * follows its blocks from a cursor. It keeps no state of its own; whoever calls it stores the cursor in the same
 * commit as what was found, so nothing is seen twice or skipped.
 */
import type { Asset, Atomic, MicroUsd } from '../money.ts'

export interface Block {
  readonly height: number
  readonly hash: string
  /** The block's own timestamp, Unix milliseconds. */
  readonly time: number
}

/** Where a chain has been read to. `recent` (oldest first, ending in this block) finds the common ancestor after a fork. */
export interface Cursor {
  readonly height: number
  readonly hash: string
  readonly recent: readonly (readonly [height: number, hash: string])[]
}

/** One observed on-chain transfer to a watched address. */
export interface Transfer {
  /**
   * The payment's identity, the same however it is seen and on whichever fork:
   * bitcoin `bitcoin:<txid>:<output>`; EVM token `<chain>:<tx>:log:<position in the receipt's own logs>`;
   * EVM native `<chain>:<tx>:trace:<trace address>` (`trace:` + empty for the top-level value; `0.2` for the third
   * call of the first one; `untraced:<recipient>` for a claimed one that no endpoint could trace).
   */
  readonly key: string
  readonly chain: string
  /** Ticker of an allowlisted asset of this chain. */
  readonly symbol: string
  /** In the form that `recipient()` returns. */
  readonly to: string
  readonly amount: Atomic
  readonly txid: string
  /** null: seen in the mempool, not mined. */
  readonly block: Block | null
  /** Confirmations before which nobody could spend it, whatever its value. */
  readonly maturity?: number
}

/** Addresses to look for. Membership is asked for each candidate; a chain never holds the set. */
export interface Watched {
  has(address: string): boolean
}

export const NOTHING_WATCHED: Watched = { has: () => false }

/** What one step along a chain found. Everything in it is on the chain whose tip is `tip`. */
export interface Step {
  readonly cursor: Cursor
  readonly tip: Block
  /** The highest block that the chain itself calls final, or null where it has no such notion. */
  readonly finalized: number | null
  /** Set after a fork: payments mined above this height are no longer on the chain unless `transfers` lists them again. */
  readonly forkedAt: number | null
  /** Transfers in the blocks between the old cursor (or the fork) and the new one. */
  readonly transfers: readonly Transfer[]
  /** Unmined transfers, where the chain has a public mempool. */
  readonly pending: readonly Transfer[]
  /**
   * `pending` is all that waits beside the blocks up to the cursor: what it does not list is gone. False while a mempool
   * is still being read, or has changed under the reading.
   */
  readonly pendingWhole: boolean
  /** The cursor has reached the tip. */
  readonly caughtUp: boolean
}

export interface Recipient {
  /** As shown to a payer. */
  readonly address: string
  /** Derivation path below the extended key, e.g. `0/7`: a seller finds the funds with it. */
  readonly path: string
}

/** What one endpoint of a chain can do, for whoever set it up. */
export interface EndpointReport {
  /** Host and port only. */
  readonly endpoint: string
  /** Its tip, or null where it does not answer. */
  readonly height: number | null
  /** The highest block that it calls final, or null. */
  readonly finalized: number | null
  /**
   * How payments by contracts are found: in the block traces that it offers, or only when they are claimed by their
   * transaction. null: the chain has no such payments, or does not accept its coin.
   */
  readonly internal: 'traced' | 'claimed' | null
}

export interface PaymentRequest {
  readonly address: string
  readonly symbol: string
  readonly amount: Atomic
}

export interface Chain {
  /** The first half of a rail id: `ethereum`, `polygon`, `bitcoin`. */
  readonly id: string
  readonly family: 'evm' | 'bitcoin'
  /** CAIP-2 id of the network: `eip155:1`, `bip122:000000000019d6689c085ae165831e93`. */
  readonly caip2: string
  /** For people: "Ethereum", "local chain 31337". */
  readonly network: string
  /** Real money: fixed rates and well-known test keys are refused here. */
  readonly main: boolean
  readonly assets: readonly Asset[]
  /** Reorganisations up to this many blocks are followed by themselves; deeper ones halt crediting. */
  readonly finalityDepth: number
  /** With more blocks than this that are not final, finality has stalled and only final blocks credit; null: never. */
  readonly stallBlocks: number | null
  /** How long to wait between two steps once the cursor has reached the tip, milliseconds. */
  readonly pollMs: number
  /** Names the extended key behind `recipient`: equal for two keys exactly when they give the same addresses. */
  readonly keyFingerprint: string
  /** Blocks from the payment's own to the tip, both counted, that credit a payment of this value. At least 1. Pure. */
  confirmationsNeeded(usd: MicroUsd): number
  /**
   * The recipient of invoice number `index`. Pure.
   * @throws {BursarError} invalid_request: not an integer from 0 to 2^31 - 1
   */
  recipient(index: number): Recipient
  uri(request: PaymentRequest): string
  /**
   * Asks every endpoint who it is: chain id or genesis, token contracts and their decimals.
   * @throws {BursarError} chain_unavailable (unreachable), invalid_config (another chain, another token)
   */
  verify(signal?: AbortSignal): Promise<void>
  /** A cursor at the current tip: where a new deployment starts. */
  start(signal?: AbortSignal): Promise<Cursor>
  /**
   * Reads on from a cursor, a bounded number of blocks at a time.
   * @throws {BursarError} chain_unavailable (nothing was skipped: ask again from the same cursor),
   *   conflict (a fork deeper than the cursor remembers: crediting must halt)
   */
  follow(cursor: Cursor, watched: Watched, signal?: AbortSignal): Promise<Step>
  /**
   * The keys of those transfers that a second endpoint shows too, in the block that they were seen in. Where there is
   * one endpoint, or one that answers, all that it shows.
   * @throws {BursarError} chain_unavailable
   */
  vouch(transfers: readonly Transfer[], signal?: AbortSignal): Promise<ReadonlySet<string>>
  /**
   * The block at a height of the best chain, null above its tip.
   * @throws {BursarError} chain_unavailable (also where the endpoints do not agree on it)
   */
  blockAt(height: number, signal?: AbortSignal): Promise<Block | null>
  /** @throws nothing but the signal's reason: what cannot be reached is part of the report */
  endpoints(signal?: AbortSignal): Promise<EndpointReport[]>
  /**
   * What a transaction paid to an address, for a payment that following does not find. Not on chains where it
   * finds everything.
   * @throws {BursarError} chain_unavailable
   */
  paidBy?(txid: string, address: string, signal?: AbortSignal): Promise<Transfer[]>
  /**
   * Whether an address was used before, as far as a node can tell. Not on chains where asking takes minutes.
   * @throws {BursarError} chain_unavailable
   */
  hasHistory?(address: string, signal?: AbortSignal): Promise<boolean>
}

/** Splits `polygon:USDC`. */
export function splitRail(rail: string): { chain: string; symbol: string } {
  const colon = rail.indexOf(':')
  return { chain: rail.slice(0, colon), symbol: rail.slice(colon + 1) }
}

/** A payment's key ends in a trace address that is not empty: a contract made it. */
export function isInternal(key: string): boolean {
  return /:trace:./.test(key)
}

/** The key of a payment that was claimed and that no endpoint could trace. */
export function isUntraced(key: string): boolean {
  return key.includes(':trace:untraced:')
}

/** The recipient stands in the trace address's place, since one transaction may pay several. */
export function untracedKey(chain: string, txid: string, to: string): string {
  return `${chain}:${txid}:trace:untraced:${to}`
}
