/**
 * The two ends of every paid call, whatever carries it: reserve before it is sent, settle after it has ended.
 */
import { affordableTokens, type Price, type TokenCounts, worstCase } from '../credits/prices.ts'
import { priceAt } from '../credits/schedule.ts'
import { BursarError } from '../errors.ts'
import { allowanceRefusal, readAllowance, spendableOf } from '../ledger/allowance.ts'
import { getBalance } from '../ledger/balance.ts'
import { hold } from '../ledger/hold.ts'
import type { Hold, Ledger, Settled } from '../ledger/ledger.ts'
import { formatCredits, type MicroCredits, max, min } from '../money.ts'
import { type Model, type Models, placed } from './catalogue.ts'
import type { Circuit } from './circuit.ts'
import { type Ending, wasNeverTaken } from './ending.ts'
import { askInTurn, type Send } from './failover.ts'
import { type Failed, withoutAnswer } from './failure.ts'
import type { Fit } from './fit.ts'
import { chargeIfLost, type Settlement, settlementOf, type Terms } from './settle.ts'
import { beyondAllowance, tooFewCredits } from './shortage.ts'
import { countBody } from './tokens.ts'
import type { StoredUsage } from './usage.ts'

/** Beyond the upstream's deadline: time to write the outcome down, on a busy machine too. */
const LIFETIME_MARGIN_MS = 60_000

export interface CallContext {
  readonly ledger: Ledger
  readonly models: Models
  /** Output tokens a call may be fitted down to, where its caller says nothing; 0, the default: never. */
  readonly fitFloorTokens?: number
  /** False: no answer is stored for a repeated idempotency key, only that there was one. */
  readonly storeAnswers?: boolean
  /** What is known of the upstreams' health; absent: each call tries them in order. */
  readonly circuit?: Circuit
  /** What credits can be bought with: who has too few is told. */
  readonly rails?: readonly string[]
  /** The fewest credits that an invoice is made for: advice to buy fewer would be refused. */
  readonly leastSale?: MicroCredits
}

/** Who pays, and on whose behalf. */
export interface Caller {
  readonly account: string
  readonly agent?: string
}

/** A call that is about to be made. */
export interface Work {
  readonly model: Model
  /** Where it came in: idempotency keys are scoped to it. */
  readonly route: string
  readonly bounds: TokenCounts
  readonly knownInput: TokenCounts
  /** Counts the input, where that may bound it closer than its bytes do. Asked only when the bytes do not fit. */
  readonly countInput?: () => Promise<number>
  readonly idempotency?: { readonly key: string; readonly bodyHash: string }
  /** Lets the output limit shrink to what the balance affords. */
  readonly fit?: Fit
  /** How long it may run; by default the upstream's `timeout_ms`. */
  readonly deadlineMs?: number
}

/** What a call that begins now costs at one of its model's upstreams. */
export interface Quote {
  readonly model: Model
  readonly price: Price
  /** As the receipt keeps it. */
  readonly text: string
}

/** A call that may now be sent: its worst case is held, durably. Its `work` has the bounds that are held. */
export interface Reserved {
  readonly kind: 'held'
  readonly hold: Hold
  readonly terms: Terms
  readonly work: Work
  /** One for each upstream, in order. The hold covers the dearest. */
  readonly quotes: readonly Quote[]
  /** Another upstream than the first ended the call: its price is in the terms, its model in the work. */
  readonly moved?: Quote
}

export type Reservation =
  | Reserved
  | { readonly kind: 'replayed'; readonly ref: string; readonly response: string }
  | { readonly kind: 'running'; readonly ref: string }

/** Other calls spend too: what fitted when it was looked up may not fit a moment later. */
const FIT_ATTEMPTS = 5
/** A token of any ordinary text covers fewer bytes: what does not fit even so is not worth counting. */
const BYTES_PER_TOKEN_AT_MOST = 8

/**
 * Holds the worst case of a call; resolves when the hold is durable. Should this process die before it settles, the
 * hold lapses and costs the call's known input, because it cannot be known whether the upstream ran.
 *
 * @throws {BursarError} insufficient_credits or allowance_exceeded, with how many output tokens would fit; frozen;
 *   idempotency_conflict.
 */
