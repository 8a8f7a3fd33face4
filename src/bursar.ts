/**
 * What an agent can ask of a till, as types: the one interface that tools see. The embedded engine implements it
 * in-process; a remote till implements it over HTTP. A value of this type is already bound to a caller.
 *
 * Shapes are the wire shapes: snake_case, money as decimal strings. Credits carry six decimals, USD at least two,
 * on-chain amounts are integers of the asset's atomic unit.
 */

export interface Bursar {
  listOffers(): Promise<Offers>
  createInvoice(input: CreateInvoice): Promise<InvoiceView>
  getInvoice(id: string): Promise<InvoiceView>
  /** Waits until the invoice is paid, or can no longer be, or the time is up; safe to repeat. */
  awaitPayment(input: AwaitPayment): Promise<AwaitedInvoice>
  getBalance(): Promise<BalanceView>
  callModel(input: CallModel): Promise<CallResult>
  listUsage(input: ListUsage): Promise<UsagePage>
}

export interface Offers {
  seller: string
  /** The till's Ed25519 public key, `ed25519:` + base64url; a purse pins it. */
  payee: string
  credit_usd: string
  packs: {
    id: string
    credits: string
    usd: string
    discount_percent: string
    expires_after_days: number | null
  }[]
  rails: { id: string; asset: string; decimals: number; network: string }[]
  models: ModelOffer[]
}

export interface ModelOffer {
  id: string
  /** Either a price per million tokens or a fixed price per call, all in credits. */
  credits_per_million_input?: string
  credits_per_million_output?: string
  /** Absent: what input costs. */
  credits_per_million_cached_input?: string
  /** Prices of a whole call whose input is above a size, ascending. */
  tiers?: {
    above_input_tokens: number
    credits_per_million_input: string
    credits_per_million_output: string
    credits_per_million_cached_input?: string
  }[]
  credits_per_call?: string
  max_output_tokens: number
}

export interface CreateInvoice {
  rail: string
  /** One of: a pack's id, or an amount of credits (a decimal string). */
  pack?: string
  credits?: string
  idempotency_key?: string
}

export type InvoiceState = 'open' | 'partial' | 'processing' | 'paid' | 'expired' | 'reversed'
export type PaymentState =
  | 'seen'
  | 'confirming'
  | 'credited'
  | 'replaced'
  | 'orphaned'
  | 'failed'
  | 'reversed'

export interface InvoiceView {
  id: string
  state: InvoiceState
  flags: ('late' | 'over' | 'under')[]
  rail: string
  asset: string
  decimals: number
  /** Atomic units, an integer as text. */
  amount: string
  /** The same amount for people, with its ticker: "0.003334 ETH". */
  amount_display: string
  usd: string
  credits: string
  address: string
  /** BIP-321 or EIP-681. */
  payment_uri: string
  rate: { usd: string; source: string; at: string }
  created_at: string
  /** Until when the rate holds. */
  expires_at: string
  payments: PaymentView[]
  /** What is still to be paid, atomic units: never so little that it would not be credited. */
  missing: string
  credits_granted: string
  /** What a purse checks before it pays (JSON text), and the till's signature over exactly these bytes. */
  signed: { payload: string; signature: string; payee: string }
}

export interface PaymentView {
  state: PaymentState
  rail: string
  amount: string
  txid: string
  block: number | null
  confirmations: number
  confirmations_needed: number
  credits: string
  /** In words: "3 of 12 confirmations", a halted chain, endpoints that disagree; null when it waits for nothing. */
  waiting_for: string | null
}

/** A payment that no endpoint shows by itself, as its payer knows it. */
export interface PaymentClaim {
  /** Hash of its transaction: `0x` and 64 hexadecimal digits. */
  txid: string
  /** Where it was paid, if not on the chain of the invoice. */
  chain?: string
}

export interface AwaitPayment {
  invoice: string
  timeout_ms: number
  signal?: AbortSignal
  onProgress?: (invoice: InvoiceView) => void
}

