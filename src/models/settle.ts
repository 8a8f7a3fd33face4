/**
 * What a finished call is charged: pure, so that every row of the table can be read and tested by itself.
 *
 * - final usage: its cost; an explicit 0 costs 0
 * - usage above what was held: the hold, and an alert, because the bound or the upstream is wrong
 * - an answer without usage: an estimate from its bytes, within the bounds
 * - refused by the upstream, or never sent: nothing
 * - sent, then lost: what it reported, else the request's own input, estimated; for a price per call nothing, as
 *   nothing was delivered
 * - the caller went away in the middle: the input, and an estimate of the output that it was given
 */
import type { UsageSource } from '../bursar.ts'
import { costOf, type Price, type TokenCounts } from '../credits/prices.ts'
import { type MicroCredits, min } from '../money.ts'
import type { Ending } from './ending.ts'
import type { LostReason } from './exchange.ts'
import { estimateTokens } from './meter.ts'

/** What was agreed before the call was sent. */
export interface Terms {
  readonly price: Price
  readonly held: MicroCredits
  readonly bounds: TokenCounts
  /** The request's input, estimated; no output. */
  readonly knownInput: TokenCounts
}

export interface Settlement {
  readonly charge: MicroCredits
  readonly usage: (TokenCounts & { readonly source: UsageSource }) | null
  /** For the receipt: why the charge is not simply the reported usage. */
  readonly note?: string
  /** The upstream reported more than the call can have used. */
  readonly aboveBounds?: boolean
}

const LOST: Readonly<Record<LostReason, string>> = {
  timeout: 'no answer in time',
  disconnect: 'the upstream broke the connection',
  invalid_answer: 'the answer was not a completion',
  answer_too_large: 'the answer was too large',
  upstream_failed: 'the upstream failed in the middle of its answer',
  abandoned: 'the caller went away',
  stopped: 'the till was stopped',
}

export function settlementOf(terms: Terms, ending: Ending): Settlement {
  if (ending.kind === 'unreached') {
    return { charge: 0n, usage: null, note: 'never sent: the upstream could not be reached' }
  }
  if (ending.kind === 'refused') {
    return { charge: 0n, usage: null, note: `refused by the upstream with status ${ending.status}` }
  }
  if (ending.kind === 'answered') {
    const { usage, text } = ending.completion
    return usage ? reported(terms, usage) : unreported(terms, Buffer.byteLength(text, 'utf8'))
  }
  if (ending.kind === 'forwarded') {
    const { usage, outputBytes } = ending
    return usage ? reported(terms, usage) : unreported(terms, outputBytes)
  }
  if (ending.outputBytes !== undefined) return abandoned(terms, ending.usage, ending.outputBytes)
  return ending.usage && terms.price.kind === 'tokens'
    ? { note: LOST[ending.why], ...reported(terms, ending.usage) }
    : { ...lost(terms), note: `estimate of the input: ${LOST[ending.why]}` }
}

/**
 * Charged when a call was sent and its outcome is unknown: also what a hold costs that lapses because this process
 * died. It errs to the buyer's side: nothing for output that nobody received.
 */
export function chargeIfLost(terms: Terms): MicroCredits {
  return lost(terms).charge
}

function lost({ price, held, knownInput }: Terms): Settlement {
  const usage = { ...knownInput, source: 'estimate' as const }
  return price.kind === 'call'
    ? { charge: 0n, usage }
    : { charge: min(costOf(price, knownInput), held), usage }
}

function reported({ price, held, bounds }: Terms, usage: TokenCounts): Settlement {
  const cost = costOf(price, usage)
  const source = price.kind === 'call' ? 'fixed' : 'upstream'
  const aboveBounds = usage.inputTokens > bounds.inputTokens || usage.outputTokens > bounds.outputTokens
  if (!aboveBounds) return { charge: cost, usage: { ...usage, source } }
  const note = `the upstream reported more than the bound of ${bounds.inputTokens} tokens in, ${bounds.outputTokens} out`
  return { charge: min(cost, held), usage: { ...usage, source }, note, aboveBounds }
}

/** The caller left with a part of the answer: it pays for that part, and for the input. */
function abandoned(terms: Terms, known: TokenCounts | null, outputBytes: number): Settlement {
  return unreported({ ...terms, knownInput: known ?? terms.knownInput }, outputBytes, LOST.abandoned)
}

function unreported(
  { price, held, bounds, knownInput }: Terms,
  outputBytes: number,
  why = 'the upstream reported no usage',
): Settlement {
  const usage = {
    ...(knownInput.inputTokens <= bounds.inputTokens ? knownInput : { inputTokens: bounds.inputTokens }),
    outputTokens: Math.min(estimateTokens(outputBytes), bounds.outputTokens),
  }
  const note = `estimate: ${why}`
  return price.kind === 'call'
    ? { charge: price.microPerCall, usage: { ...usage, source: 'fixed' }, note }
    : { charge: min(costOf(price, usage), held), usage: { ...usage, source: 'estimate' }, note }
}
