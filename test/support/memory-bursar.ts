/**
 * A till and a purse in memory, small and complete enough to put the tools, the MCP adapter and the HTTP server
 * through their paces without a chain. Only for tests of those: everything else is tested against the real ones.
 */
import type { KeyObject } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type {
  Bursar,
  CallResult,
  CreateInvoice,
  InvoiceView,
  PaymentView,
  PurseClient,
  PursePayment,
  UsageEntry,
} from '../../src/bursar.ts'
import { BursarError, invalid } from '../../src/errors.ts'
import { creditsToUsd, formatCredits, formatUsd, MICRO, parseCredits } from '../../src/money.ts'
import { payeeOf, signInvoice } from '../../src/signed-invoice.ts'
import { drawKey } from './chance.ts'

const CREDIT_USD = 100_000n
const RAIL = 'ethereum:ETH'
const ADDRESS = '0x9858EfFD232B4033E47d90003D41EC34EcaEda94'
const CONFIRMATIONS = 3
const BUDGET_USD = 20_000_000n
/** A fault's own words: never to be seen outside. */
export const SECRET = 'bk_this-text-must-never-leave-the-process-0000000'

export interface MemoryTill {
  /** The till as one account sees it. */
  forAccount(account: string): Bursar
  purse: PurseClient
  /** Invoices whose await_payment was cancelled by its caller. */
  cancelled: string[]
  /** Mines the payment of an invoice: from now on it confirms, and is credited. */
  pay(invoice: string): void
  /** The same, by the hash of its transaction. */
  claim(claim: { readonly account?: string; readonly invoice: string; readonly txid: string }): InvoiceView
  /** The transaction that pays an invoice. */
  txidOf(invoice: string): string
}

interface Held {
  account: string
  view: InvoiceView
  body: string
}

interface AccountState {
  available: bigint
  usage: UsageEntry[]
  answers: Map<string, { body: string; result: CallResult }>
}

