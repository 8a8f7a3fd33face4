/**
 * What a payment waits for. Only the process that watches a chain knows that endpoints disagree or that a rate is
 * missing; it leaves a row while that lasts, so that every process can tell whoever asks.
 */
import { type Db, type Statement, statement } from '../db/db.ts'
import { isoTime } from '../time.ts'
import { readHalts } from './cursor.ts'
import type { PaymentRecord, PaymentWait } from './records.ts'

/** Of a chain: no block is final any more; its endpoints do not agree; none of them answers. */
export type ChainWait = 'finality' | 'endpoints' | 'unreachable'

export interface ChainState {
  /** How far it has been read; confirmations count up to there, since only that much is verified. */
  readonly height: number
  /** When it was last settled, Unix milliseconds. */
  readonly settledAt: number
  readonly halted: string | null
  readonly wait: { readonly reason: ChainWait; readonly since: number } | null
}

/** Chains that were ever read. */
export type ChainStates = ReadonlyMap<string, ChainState>

/** A chain that nobody has settled for this long is not being watched, milliseconds. */
export const STALE_MS = 120_000

export async function readChainStates(db: Db): Promise<ChainStates> {
  const [halts, waits] = await Promise.all([
    readHalts(db),
    db.query<{ subject: string; reason: ChainWait; since: bigint }>(
      // What begins with `chain:`; LIKE would read the rows of all payments that wait.
      "SELECT subject, reason, since FROM waiting WHERE subject >= 'chain:' AND subject < 'chain;'",
    ),
  ])
  const waiting = new Map(waits.map((row) => [row.subject, row]))
  return new Map(
    halts.map(({ chain, ...rest }) => {
      const row = waiting.get(`chain:${chain}`)
      return [chain, { ...rest, wait: row ? { reason: row.reason, since: Number(row.since) } : null }]
    }),
  )
}

/** What makes the row of a chain say what it waits for from now on; nothing where it does already. */
export function chainWaits(
  chain: string,
  was: ChainWait | null,
  is: ChainWait | null,
  since: number,
): Statement[] {
  return was === is ? [] : [write(`chain:${chain}`, is, since)]
}

/** The same for a payment, by its key. */
export function paymentWaits(
  key: string,
  was: PaymentWait | null,
  is: PaymentWait | null,
  since: number,
): Statement[] {
  return was === is ? [] : [write(`payment:${key}`, is, since)]
}

function write(subject: string, reason: string | null, since: number): Statement {
  if (reason === null) return statement('DELETE FROM waiting WHERE subject = ?', [subject])
  return statement(
    `INSERT INTO waiting (subject, reason, since) VALUES (?, ?, ?)
     ON CONFLICT (subject) DO UPDATE SET reason = excluded.reason, since = excluded.since`,
    [subject, reason, BigInt(since)],
  )
}

/** In words, to be read after "waits for"; null: it waits for nothing any more. Pure. */
export function waitingFor(payment: PaymentRecord, states: ChainStates, now: number): string | null {
  if (payment.state !== 'seen' && payment.state !== 'confirming') return null
  const state = states.get(payment.chain)
  return (state && chainText(payment.chain, state, now)) ?? paymentText(payment, state)
}

function chainText(chain: string, { halted, settledAt, wait }: ChainState, now: number): string | null {
  if (halted !== null) return `the seller, who has to look at ${chain}: it is halted (${halted})`
  const since = wait ? `since ${isoTime(wait.since)}` : ''
  if (wait?.reason === 'endpoints') return `the endpoints of ${chain} to agree: they disagree ${since}`
  if (wait?.reason === 'unreachable') return `${chain} to be readable: none of its endpoints answers ${since}`
  if (now - settledAt > STALE_MS) return `${chain} to be read: it was last read at ${isoTime(settledAt)}`
  return null
}

function paymentText(payment: PaymentRecord, state: ChainState | undefined): string {
  const { chain, height, needed, symbol, waiting } = payment
  if (height === null) return 'a block: it is not mined yet'
  if (waiting === 'endpoints') return `a second endpoint of ${chain} that shows it: they disagree about it`
  if (waiting === 'rate') return `a current rate of ${symbol}`
  if (waiting === 'too_large') return 'the seller: it is worth more credits than one grant can be'
  if (waiting === 'asset') return `the seller: ${symbol} is not accepted on ${chain} any more`
  if (state?.wait?.reason === 'finality') {
    return `a final block: finality of ${chain} has stalled since ${isoTime(state.wait.since)}`
  }
  const confirmations = Math.max(0, Math.min(needed, (state?.height ?? 0) - height + 1))
  return `${confirmations} of ${needed} confirmations`
}
