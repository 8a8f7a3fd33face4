/**
 * Claims a payment by its transaction: one that a contract made, at an endpoint that shows no block traces. The
 * claim only records what the chain shows, under the key that following would give it; crediting it is left to the
 * chain's watcher, as with every other payment. So a claim, repeated or racing with the watcher, credits once.
 */
import type { InvoiceView } from '../bursar.ts'
import { type Chain, isInternal, isUntraced, type Transfer } from '../chains/chain.ts'
import { guard, type Statement } from '../db/db.ts'
import { BursarError, invalid } from '../errors.ts'
import type { InvoiceContext } from './context.ts'
import { ensureCursor } from './cursor.ts'
import { eventsOf, insertEvent } from './events.ts'
import { paymentStatements } from './postings.ts'
import { findInvoice, type InvoiceRecord, type PaymentRecord, paymentsBy } from './records.ts'
import { isLive } from './state.ts'
import { inTurn } from './turns.ts'
import { unknownInvoice, viewOf } from './view.ts'
import { readChainStates } from './waiting.ts'

export interface ClaimPayment {
  /** Whose invoice it must be; absent for the seller, who may claim for anybody. */
  readonly account?: string
  readonly invoice: string
  /** `0x` and 64 hexadecimal digits. */
  readonly txid: string
  /** Where it was paid, if not on the chain of the invoice. */
  readonly chain?: string
}

export type ClaimContext = Pick<InvoiceContext, 'db' | 'runtime' | 'chains' | 'changes'>

const TXID = /^0x[0-9a-f]{64}$/
const MAX_ROUNDS = 5

/**
 * Safe to repeat. A claimed payment waits until no fork that is followed can reach it, or its block is final.
 *
 * @throws {BursarError} not_found: no such invoice of this account, or the transaction paid nothing to its address;
 *   invalid_request: not a transaction hash, or a chain that needs no claims; conflict: its block has not been read
 *   yet; chain_unavailable: not reachable, or halted
 */
export async function claimPayment(ctx: ClaimContext, input: ClaimPayment): Promise<InvoiceView> {
  const invoice = await findInvoice(ctx.db, input.invoice)
  // Another account's invoice must not be told apart from one that does not exist.
  if (!invoice || (input.account ?? invoice.account) !== invoice.account) throw unknownInvoice(input.invoice)
  const txid = input.txid.toLowerCase()
  if (!TXID.test(txid)) {
    throw invalid('This is not a transaction hash.', { remedy: 'Give 0x and 64 hexadecimal digits.' })
  }
  const chain = claimableChain(ctx, input.chain ?? invoice.chain)
  // A claim asks the node several times: whoever sends many waits for his own.
  return inTurn(ctx.db, `claim ${invoice.account}`, async () => {
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      if (await recordClaim(ctx, chain, invoice, txid)) {
        ctx.changes.notify(invoice.id)
        return viewOf(ctx, invoice)
      }
    }
    throw new BursarError('conflict', 'The payments of this invoice keep changing.', { remedy: 'Try again.' })
  })
}

type Claimable = Chain & Required<Pick<Chain, 'paidBy'>>

function claimableChain(ctx: ClaimContext, id: string): Claimable {
  const chain = ctx.chains.get(id)
  if (!chain) throw new BursarError('not_found', `There is no chain ${JSON.stringify(id).slice(0, 80)}.`)
  if (canClaim(chain)) return chain
  throw invalid(`Every payment on ${chain.network} is found by itself.`, {
    remedy: 'Wait for its confirmations; there is nothing to claim.',
  })
}

function canClaim(chain: Chain): chain is Claimable {
  return chain.paidBy !== undefined
}

/** False: something changed meanwhile, and it is to be tried again. */
async function recordClaim(
  ctx: ClaimContext,
  chain: Claimable,
  invoice: InvoiceRecord,
  txid: string,
): Promise<boolean> {
  const { cursor, halted } = await ensureCursor(ctx, chain)
  if (halted !== null) {
    throw new BursarError('chain_unavailable', `${chain.network} is halted: the seller has to look first.`)
  }
  const found = await chain.paidBy(txid, invoice.address)
  if (found.length === 0) throw nothingPaid(txid)
  if (found.some(({ block }) => block === null || block.height > cursor.height)) {
    throw new BursarError('conflict', `The block of this transaction has not been read yet.`, {
      remedy: 'Try again in a minute. A payment that is found by itself needs no claim.',
    })
  }
  const stored = await paymentsBy(ctx.db, 'invoice', [invoice.id])
  const fresh = found.flatMap((transfer) => unrecorded(ctx, chain, invoice, transfer, stored))
  if (fresh.length === 0) return true
  const raced = new BursarError('conflict', 'The payments of this invoice have just changed.')
  try {
    await ctx.db.commit([
      ...fresh.flatMap((payment) => isStillSo(payment, stored, raced)),
      ...(await recording(ctx, invoice, stored, fresh)),
    ])
    return true
  } catch (thrown) {
    if (thrown === raced) return false
    throw thrown
  }
}