export interface AwaitedInvoice {
  invoice: InvoiceView
  timed_out: boolean
}

export interface BalanceView {
  account: string
  available: string
  held: string
  /** What the next lot to expire still holds, and when. */
  next_expiry: { credits: string; at: string } | null
  /** Credits per day over the last seven days, or since the first charge if that is less. */
  burn_rate_per_day: string
  /** Days until the available credits are used up at that rate; null when nothing is spent. */
  runway_days: string | null
  /** The account, or the agent that asks, cannot spend. */
  frozen: boolean
  /** What the agent that asks may spend; each null without a limit, all of it null where nothing limits it. */
  allowance: { per_call: string | null; day_left: string | null; month_left: string | null } | null
}

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant'
  content: string
}

export interface CallModel {
  model: string
  messages: ChatMessage[]
  max_tokens?: number
  temperature?: number
  /** The fewest output tokens that `max_tokens` may shrink to where credits are short; by default what the seller says. */
  bursar_fit?: number | 'off'
  idempotency_key?: string
}

export interface CallResult {
  text: string
  model: string
  finish_reason: string
  /** The output limit that was sent: what was asked for, or less. */
  max_tokens?: number
  usage: TokenUsage
  held: string
  charged: string
  available: string
  receipt: string
  replayed: boolean
}

export interface TokenUsage {
  /** With what a cache read and wrote. */
  input_tokens: number
  /** With reasoning. */
  output_tokens: number
  /** These are left out where they are zero or unknown. */
  cached_input_tokens?: number
  /** All of it, whatever its lifetime. */
  cache_write_tokens?: number
  cache_write_1h_tokens?: number
  reasoning_tokens?: number
  source: UsageSource
}

/** Where the charged usage came from: the upstream's final word, or our own capped estimate. */
export type UsageSource = 'upstream' | 'estimate' | 'fixed'

export interface ListUsage {
  limit?: number
  cursor?: string
  model?: string
  /** Calls that began at this time or later, and before the other: ISO 8601. */
  since?: string
  until?: string
}

export interface UsagePage {
  calls: UsageEntry[]
  next_cursor: string | null
}

export interface UsageEntry {
  receipt: string
  model: string
  state: 'pending' | 'charged' | 'released'
  usage: TokenUsage | null
  /** Credits, in words: what applied when the call began. Absent where a service set its own charge. */
  price?: string
  /** The price list and its version; null: the seller's own price. */
  price_version: string | null
  held: string
  charged: string
  started_at: string
  finished_at: string | null
  upstream: string
  upstream_request_id: string | null
  /** Why the charge is not simply that of the reported usage. */
  note: string | null
}

/**
 * Credits set aside by a service that meters itself, and what it then charged: `/v1/holds`, or a till in the same
 * process. Every one of these is safe to repeat.
 */
export interface Holds {
  /**
   * Durable when it resolves. A repeated `idempotency_key` returns the hold that the first request made.
   *
   * @throws {BursarError} insufficient_credits, allowance_exceeded, frozen, idempotency_conflict (the key belongs to
   *   another request, or to one that has lapsed), unauthorized, forbidden, not_found (no such account)
   */
  create(input: CreateHold, options?: HoldOptions): Promise<HoldView>
  /** @throws {BursarError} not_found */
  get(id: string, options?: HoldOptions): Promise<HoldView>
  /**
   * Charges `amount`, gives back the rest. The same amount again changes nothing and answers the same.
   *
   * @throws {BursarError} hold_closed (it ended otherwise), invalid_request (more than is held), not_found, forbidden
   */
  capture(id: string, input: CaptureHold, options?: HoldOptions): Promise<HoldView>
  /** Gives all of it back. @throws {BursarError} hold_closed (something was charged), not_found, forbidden */
  release(id: string, input?: ReleaseHold, options?: HoldOptions): Promise<HoldView>
}

