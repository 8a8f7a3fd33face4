/**
 * The ledger's words as types. A hold reserves the worst case of a call; its outcome captures the true cost and
 * releases the rest. See README.md in this folder for the tables beneath.
 */
import type { Db } from '../db/db.ts'
import type { Group } from '../db/group.ts'
import type { MicroCredits } from '../money.ts'
import type { Runtime } from '../runtime.ts'

/** What a call leaves behind for `list_usage`, written with the hold and completed with its outcome. */
export interface ReceiptDraft {
  readonly route: string
  readonly model: string
  readonly upstream: string
  /** JSON: the price that applies, as it stood when the call began. */
  readonly price: string
}

/** A caller's idempotency key, scoped to account and route, bound to the body's hash. */
export interface IdempotencyClaim {
  readonly route: string
  readonly key: string
  /** Hash of the request's canonical body, hex. */
  readonly bodyHash: string
}

export interface HoldRequest {
  readonly account: string
  readonly agent?: string
  /** Worst-case cost, more than zero. */
  readonly amount: MicroCredits
  /** After this the hold lapses: `lapseCharge` is captured, the rest released. */
  readonly lifetimeMs: number
  /** Default 0: a lapsed hold is released whole. Its idempotency key stays taken either way. */
  readonly lapseCharge?: MicroCredits
  readonly receipt?: ReceiptDraft
  readonly idempotency?: IdempotencyClaim
}

export interface Outcome {
  /** JSON: tokens and where the count came from. */
  readonly usage?: string
  readonly upstreamRequestId?: string
  readonly note?: string
  /** Where the receipt was drafted for another upstream: the one that ended the call, and its price. */
  readonly upstream?: string
  readonly price?: string
  /**
   * JSON: stored under the idempotency key and given again to whoever repeats it. A release without one frees the key:
   * nothing was charged and there is no answer, so the same request may be made again.
   */
  readonly response?: string
}

export interface Settled {
  readonly charged: MicroCredits
  readonly available: MicroCredits
}

export interface Hold {
  /** Time-ordered id; also the receipt's id. */
  readonly ref: string
  readonly amount: MicroCredits
  readonly expiresAt: number
  /**
   * Charges `cost` and gives back the rest. A second outcome for the same hold changes nothing and returns the first.
   * @param cost 0 to the hold's amount; more is charged as the amount.
   */
  capture(cost: MicroCredits, outcome?: Outcome): Promise<Settled>
  release(outcome?: Outcome): Promise<Settled>
}

/** `held`: yours to capture or release. `replayed`: this key was answered before. `running`: its first request has no outcome yet. */
export type HoldResult =
  | { readonly kind: 'held'; readonly hold: Hold }
  | { readonly kind: 'replayed'; readonly ref: string; readonly response: string }
  | { readonly kind: 'running'; readonly ref: string }

/** What a caller wants changed; many of these become one commit (group.ts). */
export type Change = OpenHold | CloseHold

export interface OpenHold {
  readonly kind: 'open'
  readonly ref: string
  readonly expiresAt: number
  readonly request: HoldRequest
}

export interface CloseHold {
  readonly kind: 'capture' | 'release'
  readonly ref: string
  readonly account: string
  /** At most the hold's amount is charged; 0 for a release. */
  readonly cost: MicroCredits
  readonly outcome: Outcome
  /** Nobody knows what became of it, so its idempotency key stays taken, charged or not. */
  readonly lapsed?: true
}

/** The first outcome of a hold, or what became of a request for one. */
export type Changed = { readonly kind: 'closed'; readonly settled: Settled } | Opened

export type Opened =
  | { readonly kind: 'held' }
  | { readonly kind: 'replayed'; readonly ref: string; readonly response: string }
  | { readonly kind: 'running'; readonly ref: string }

export interface Ledger {
  readonly db: Db
  readonly runtime: Runtime
  readonly changes: Group<Change, Changed>
  /** Waits for the changes under way, then closes the database. */
  close(): Promise<void>
}

export interface Balance {
  /** What can be held now: credits that have lapsed are not in it, booked or not. Below zero after a reversal. */
  readonly available: MicroCredits
  readonly held: MicroCredits
  readonly frozen: boolean
  /** The credits that expire next, and when (Unix milliseconds); null when none ever do. */
  readonly nextExpiry: { readonly credits: MicroCredits; readonly at: number } | null
  /** Charged a day, over the last seven days, or since the first charge if that is less, but at least one day. */
  readonly burnPerDay: MicroCredits
}