export function memoryTill(now: () => number = Date.now): MemoryTill {
  const invoices = new Map<string, Held>()
  const accounts = new Map<string, AccountState>()
  const keyed = new Map<string, string>()
  const cancelled: string[] = []
  const key = drawKey()
  let serial = 0

  const nextId = (prefix: string): string => `${prefix}_${String(++serial).padStart(26, '0')}`
  const stateOf = (account: string): AccountState => {
    const known = accounts.get(account)
    if (known) return known
    const fresh: AccountState = { available: 0n, usage: [], answers: new Map() }
    accounts.set(account, fresh)
    return fresh
  }

  function find(id: string, account?: string): Held {
    const held = invoices.get(id)
    if (held && (account === undefined || held.account === account)) return held
    throw new BursarError('not_found', `There is no invoice ${id}.`, { remedy: 'Check the id.' })
  }

  function pay(id: string): void {
    const { view } = find(id)
    view.payments = [paymentOf(view)]
    view.state = 'processing'
  }

  /** One block more. */
  function confirm({ view, account }: Held): void {
    const [payment] = view.payments
    if (!payment || view.state === 'paid') return
    payment.confirmations += 1
    if (payment.confirmations < payment.confirmations_needed) return
    payment.state = 'credited'
    payment.credits = view.credits
    view.state = 'paid'
    view.missing = '0'
    view.credits_granted = view.credits
    stateOf(account).available += parseCredits(view.credits)
  }

  const till: MemoryTill = {
    cancelled,
    pay,
    claim({ account, invoice, txid }) {
      const { view } = find(invoice, account)
      if (txid !== paymentOf(view).txid) {
        throw new BursarError('not_found', 'Nothing was paid.', { remedy: 'Check the hash.' })
      }
      if (view.payments.length === 0) pay(invoice)
      return structuredClone(view)
    },
    txidOf: (invoice) => paymentOf(find(invoice).view).txid,
    purse: memoryPurse(find, pay, nextId),
    forAccount: (account) => {
      const state = stateOf(account)
      return {
        listOffers: async () => offers(payeeOf(key)),
        async createInvoice(input) {
          const body = JSON.stringify([input.rail, input.pack, input.credits])
          const scopedKey = `${account}:${input.idempotency_key}`
          const before =
            input.idempotency_key === undefined ? undefined : invoices.get(keyed.get(scopedKey) ?? '')
          if (before && before.body !== body) throw conflict()
          if (before) return structuredClone(before.view)
          const view = newInvoice(nextId('inv'), input, key, now())
          invoices.set(view.id, { account, view, body })
          if (input.idempotency_key !== undefined) keyed.set(scopedKey, view.id)
          return structuredClone(view)
        },
        getInvoice: async (id) => structuredClone(find(id, account).view),
        async awaitPayment({ invoice, timeout_ms, signal, onProgress }) {
          const held = find(invoice, account)
          const until = now() + timeout_ms
          onProgress?.(structuredClone(held.view))
          while (held.view.state !== 'paid' && now() < until) {
            await delay(20, undefined, signal ? { signal } : {}).catch((reason: unknown) => {
              cancelled.push(invoice)
              throw reason
            })
            if (held.view.state !== 'processing') continue
            confirm(held)
            onProgress?.(structuredClone(held.view))
          }
          return { invoice: structuredClone(held.view), timed_out: held.view.state !== 'paid' }
        },
        getBalance: async () => ({
          account,
          available: formatCredits(state.available),
          held: formatCredits(0n),
          next_expiry:
            state.available > 0n
              ? { credits: formatCredits(state.available), at: new Date(now() + 86_400_000).toISOString() }
              : null,
          burn_rate_per_day: formatCredits(0n),
          runway_days: null,
          frozen: false,
          allowance: null,
        }),
        async callModel(input) {
          if (input.model === 'faulty') throw new Error(`cannot reach the upstream with ${SECRET}`)
          if (input.model !== 'echo') {
            throw new BursarError('unknown_model', `There is no model ${JSON.stringify(input.model)}.`, {
              remedy: 'Take a model of list_offers.',
            })
          }
          const body = JSON.stringify([input.model, input.messages, input.max_tokens, input.temperature])
          const before = state.answers.get(input.idempotency_key ?? '')
          if (before && before.body !== body) throw conflict()
          if (before) return { ...before.result, replayed: true }
          const result = charge(state, input.messages.at(-1)?.content ?? '', nextId('rcpt'), now())
          if (input.idempotency_key !== undefined) state.answers.set(input.idempotency_key, { body, result })
          return result
        },
        async listUsage({ limit = 20, cursor }) {
          const from = cursor === undefined ? 0 : Number(cursor)
          const calls = state.usage.toReversed().slice(from, from + limit)
          const end = from + calls.length
          return { calls, next_cursor: end < state.usage.length ? String(end) : null }
        },
      }
    },
  }
  return till
}

function memoryPurse(
  find: (id: string) => Held,
  pay: (id: string) => void,
  nextId: (prefix: string) => string,
): PurseClient {
  const payments = new Map<string, PursePayment>()
  let spent = 0n
  const left = (): PursePayment['budget_left'] => ({
    day_usd: formatUsd(BUDGET_USD - spent),
    month_usd: formatUsd(BUDGET_USD - spent),
  })
  return {
    async pay({ signed }) {
      const {
        invoice: id,
        recipient,
        amount,
      } = JSON.parse(signed.payload) as {
        invoice: string
        recipient: string
        amount: string
      }
      const before = payments.get(id)
      if (before) return { ...before, replayed: true }
      const { view } = find(id)
      const usd = BigInt(Math.round(Number(view.usd) * 1_000_000))
      if (spent + usd > BUDGET_USD) {
        throw new BursarError(
          'budget_exceeded',
          `$${view.usd} is more than the $${left().day_usd} left for today.`,
          {
            remedy: 'Ask the owner of the purse, or buy fewer credits.',
            details: { amount_usd: view.usd, left_usd: left().day_usd },
          },
        )
      }
      spent += usd
      pay(id)
      const payment: PursePayment = {
        id: nextId('pay'),
        invoice: id,
        payee: 'Test till',
        state: 'broadcast',
        note: null,
        rail: view.rail,
        network: 'eip155:1',
        recipient,
        amount,
        amount_display: view.amount_display,
        usd: view.usd,
        fee_usd: '0.01',
        charged_usd: view.usd,
        txid: view.payments[0]?.txid ?? null,
        block: null,
        budget_left: left(),
        replayed: false,
      }
      payments.set(id, payment)
      return payment
    },
    find: async (id) => payments.get(id) ?? null,
    status: async () => ({
      address: ADDRESS,
      per_payment_usd: '20.00',
      budget_left: left(),
      payees: [],
      balances: [],
    }),
  }
}

