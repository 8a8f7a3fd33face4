/**
 * Creates an invoice: what is sold, at which rate, to which address, signed. The address comes from the next index
 * of the extended key; index, address, invoice and idempotency record are one commit, so no address is issued
 * twice, in any number of processes, and none without an invoice that watches it.
 */
import { createHash } from 'node:crypto'
import type { CreateInvoice as CreateInput, InvoiceView } from '../bursar.ts'
import { type Chain, splitRail } from '../chains/chain.ts'
import { type Sale, saleOf } from '../credits/packs.ts'
import { guard, type Statement, statement } from '../db/db.ts'
import { BursarError, invalid } from '../errors.ts'
import { accountExists } from '../ledger/accounts.ts'
import { notRestored, openRestore, restored } from '../ledger/restored.ts'
import {
  type Atomic,
  atomicToUsdCeil,
  ceilDiv,
  formatCredits,
  MICRO,
  type MicroCredits,
  type MicroUsd,
  type Quote,
  usdToAtomic,
} from '../money.ts'
import { saleablePrice } from '../rates/rates.ts'
import { type SignedInvoice, type SignedPayload, signInvoice } from '../signed-invoice.ts'
import { type DerivingKey, knowKey, takeAddresses } from './addresses.ts'
import { forBuyer } from './buyers.ts'
import { type InvoiceContext, type Rail, railNamed } from './context.ts'
import { ensureCursor } from './cursor.ts'
import { stillBound } from './deployment.ts'
import { DUST_SATOSHI, isDust, leastSale } from './pricing.ts'
import { findInvoice, type InvoiceRecord } from './records.ts'
import { refuseTooMany, roomForOne } from './room.ts'
import { inTurn } from './turns.ts'
import { viewOf } from './view.ts'

const ROUTE = 'invoice'
/** Each round one of the competing processes gets its address: far more than processes that compete. */
const MAX_ROUNDS = 200
/** The signed payload carries up to 78 digits, a 256-bit number. */
const MAX_AMOUNT: Atomic = 2n ** 256n - 1n

export interface CreateInvoice {
  readonly account: string
  readonly rail: string
  /** One of: a pack's id, or an amount of credits (a decimal). */
  readonly pack?: string
  readonly credits?: string
  readonly idempotencyKey?: string
}

/** The wire's input, for one account. */
export function fromWire(account: string, input: CreateInput): CreateInvoice {
  return {
    account,
    rail: input.rail,
    ...(input.pack === undefined ? {} : { pack: input.pack }),
    ...(input.credits === undefined ? {} : { credits: input.credits }),
    ...(input.idempotency_key === undefined ? {} : { idempotencyKey: input.idempotency_key }),
  }
}

export interface Draft {
  readonly id: string
  readonly account: string
  readonly rail: Rail
  readonly sale: Sale
  readonly quote: Quote
  readonly amount: Atomic
  readonly createdAt: number
  readonly expiresAt: number
  readonly claim: { readonly key: string; readonly bodyHash: string } | null
}

/**
 * With an idempotency key, a repeated request returns the first one's invoice, also when both run at once.
 *
 * @throws {BursarError} not_found: no such rail, pack or account; invalid_request: zero, too much, too fine, or too
 *   little for the rail; idempotency_conflict: the key was used with another body; rate_limited: too many open ones
 *   that nobody has begun to pay; rate_unavailable;
 *   chain_unavailable: the chain cannot be reached, has halted, or is set up wrongly.
 */
export function createInvoice(ctx: InvoiceContext, input: CreateInvoice): Promise<InvoiceView> {
  return forBuyer(splitRail(input.rail).chain, () => create(ctx, input))
}

async function create(ctx: InvoiceContext, input: CreateInvoice): Promise<InvoiceView> {
  const claim = claimOf(input)
  const earlier = claim && (await replay(ctx, input.account, claim))
  if (earlier) return earlier
  if (await openRestore(ctx.db)) throw restored()

  const rail = railNamed(ctx.chains, input.rail)
  const sale = saleOf(ctx.catalogue, input)
  await refuseTooMany(ctx, input.account)
  const quote = await lockableQuote(ctx, rail)
  const amount = amountOf(rail, sale, { quote, usdPerCredit: ctx.catalogue.usdPerCredit })
  await ctx.readable?.(rail.chain)
  await refuseHalted(ctx, rail.chain)
  const createdAt = ctx.runtime.now()
  const draft: Draft = {
    id: ctx.runtime.id('inv'),
    account: input.account,
    rail,
    sale,
    quote,
    amount,
    createdAt,
    expiresAt: createdAt + ctx.lockMs,
    claim,
  }
  // In this process one at a time: of those that compete for an index, one a round gets it.
  return inTurn(ctx.db, rail.chain.keyFingerprint, () => issue(ctx, draft))
}

