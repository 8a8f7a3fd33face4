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
  UsageEntry,
  UsagePage,
} from '../bursar.ts'
import { awaitPayment } from './await-payment.ts'
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
}

export interface Usage extends AsyncIterable<UsageEntry> {
  /** One page, from `query.cursor` on. */
  page(): Promise<UsagePage>
  pages(): AsyncGenerator<UsagePage, void>
}

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
    balance: (more) => get('/v1/balance', more),
    usage: (query = {}, more) => usage((at) => get(`/v1/usage${queryOf({ ...query, ...at })}`, more)),
    callModel: (input, more) =>
      spend(transport, '/v1/calls', input, {
        ...more,
        timeoutMs: Math.max(options.timeoutMs ?? 0, CALL_TIMEOUT_MS),
      }),
    holds: holdsOver(transport),
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

function usage(read: (at: { cursor?: string }) => Promise<UsagePage>): Usage {
  async function* pages(): AsyncGenerator<UsagePage, void> {
    let page = await read({})
    for (;;) {
      yield page
      if (page.next_cursor === null) return
      page = await read({ cursor: page.next_cursor })
    }
  }
  return {
    page: () => read({}),
    pages,
    async *[Symbol.asyncIterator]() {
      for await (const page of pages()) yield* page.calls
    },
  }
}

function queryOf(query: ListUsage): string {
  const given = Object.entries(query).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, String(value)]],
  )
  return given.length === 0 ? '' : `?${new URLSearchParams(given).toString()}`
}