export async function reserve(ctx: CallContext, caller: Caller, given: Work): Promise<Reservation> {
  const quotes = quotesOf(given.model, ctx.ledger.runtime.now())
  let asked = given
  let work = asked
  for (let attempt = 1; ; attempt++) {
    try {
      return await holdFor(ctx, caller, work, quotes)
    } catch (error) {
      if (!(error instanceof BursarError) || !mayFit(error)) throw error
      const { balance, allowance, spendable } = await spendableBy(ctx.ledger, caller)
      if (asked.countInput && worthCounting(asked, quotes, spendable)) {
        asked = await counted(asked)
        work = asked
        attempt = 0
        continue
      }
      // Meanwhile another call may have given back what was missing.
      const required = dearest(quotes, asked.bounds)
      const fitsNow = required <= spendable
      if (fitsNow && attempt < FIT_ATTEMPTS) {
        work = asked
        continue
      }
      const affordable = affordableOutput(asked, quotes, spendable)
      if (!asked.fit || affordable < asked.fit.floor || affordable === 0 || attempt === FIT_ATTEMPTS) {
        const wish = { required, model: asked.model.id, at: ctx.ledger.runtime.now() }
        const beyond = allowance && allowanceRefusal(allowance, wish)
        const perChoice = affordable / (asked.fit?.choices ?? 1)
        const least = leastOf(asked, quotes)
        throw beyond
          ? beyondAllowance(perChoice, beyond)
          : tooFewCredits(balance, { ...ctx, perChoice, required, least, refused: error })
      }
      work = { ...asked, bounds: { ...asked.bounds, outputTokens: affordable } }
    }
  }
}

/** How a request's text is counted, where its tokeniser is known. */
export function counting(
  { ledger }: CallContext,
  { tokenizer }: Model,
  body: () => string,
  besidesText: number,
): Pick<Work, 'countInput'> {
  if (tokenizer === null) return {}
  const breathe = () => ledger.runtime.sleep(0)
  return { countInput: async () => besidesText + (await countBody(tokenizer, body(), breathe)) }
}

function worthCounting(work: Work, quotes: readonly Quote[], spendable: MicroCredits): boolean {
  const inputTokens = Math.ceil(work.bounds.inputTokens / BYTES_PER_TOKEN_AT_MOST)
  return leastOf({ ...work, bounds: { ...work.bounds, inputTokens } }, quotes) <= spendable
}

/** The same work with its input counted, which is done once. */
async function counted({ countInput, ...work }: Work): Promise<Work> {
  const { bounds } = work
  const inputTokens = countInput ? Math.min(bounds.inputTokens, await countInput()) : bounds.inputTokens
  return { ...work, bounds: { ...bounds, inputTokens } }
}

/** What the call costs at least, in the worst case: fitted as far as its caller takes it. */
function leastOf({ bounds, fit }: Work, quotes: readonly Quote[]): MicroCredits {
  return dearest(quotes, fit ? { ...bounds, outputTokens: fit.floor } : bounds)
}

/** Neither another model nor another agent is a matter of fewer tokens. */
function mayFit({ code, details }: BursarError): boolean {
  return (
    code === 'insufficient_credits' || (code === 'allowance_exceeded' && details['allowance'] !== 'models')
  )
}

/** What one call may cost now, by the balance and by the agent's allowance. */
async function spendableBy(ledger: Ledger, { account, agent }: Caller) {
  const [balance, allowance] = await Promise.all([
    getBalance(ledger, account),
    agent === undefined ? null : readAllowance(ledger, agent),
  ])
  const spendable = allowance ? spendableOf(allowance, balance.available) : balance.available
  return { balance, allowance, spendable }
}

function quotesOf(model: Model, now: number): Quote[] {
  return placed(model).map((place) => ({ model: place, ...priceAt(place.prices, now) }))
}

/** Nobody knows yet which upstream will answer. */
function dearest(quotes: readonly Quote[], bounds: TokenCounts): MicroCredits {
  return quotes.map(({ price }) => worstCase(price, bounds)).reduce(max)
}

async function holdFor(
  { ledger }: CallContext,
  caller: Caller,
  work: Work,
  quotes: readonly Quote[],
): Promise<Reservation> {
  const { model, route, bounds, knownInput, idempotency } = work
  const held = dearest(quotes, bounds)
  const each = quotes.map(({ price }): Terms => ({ price, held, bounds, knownInput }))
  const [terms] = each
  const [first] = quotes
  if (!terms || !first) throw new Error('A model has at least one upstream.')
  const result = await hold(ledger, {
    account: caller.account,
    ...(caller.agent === undefined ? {} : { agent: caller.agent }),
    amount: held,
    lifetimeMs: (work.deadlineMs ?? model.upstream.timeout_ms) + LIFETIME_MARGIN_MS,
    lapseCharge: each.map(chargeIfLost).reduce(min),
    receipt: {
      route,
      model: model.id,
      upstream: model.upstream.name,
      price: first.text,
    },
    ...(idempotency ? { idempotency: { route, ...idempotency } } : {}),
  })
  return result.kind === 'held' ? { kind: 'held', hold: result.hold, terms, work, quotes } : result
}