function offers(payee: string): Awaited<ReturnType<Bursar['listOffers']>> {
  return {
    seller: 'Test till',
    payee,
    credit_usd: formatUsd(CREDIT_USD),
    packs: [
      { id: 'small', credits: '10.000000', usd: '1.00', discount_percent: '0', expires_after_days: 365 },
      { id: 'huge', credits: '1000.000000', usd: '100.00', discount_percent: '0', expires_after_days: null },
    ],
    rails: [{ id: RAIL, asset: 'ETH', decimals: 18, network: 'a chain in memory' }],
    models: [{ id: 'echo', credits_per_call: '0.500000', max_output_tokens: 1000 }],
  }
}

function newInvoice(id: string, input: CreateInvoice, key: KeyObject, now: number): InvoiceView {
  if (input.rail !== RAIL) throw invalid(`No rail ${input.rail}.`, { remedy: 'Take a rail of list_offers.' })
  const pack = offers('').packs.find((offer) => offer.id === input.pack)
  if (input.pack !== undefined && !pack)
    throw invalid('No such pack.', { remedy: 'Take a pack of list_offers.' })
  const credits = parseCredits(pack?.credits ?? input.credits ?? '0')
  const usd = creditsToUsd(credits, CREDIT_USD)
  // $2000 an ether, as atomic units: 10^18 wei / 2 * 10^9 micro-USD.
  const amount = (usd * 500_000_000n).toString()
  const expires = now + 900_000
  const payload = {
    v: 1 as const,
    payee: payeeOf(key),
    invoice: id,
    rail: RAIL,
    network: 'eip155:1',
    contract: null,
    recipient: ADDRESS,
    amount,
    expires_at: expires,
  }
  return {
    id,
    state: 'open',
    flags: [],
    rail: RAIL,
    asset: 'ETH',
    decimals: 18,
    amount,
    amount_display: `${Number(amount) / 1e18} ETH`,
    usd: formatUsd(usd),
    credits: formatCredits(credits),
    address: ADDRESS,
    payment_uri: `ethereum:${ADDRESS}@1?value=${amount}`,
    rate: { usd: '2000.00', source: 'fixed', at: new Date(now).toISOString() },
    created_at: new Date(now).toISOString(),
    expires_at: new Date(expires).toISOString(),
    payments: [],
    missing: amount,
    credits_granted: formatCredits(0n),
    signed: signInvoice(payload, key),
  }
}

function paymentOf(view: InvoiceView): PaymentView {
  return {
    state: 'confirming',
    rail: view.rail,
    amount: view.amount,
    txid: `0x${Buffer.from(view.id).toString('hex').padStart(64, '0').slice(-64)}`,
    block: 7,
    confirmations: 0,
    confirmations_needed: CONFIRMATIONS,
    waiting_for: null,
    credits: formatCredits(0n),
  }
}

function charge(state: AccountState, text: string, receipt: string, now: number): CallResult {
  const price = MICRO / 2n
  if (state.available < price) {
    throw new BursarError(
      'insufficient_credits',
      'This call may cost 0.500000 credits; fewer are available.',
      {
        remedy: 'Buy credits with create_invoice.',
        details: {
          available: formatCredits(state.available),
          held: formatCredits(0n),
          required: formatCredits(price),
          reason: 'empty',
        },
      },
    )
  }
  state.available -= price
  const usage = { input_tokens: 1, output_tokens: text.length, source: 'fixed' as const }
  const at = new Date(now).toISOString()
  state.usage.push({
    receipt,
    model: 'echo',
    state: 'charged',
    usage,
    held: formatCredits(price),
    charged: formatCredits(price),
    started_at: at,
    finished_at: at,
    upstream: 'memory',
    upstream_request_id: null,
    price_version: null,
    note: null,
  })
  return {
    text,
    model: 'echo',
    finish_reason: 'stop',
    usage,
    held: formatCredits(price),
    charged: formatCredits(price),
    available: formatCredits(state.available),
    receipt,
    replayed: false,
  }
}

function conflict(): BursarError {
  return new BursarError('idempotency_conflict', 'This idempotency key belongs to another request.', {
    remedy: 'Use a new key for a new request.',
  })
}
