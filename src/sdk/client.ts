/** A till over HTTP, typed: what its API offers, with retries that are never charged twice. */
import type {
  BalanceView,
  CallModel,
  CallResult,
  CreateInvoice,
  Holds,
  InvoiceView,
  ListUsage,
  Offers,
  PaymentClaim,
  UsageEntry,
  UsagePage,
} from '../bursar.ts'
import { type Accounts, type Agents, accountsOver, agentsOver, type Keys, keysOver } from './accounts.ts'
import { awaitPayment } from './await-payment.ts'
import { listed, type Paged } from './pages.ts'
import { type ClientOptions, createTransport, type RequestOptions, type Transport } from './request.ts'

export interface Client {
  /** Where the till is, without a slash at the end. */
  readonly url: string
  offers(options?: RequestOptions): Promise<Offers>
  /** Costs nothing until it is paid. */
  createInvoice(input: CreateInvoice, options?: RequestOptions): Promise<InvoiceView>
  getInvoice(id: string, options?: RequestOptions): Promise<InvoiceView>
  /**
   * The invoice now, and again whenever it changes, until it is paid or can no longer be. Goes on over broken
   * connections; break off with the loop, or with `signal`.
   */
  awaitPayment(id: string, options?: RequestOptions): AsyncGenerator<InvoiceView, void>
  /**
   * Credits a payment to this invoice that a contract made and that the till's endpoints do not show by themselves. With
   * the key that the invoice belongs to, or the seller's. Safe to repeat: a payment is credited once.
   *
   * @throws {BursarError} not_found (no such invoice, or the transaction paid nothing to its address), conflict (its
   *   block has not been read yet), invalid_request (its chain needs no claims), chain_unavailable
   */
  claimPayment(invoice: string, claim: PaymentClaim, options?: RequestOptions): Promise<InvoiceView>
  balance(options?: RequestOptions): Promise<BalanceView>
  /** Receipts, newest first: `for await (const receipt of client.usage())` reads page after page. */
  usage(query?: ListUsage, options?: RequestOptions): Usage
  /**
   * Asks a model. For streams, tools and images use your provider's own SDK, with the till as its base URL.
   *
   * @throws {BursarError} insufficient_credits, unknown_model, upstream_error (its details say what was charged)
   */
  callModel(input: CallModel, options?: RequestOptions): Promise<CallResult>
  /** For services that meter themselves; `meter()` does it for you. */
  readonly holds: Holds
  readonly accounts: Accounts
  readonly agents: Agents
  readonly keys: Keys
}

export type Usage = Paged<UsageEntry, UsagePage>

/** A model may take as long as its upstream does. */
const CALL_TIMEOUT_MS = 900_000

/** @throws {BursarError} invalid_request: no URL, or something that cannot be a key. */
export function createClient(options: ClientOptions): Client {
  const transport = createTransport(options)
  const get = <T>(path: string, more: RequestOptions = {}): Promise<T> =>
    transport.json<T>({ ...more, method: 'GET', path })
  return {
    url: transport.url,
    offers: (more) => get('/v1/offers', more),
    createInvoice: (input, more) => spend(transport, '/v1/invoices', input, more),
    getInvoice: (id, more) => get(`/v1/invoices/${encodeURIComponent(id)}`, more),
    awaitPayment: (id, more) => awaitPayment(transport, id, more),
    claimPayment: (id, body, more) =>
      transport.json({ ...more, method: 'POST', path: `/v1/invoices/${encodeURIComponent(id)}/claim`, body }),
    balance: (more) => get('/v1/balance', more),
    usage: (query: ListUsage = {}, more = {}) =>
      listed(transport, { path: '/v1/usage', query, more }, ({ calls }: UsagePage) => calls),
    callModel: (input, more) =>
      spend(transport, '/v1/calls', input, {
        ...more,
        timeoutMs: Math.max(options.timeoutMs ?? 0, CALL_TIMEOUT_MS),
      }),
    holds: holdsOver(transport),
    accounts: accountsOver(transport),
    agents: agentsOver(transport),
    keys: keysOver(transport),
  }
}

function holdsOver(transport: Transport): Holds {
  const at = (id: string): string => `/v1/holds/${encodeURIComponent(id)}`
  return {
    create: (input, more) => spend(transport, '/v1/holds', input, more),
    get: (id, more) => transport.json({ ...more, method: 'GET', path: at(id) }),
    // Safe to repeat without a key: the first outcome of a hold counts, and the same one is answered the same.
    capture: (id, body, more) => transport.json({ ...more, method: 'POST', path: `${at(id)}/capture`, body }),
    release: (id, body = {}, more) =>
      transport.json({ ...more, method: 'POST', path: `${at(id)}/release`, body }),
  }
}

/** A POST under an idempotency key that all its attempts share. */
function spend<T>(
  transport: Transport,
  path: string,
  { idempotency_key: idempotencyKey = transport.id(), ...body }: { readonly idempotency_key?: string },
  more: RequestOptions & { readonly timeoutMs?: number } = {},
): Promise<T> {
  return transport.json<T>({ ...more, method: 'POST', path, body, idempotencyKey })
}