export interface HoldOptions {
  /** Speaks with this API key: a buyer's, which a metered endpoint received with its request. */
  key?: string
  signal?: AbortSignal
}

export interface CreateHold {
  /** Credits, the worst case, more than zero. */
  amount: string
  /** What is sold, as receipts name it; `hold` by default. */
  name?: string
  /** After this it lapses and all of it is given back; 300 by default, a day at most. */
  lifetime_seconds?: number
  /** With a seller's key one of these, whose credits: the account's id, or the seller's own name for it. */
  account?: string
  external_id?: string
  /**
   * SHA-256, hex, of a secret that the maker of the hold keeps. The hold is then settled by whoever has the secret,
   * and by no key but a seller's: a buyer whose key made it cannot release it while it is being served.
   */
  lock?: string
  /** SHA-256, hex, of what was asked: a repeated idempotency key must bring the same one. */
  request_hash?: string
  idempotency_key?: string
}

export interface CaptureHold {
  /** Credits, zero to what is held. */
  amount: string
  /** The secret of the lock; no API key is needed with it. */
  unlock?: string
}

export interface ReleaseHold {
  unlock?: string
}

export interface HoldView {
  /** Also the id of its receipt. */
  id: string
  account: string
  name: string
  /** `lapsed`: its lifetime ended first, and all of it was given back. */
  state: 'held' | 'captured' | 'released' | 'lapsed'
  amount: string
  charged: string
  /** What its account can spend, as of this answer. */
  available: string
  created_at: string
  expires_at: string
  lock: string | null
}

/**
 * The buyer's side, as tools see it: a purse in another process, or on another machine. It takes recipient and
 * amount from the signed invoice alone, pays within the budget that its owner set, and never raises one.
 */
export interface PurseClient {
  /**
   * Pays an invoice once: a repeat, with or without the key, returns the first payment, marked `replayed`.
   *
   * @throws {BursarError} invalid_request (not signed by its payee), unknown_payee, budget_exceeded,
   *   insufficient_funds, invoice_not_payable (its lock has ended), idempotency_conflict (the key belongs to another
   *   invoice), payment_unresolved (it may have been paid: ask again, the same transaction is sent again),
   *   purse_unavailable
   */
  pay(input: PayInvoice): Promise<PursePayment>
  /** The payment this purse made, or began, for an invoice of a payee; null when it has none. */
  find(invoice: string, payee: string): Promise<PursePayment | null>
  status(): Promise<PurseStatus>
}

export interface PayInvoice {
  signed: InvoiceView['signed']
  idempotencyKey?: string
  signal?: AbortSignal
}

export type PursePaymentState = 'reserved' | 'signed' | 'broadcast' | 'confirmed' | 'failed' | 'unknown'

export interface PursePayment {
  id: string
  invoice: string
  /** The payee's name, as this purse knows it. */
  payee: string
  state: PursePaymentState
  /** What it waits for, or why it failed; null when there is nothing to say. */
  note: string | null
  rail: string
  /** CAIP-2 id of the network. */
  network: string
  recipient: string
  /** Atomic units, an integer as text. */
  amount: string
  amount_display: string
  /** By the purse's own rates, network fee not included. */
  usd: string
  /** The highest network fee that was reserved, by the purse's own rates. */
  fee_usd: string
  /** What it takes of the budget now: amount and highest fee, later the true cost; nothing when it failed unsent. */
  charged_usd: string
  /** Null until the transaction is signed. */
  txid: string | null
  /** The block that holds it. */
  block: number | null
  budget_left: BudgetLeft
  replayed: boolean
}

/** What may still be spent, USD, by the calendar day and month in UTC. */
export interface BudgetLeft {
  day_usd: string
  month_usd: string
}

export interface PurseStatus {
  address: string
  per_payment_usd: string
  budget_left: BudgetLeft
  payees: { name: string; key: string }[]
  /** Atomic units and the same for people; null where the chain did not answer. */
  balances: { rail: string; network: string; amount: string | null; amount_display: string | null }[]
}