/** The transfer as a payment to be stored, unless it is already known. */
function unrecorded(
  ctx: ClaimContext,
  chain: Chain,
  invoice: InvoiceRecord,
  transfer: Transfer,
  stored: readonly PaymentRecord[],
): PaymentRecord[] {
  const { block } = transfer
  const earlier = stored.find(({ key }) => key === transfer.key)
  if (!block || (earlier && isLive(earlier.state)) || earlier?.state === 'failed') return []
  const amount = transfer.amount - alreadyRecorded(transfer, stored)
  if (amount <= 0n) return []
  return [
    {
      key: transfer.key,
      chain: chain.id,
      symbol: transfer.symbol,
      txid: transfer.txid,
      address: transfer.to,
      amount,
      invoice: invoice.id,
      state: 'confirming',
      epoch: earlier?.epoch ?? 0,
      // The watcher would not see it again after a fork: it waits until no fork can reach it.
      needed: chain.finalityDepth + 1,
      height: block.height,
      blockHash: block.hash,
      blockTime: block.time,
      seenAt: earlier?.seenAt ?? ctx.runtime.now(),
      creditedAt: null,
      credits: 0n,
      pricing: null,
      waiting: null,
    },
  ]
}

/**
 * How much of a transfer other payments of its block stand for. An untraced one is all that contracts paid to the
 * address in that block, less what was recorded before: so the traced ones of the block are part of it, whether they
 * come before it or after.
 */
function alreadyRecorded(transfer: Transfer, stored: readonly PaymentRecord[]): bigint {
  if (!isInternal(transfer.key)) return 0n
  const others = stored.filter(({ key, chain, height, state }) => {
    return chain === transfer.chain && height === transfer.block?.height && isLive(state) && isInternal(key)
  })
  if (isUntraced(transfer.key)) return others.reduce((sum, { amount }) => sum + amount, 0n)
  return others.some(({ key }) => isUntraced(key)) ? transfer.amount : 0n
}

/** Nothing was recorded since that could be the same coins, and the block is still on the chain as it was read. */
function isStillSo(
  payment: PaymentRecord,
  stored: readonly PaymentRecord[],
  raced: BursarError,
): Statement[] {
  const { chain, height, blockHash, invoice } = payment
  const at = BigInt(height ?? 0)
  const live = stored.filter(({ state }) => isLive(state)).length
  return [
    guard(
      `(SELECT count(*) FROM payment WHERE invoice = ? AND state IN ('seen', 'confirming', 'credited')) = ?`,
      [invoice, BigInt(live)],
      () => raced,
    ),
    // Below what the cursor remembers no fork is followed.
    guard(
      `EXISTS (SELECT 1 FROM chain_cursor c WHERE c.chain = ? AND c.halted IS NULL AND c.height >= ? AND (
         ? < (SELECT min(value ->> 0) FROM json_each(c.recent))
         OR EXISTS (SELECT 1 FROM json_each(c.recent) WHERE value ->> 0 = ? AND value ->> 1 = ?)))`,
      [chain, at, at, at, blockHash],
      () => raced,
    ),
  ]
}

async function recording(
  ctx: ClaimContext,
  invoice: InvoiceRecord,
  stored: readonly PaymentRecord[],
  fresh: readonly PaymentRecord[],
): Promise<Statement[]> {
  const now = ctx.runtime.now()
  const byId = new Map([[invoice.id, invoice]])
  const before = new Map(stored.map((payment) => [payment.key, payment]))
  const after = [...new Map([...stored, ...fresh].map((payment) => [payment.key, payment])).values()]
  const states = await readChainStates(ctx.db)
  const change = { invoice, before: stored, after, beforeAt: now, now, states }
  return [
    ...fresh.flatMap((payment) => paymentStatements(before.get(payment.key) ?? null, payment, byId, now)),
    ...eventsOf(ctx, change).map((event) => insertEvent(invoice.id, event, now)),
  ]
}

function nothingPaid(txid: string): BursarError {
  return new BursarError('not_found', `No payment to this invoice was found in ${txid}.`, {
    remedy:
      'Check the hash and the chain. A transaction that failed pays nothing; one that is not mined yet can be claimed once it is.',
  })
}