async function issue(ctx: InvoiceContext, draft: Draft): Promise<InvoiceView> {
  const { chain } = draft.rail
  // Many may have come at once: those that find no room keep nobody waiting for a chain.
  await refuseTooMany(ctx, draft.account)
  let rounds = 0
  while (rounds < MAX_ROUNDS) {
    const index = await nextIndex(ctx, chain)
    const recipient = chain.recipient(index)
    const raced = new BursarError('conflict', 'Another invoice took this address.')
    const repeated = new BursarError('conflict', 'The same request came first.')
    const take = takeAddresses(keyOf(chain), {
      from: index,
      count: 1,
      addresses: [{ ...recipient, index }],
      at: draft.createdAt,
      raced,
    })
    try {
      if (await ctx.hasHistory?.(chain, recipient.address)) {
        await ctx.db.commit(take)
        ctx.runtime.log.warn(
          { chain: chain.id, path: recipient.path },
          'skipped an address that was used before',
        )
        continue
      }
      await ctx.db.commit([
        notRestored(),
        stillBound(chain, ctx.catalogue.usdPerCredit),
        ...claimKey(draft, repeated),
        accountExists(draft.account),
        ...roomForOne(ctx, draft.account),
        ...take,
        insertInvoice(ctx, draft, recipient.address).insert,
      ])
      return await viewOf(ctx, await mustFind(ctx, draft.id))
    } catch (thrown) {
      if (thrown === repeated && draft.claim) {
        const earlier = await replay(ctx, draft.account, draft.claim)
        if (earlier) return earlier
      } else if (thrown !== raced) {
        throw thrown
      }
    }
    rounds++
    await ctx.runtime.sleep(backoffMs(ctx, rounds))
  }
  throw new BursarError('conflict', 'Too many invoices are being created at this moment.', {
    remedy: 'Try again with the same idempotency key.',
  })
}

/** The next index to hand out; the row is made on the key's first use. */
async function nextIndex(ctx: InvoiceContext, chain: Chain): Promise<number> {
  const read = (): Promise<{ next_index: bigint }[]> =>
    ctx.db.query('SELECT next_index FROM deriving_key WHERE fingerprint = ?', [chain.keyFingerprint])
  const [row] = await read()
  if (row) return Number(row.next_index)
  await ctx.db.commit([knowKey(keyOf(chain), ctx.runtime.now())])
  const [made] = await read()
  return Number(made?.next_index ?? 0n)
}

function keyOf({ keyFingerprint: fingerprint, family }: Chain): DerivingKey {
  return { fingerprint, family }
}

/** The invoice of a draft, signed, and the statement that stores it. */
export function insertInvoice(
  ctx: Pick<InvoiceContext, 'catalogue' | 'tillKey'>,
  draft: Draft,
  address: string,
): { readonly invoice: InvoiceRecord; readonly insert: Statement } {
  const { sale, quote, rail } = draft
  const signed = signedPart(ctx, draft, address)
  const invoice: InvoiceRecord = {
    id: draft.id,
    account: draft.account,
    chain: rail.chain.id,
    symbol: rail.asset.symbol,
    pack: sale.pack,
    amount: draft.amount,
    usd: sale.usd,
    credits: sale.credits,
    discount: sale.discount,
    usdPerCredit: ctx.catalogue.usdPerCredit,
    lotLifetimeMs: sale.lifetimeMs,
    priceE8: quote.priceE8,
    priceSource: quote.source,
    priceAt: quote.at,
    address,
    signed: signed.payload,
    signature: signed.signature,
    createdAt: draft.createdAt,
    expiresAt: draft.expiresAt,
    discountEpoch: 0,
  }
  return { invoice, insert: storeInvoice(invoice) }
}