/** Output tokens in all, shared evenly by the choices. */
function affordableOutput({ bounds, fit }: Work, quotes: readonly Quote[], available: MicroCredits): number {
  const { inputTokens, outputTokens: limit } = bounds
  const tokens = Math.min(
    ...quotes.map(({ price }) => affordableTokens(price, available, { inputTokens, limit })),
  )
  return tokens - (tokens % (fit?.choices ?? 1))
}

/**
 * Writes a call's outcome down: charges what the settling table says and gives back the rest. A call that was
 * never taken stores no answer, so that its idempotency key may be used again; any other keeps it, for it may have run.
 *
 * @param respond what to store for a repeated idempotency key, JSON; null keeps no answer, only that there was one.
 * @returns what was really charged: not the settlement's charge, if the hold had lapsed meanwhile.
 */
export async function settle(
  { ledger, storeAnswers = true }: CallContext,
  { hold, terms, work, moved }: Reserved,
  ending: Ending,
  respond: (settlement: Settlement) => string | null,
): Promise<{ readonly settlement: Settlement; readonly settled: Settled }> {
  const settlement = settlementOf(terms, ending)
  const { charge, usage, note } = settlement
  const requestId = ending.kind === 'unreached' ? null : ending.requestId
  const answer = work.idempotency && !wasNeverTaken(ending) ? respond(settlement) : null
  const response = storeAnswers || answer === null ? answer : withoutAnswer(hold.ref)
  const outcome = {
    ...(usage ? { usage: JSON.stringify(storedUsage(usage)) } : {}),
    ...(requestId === null ? {} : { upstreamRequestId: requestId }),
    ...(note === undefined ? {} : { note }),
    ...(response === null ? {} : { response }),
    ...(moved ? { upstream: moved.model.upstream.name, price: moved.text } : {}),
  }
  if (settlement.aboveBounds) {
    const facts = { receipt: hold.ref, model: work.model.id, upstream: work.model.upstream.name }
    ledger.runtime.log.error(
      { alert: 'usage_above_bounds', ...facts, bounds: terms.bounds, usage },
      'An upstream reported more usage than the call can have had; at most the hold was charged.',
    )
  }
  const settled = await (usage ? hold.capture(charge, outcome) : hold.release(outcome))
  ledger.runtime.metrics?.captured(settled.charged)
  return { settlement, settled }
}

/** Sends a call that is held to its model's upstreams in turn; the reservation is then that of the one that ended it. */
export async function sendHeld<T extends { readonly ending: Ending }>(
  { ledger: { runtime }, circuit }: CallContext,
  reserved: Reserved,
  send: Send<T>,
): Promise<{ readonly reserved: Reserved; readonly result: T }> {
  const { work } = reserved
  const deadlineMs = work.deadlineMs ?? work.model.upstream.timeout_ms
  const { place, result } = await askInTurn({ runtime, circuit }, work.model, deadlineMs, send)
  return { reserved: movedTo(reserved, place), result }
}

/** The same call, ended by that upstream: at its price, under its name. */
function movedTo(reserved: Reserved, model: Model): Reserved {
  const moved = reserved.quotes.find((quote) => quote.model === model)
  if (!moved || model === reserved.work.model) return reserved
  const { terms, work } = reserved
  return { ...reserved, terms: { ...terms, price: moved.price }, work: { ...work, model }, moved }
}

export function failedCall({ hold, work }: Reserved): Failed {
  return { model: work.model, receipt: hold.ref, keyed: work.idempotency !== undefined }
}

/** What a call was charged and what its account has, now: the ledger has the last word on both. Decimal credits. */
export async function standing(
  { ledger }: CallContext,
  account: string,
  ref: string,
): Promise<{ readonly charged: string; readonly available: string }> {
  const [row] = await ledger.db.query<{ charged: bigint; available: bigint }>(
    `SELECT r.charged, a.available FROM account a LEFT JOIN receipt r ON r.account = a.id AND r.id = ?
     WHERE a.id = ?`,
    [ref, account],
  )
  return { charged: formatCredits(row?.charged ?? 0n), available: formatCredits(row?.available ?? 0n) }
}

export function storedUsage(usage: NonNullable<Settlement['usage']>): StoredUsage {
  const { cachedInputTokens, cacheWriteTokens = 0, cacheWrite1hTokens = 0, reasoningTokens } = usage
  const written = cacheWriteTokens + cacheWrite1hTokens
  return {
    input_tokens: usage.inputTokens,
    output_tokens: usage.outputTokens,
    ...(cachedInputTokens === undefined ? {} : { cached_input_tokens: cachedInputTokens }),
    ...(written === 0 ? {} : { cache_write_tokens: written }),
    ...(cacheWrite1hTokens === 0 ? {} : { cache_write_1h_tokens: cacheWrite1hTokens }),
    ...(reasoningTokens === undefined ? {} : { reasoning_tokens: reasoningTokens }),
    source: usage.source,
  }
}