function storeInvoice(invoice: InvoiceRecord): Statement {
  return statement(
    `INSERT INTO invoice (id, account, rail, pack, amount, usd, credits, discount, usd_per_credit, lot_lifetime,
       price_e8, price_source, price_at, address, signed, signature, created_at, expires_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    [
      invoice.id,
      invoice.account,
      `${invoice.chain}:${invoice.symbol}`,
      invoice.pack,
      invoice.amount.toString(),
      invoice.usd,
      invoice.credits,
      invoice.discount,
      invoice.usdPerCredit,
      invoice.lotLifetimeMs === null ? null : BigInt(invoice.lotLifetimeMs),
      invoice.priceE8.toString(),
      invoice.priceSource,
      BigInt(invoice.priceAt),
      invoice.address,
      invoice.signed,
      invoice.signature,
      BigInt(invoice.createdAt),
      BigInt(invoice.expiresAt),
    ],
  )
}

function signedPart(ctx: Pick<InvoiceContext, 'tillKey'>, draft: Draft, address: string): SignedInvoice {
  const payload: SignedPayload = {
    v: 1,
    payee: ctx.tillKey.payee,
    invoice: draft.id,
    rail: draft.rail.id,
    network: draft.rail.chain.caip2,
    contract: draft.rail.asset.contract ?? null,
    recipient: address,
    amount: draft.amount.toString(),
    expires_at: draft.expiresAt,
  }
  return signInvoice(payload, ctx.tillKey.key)
}

/** A lock promises at most what may be credited: a stablecoin counts $1, even when the market pays more. */
async function lockableQuote(ctx: InvoiceContext, rail: Rail): Promise<Quote> {
  const quote = await ctx.rates.quote(rail.asset.symbol)
  return { ...quote, priceE8: saleablePrice(rail.asset.symbol, quote.priceE8) }
}

function amountOf(
  rail: Rail,
  sale: Sale,
  { quote, usdPerCredit }: { readonly quote: Quote; readonly usdPerCredit: MicroUsd },
): Atomic {
  const amount = usdToAtomic(sale.usd, quote.priceE8, rail.asset.decimals)
  if (amount > MAX_AMOUNT) throw invalid('This amount is more than the chain can carry.')
  if (isDust(rail.chain.family, { amount, usd: sale.usd })) {
    const least = formatCredits(leastCredits(rail, quote, usdPerCredit))
    throw invalid(`This is too little to be paid on ${rail.id}: it would cost more to collect.`, {
      remedy: `Ask for at least ${least} credits, or for a pack.`,
      details: { least_credits: least },
    })
  }
  return amount
}

/** What is no dust; on Bitcoin with two percent more, for a rate that moves until it is asked for. */
function leastCredits({ chain, asset }: Rail, { priceE8 }: Quote, usdPerCredit: MicroUsd): MicroCredits {
  if (chain.family !== 'bitcoin') return leastSale(usdPerCredit)
  const usd = ceilDiv(atomicToUsdCeil(DUST_SATOSHI, priceE8, asset.decimals) * 102n, 100n)
  return ceilDiv(usd * MICRO, usdPerCredit)
}

async function refuseHalted(ctx: InvoiceContext, chain: Chain): Promise<void> {
  const { halted } = await ensureCursor(ctx, chain)
  if (halted === null) return
  throw new BursarError(
    'chain_unavailable',
    `${chain.network} is halted: the seller has to look at it first.`,
    {
      remedy: 'Pay on another rail, or ask the seller.',
    },
  )
}

function claimOf(input: CreateInvoice): Draft['claim'] {
  if (input.idempotencyKey === undefined) return null
  if (!/^[\x21-\x7e]{1,255}$/.test(input.idempotencyKey)) {
    throw invalid('The idempotency key must be 1 to 255 printable ASCII characters without spaces.', {
      remedy: 'Use a fresh UUID for each new request.',
    })
  }
  const body = JSON.stringify([input.rail, input.pack ?? null, input.credits ?? null])
  return { key: input.idempotencyKey, bodyHash: createHash('sha256').update(body).digest('hex') }
}

/** The invoice that this key made before, or null. @throws {BursarError} idempotency_conflict: another body. */
async function replay(
  ctx: InvoiceContext,
  account: string,
  claim: NonNullable<Draft['claim']>,
): Promise<InvoiceView | null> {
  const [row] = await ctx.db.query<{ body_hash: string; ref: string }>(
    'SELECT body_hash, ref FROM idempotency WHERE account = ? AND route = ? AND key = ?',
    [account, ROUTE, claim.key],
  )
  if (!row) return null
  if (row.body_hash !== claim.bodyHash) {
    throw new BursarError('idempotency_conflict', 'This idempotency key was used for another request.', {
      remedy: 'Use a new key for a new request; repeat the old request unchanged to get its invoice.',
      details: { invoice: row.ref },
    })
  }
  return viewOf(ctx, await mustFind(ctx, row.ref))
}

function claimKey(draft: Draft, repeated: BursarError): Statement[] {
  if (!draft.claim) return []
  const { key, bodyHash } = draft.claim
  const scope = [draft.account, ROUTE, key]
  return [
    guard(
      'NOT EXISTS (SELECT 1 FROM idempotency WHERE account = ? AND route = ? AND key = ?)',
      scope,
      () => repeated,
    ),
    statement(
      'INSERT INTO idempotency (account, route, key, body_hash, ref, response, at) VALUES (?, ?, ?, ?, ?, ?, ?)',
      [...scope, bodyHash, draft.id, JSON.stringify({ invoice: draft.id }), BigInt(draft.createdAt)],
    ),
  ]
}

async function mustFind(ctx: InvoiceContext, id: string): Promise<InvoiceRecord> {
  const invoice = await findInvoice(ctx.db, id)
  if (invoice) return invoice
  throw new BursarError('internal', `The invoice ${id} has disappeared.`)
}

/** A few milliseconds, different for each process, so that they do not meet again. */
function backoffMs(ctx: InvoiceContext, round: number): number {
  const [byte = 0] = ctx.runtime.random(1)
  return 1 + (byte % (2 + Math.min(round, 30)))
}
