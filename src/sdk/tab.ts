/**
 * What one metered request runs up: held before its handler runs, settled once when it has ended, however it ends.
 */
import type { HoldOptions, Holds, HoldView } from '../bursar.ts'
import { BursarError, invalid } from '../errors.ts'
import { formatCredits, MAX_MICRO, type MicroCredits, parseCredits } from '../money.ts'
import { hex, sha256 } from './hash.ts'

/** Whose credits pay: the buyer's own key, or with a seller's client an account by either of its names. */
export type Payer = { readonly key: string } | { readonly account: string } | { readonly external_id: string }

export interface MeterOptions<Asked> {
  /** Where credits are held: `createClient(...)`, or a till in this process. */
  readonly till: { readonly holds: Holds; readonly url?: string }
  /** Credits, decimal text: what a request costs, or with a function the most that it can cost. 0: nothing is held. */
  readonly price: string | ((request: Asked) => string | Promise<string>)
  /** What is sold, as receipts name it; by default the path of the request. */
  readonly name?: string
  /** By default the key that the request brings, `Authorization: Bearer` or `x-api-key`. */
  readonly account?: (request: Asked) => Payer | Promise<Payer>
  /** The longest that a request can take: after it the hold lapses, and nothing is charged. 300 by default. */
  readonly lifetimeSeconds?: number
  /** Whether an answer is charged, by its status; below 400 by default. */
  readonly charges?: (status: number) => boolean
  /** What could not be charged although it was served, or cost more than was held. By default on the error console. */
  readonly onError?: (error: BursarError) => unknown
}

/** What a handler is given of the meter. */
export interface Metered {
  /** Null when the request costs nothing. */
  readonly hold: HoldView | null
  /**
   * Adds to what is charged, in credits. Without a call the whole price is charged; with calls their sum, at most the
   * price.
   */
  charge(credits: string): void
}

/** What a request says of itself, whatever framework it came through. */
export interface Facts {
  readonly path: string
  header(name: string): string | null
  /** SHA-256, hex, of what was asked. */
  fingerprint(): Promise<string>
}

export interface Tab {
  readonly metered: Metered
  /** Served: charges. */
  served(): Promise<Record<string, string>>
  /** Not served: gives all of it back. */
  failed(): Promise<void>
  /** Broke off while it was being served: charges what the handler has charged so far. */
  broke(): Promise<void>
  /** The client left while it was being served: charges what the handler has charged so far, else the price. */
  left(): Promise<void>
  readonly headers: Record<string, string>
}

const FREE: Tab = {
  metered: { hold: null, charge: () => undefined },
  served: async () => ({}),
  failed: async () => undefined,
  broke: async () => undefined,
  left: async () => undefined,
  headers: {},
}

const RETRY_AFTER_MS = 2_000

/**
 * @throws {BursarError} what the buyer is to be told: unauthorized, insufficient_credits, allowance_exceeded, frozen,
 *   conflict and idempotency_conflict (a repeated Idempotency-Key), till_unavailable
 */
export async function openTab<Asked>(
  options: MeterOptions<Asked>,
  request: Asked,
  facts: Facts,
): Promise<Tab> {
  const payer = options.account ? await options.account(request) : { key: keyOf(facts) }
  const price = priceOf(typeof options.price === 'string' ? options.price : await options.price(request))
  if (price === 0n) return FREE
  const unlock = hex(crypto.getRandomValues(new Uint8Array(32)))
  const lock = await sha256(unlock)
  const key = idempotencyKeyOf(facts)
  const { key: apiKey, ...whose } = 'key' in payer ? payer : { ...payer, key: undefined }
  const using: HoldOptions = apiKey === undefined ? {} : { key: apiKey }
  const hold = await explained(options.till, apiKey !== undefined, async () =>
    options.till.holds.create(
      {
        ...whose,
        amount: formatCredits(price),
        name: options.name ?? facts.path.slice(0, 200),
        lock,
        ...(options.lifetimeSeconds === undefined ? {} : { lifetime_seconds: options.lifetimeSeconds }),
        ...(key === null ? {} : { idempotency_key: key, request_hash: await facts.fingerprint() }),
      },
      using,
    ),
  )
  // Only the request that made the hold knows its secret: any other is a repetition.
  if (hold.lock !== lock) throw repeated(hold)
  return tabOf(options, { hold, price, unlock, using })
}

interface Opened {
  readonly hold: HoldView
  readonly price: MicroCredits
  readonly unlock: string
  readonly using: HoldOptions
}

function tabOf(
  { till: { holds }, onError = complain }: Pick<MeterOptions<never>, 'till' | 'onError'>,
  { hold, price, unlock, using }: Opened,
): Tab {
  let sum: MicroCredits | null = null
  let settled: Promise<HoldView | null> | null = null

  /** A listener that fails must not take the answer with it. */
  async function tell(error: BursarError): Promise<void> {
    try {
      await onError(error)
    } catch {
      complain(error)
    }
  }

  function charge(credits: string): void {
    const before: MicroCredits = sum ?? 0n
    const after = before + parseCredits(credits, 'charge')
    sum = after > price ? price : after
    if (after > price && before <= price) void tell(overrun(hold, after))
  }

  /** The first outcome counts. What was served is served: that it could not be charged is told to the seller. */
  function settle(act: () => Promise<HoldView>): Promise<HoldView | null> {
    settled ??= act().catch((thrown: unknown) => {
      void tell(notSettled(hold, thrown))
      return null
    })
    return settled
  }
  const capture = (amount: MicroCredits): Promise<HoldView | null> =>
    settle(() => holds.capture(hold.id, { amount: formatCredits(amount), unlock }, using))
  const release = (): Promise<HoldView | null> => settle(() => holds.release(hold.id, { unlock }, using))

  return {
    metered: { hold, charge },
    headers: { 'x-bursar-receipt': hold.id },
    async served() {
      const ended = await capture(sum ?? price)
      return ended ? { 'x-bursar-charged': ended.charged, 'x-bursar-balance': ended.available } : {}
    },
    async failed() {
      await release()
    },
    async broke() {
      await (sum === null ? release() : capture(sum))
    },
    async left() {
      await capture(sum ?? price)
    },
  }
}

/** A price that cannot be one is the seller's mistake, and no answer to a buyer. */
function priceOf(text: unknown): MicroCredits {
  try {
    if (typeof text !== 'string')
      throw invalid('A number may not be what it looks like: 0.1 + 0.2 is not 0.3.')
    const price = parseCredits(text, 'price')
    if (price > MAX_MICRO) throw invalid('A price is at most a billion credits.')
    return price
  } catch (cause) {
    throw new TypeError(
      `A metered price must be credits as decimal text, such as "0.05", and at most a billion, not ${String(text)}.`,
      { cause },
    )
  }
}

/** As a till limits them: what it would refuse is not told to every buyer. */
const LONGEST_LIFETIME_S = 86_400
const LONGEST_NAME = 200

/** @throws {TypeError} a mistake that every request would meet */
export function checkOptions({ price, name = '-', lifetimeSeconds = 1 }: MeterOptions<never>): void {
  if (typeof price !== 'function') priceOf(price)
  if (!Number.isInteger(lifetimeSeconds) || lifetimeSeconds < 1 || lifetimeSeconds > LONGEST_LIFETIME_S) {
    throw new TypeError(`lifetimeSeconds must be a whole number from 1 to ${LONGEST_LIFETIME_S}.`)
  }
  if (name.length > LONGEST_NAME || name.trim() !== name || !/^[^\p{Cc}\p{Cs}]+$/u.test(name)) {
    throw new TypeError(`A metered name has 1 to ${LONGEST_NAME} characters, without outer spaces.`)
  }
}

function keyOf({ header }: Facts): string {
  const bearer = /^Bearer +([^\s]+) *$/i.exec(header('authorization') ?? '')?.[1]
  const key = bearer ?? header('x-api-key')
  if (key) return key
  throw new BursarError('unauthorized', 'This needs an API key, whose credits pay for it.', {
    remedy: 'Send "Authorization: Bearer bk_..." or "x-api-key: bk_...".',
  })
}

function idempotencyKeyOf({ header }: Facts): string | null {
  const key = header('idempotency-key')
  if (key === null || /^[!-~]{1,128}$/.test(key)) return key
  throw invalid('An Idempotency-Key is 1 to 128 printable ASCII characters without spaces.')
}

/** What a till says of the seller's own key is not the buyer's business; where to top up is. */
async function explained<T>(
  { url }: { readonly url?: string },
  buyersKey: boolean,
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act()
  } catch (thrown) {
    if (!(thrown instanceof BursarError)) throw thrown
    const { code, message, remedy, details } = thrown
    if (!buyersKey && ['unauthorized', 'forbidden', 'invalid_request'].includes(code)) {
      throw new Error(`The till refuses the meter itself: ${message}`, { cause: thrown })
    }
    if (thrown.status !== 402 || url === undefined) throw thrown
    throw new BursarError(code, message, {
      details: { ...details, till: url },
      ...(remedy === undefined ? {} : { remedy }),
    })
  }
}

function repeated({ id, state }: HoldView): BursarError {
  if (state === 'held') {
    return new BursarError('conflict', 'A request with this idempotency key is still running.', {
      remedy: 'Wait for its answer.',
      details: { receipt: id, retry_after_ms: RETRY_AFTER_MS },
    })
  }
  return new BursarError(
    'idempotency_conflict',
    'The request with this idempotency key has ended; its answer is not kept.',
    {
      remedy: `See what receipt ${id} was charged (list_usage); use a new key to ask again.`,
      details: { receipt: id },
    },
  )
}

function overrun({ id, amount }: HoldView, cost: MicroCredits): BursarError {
  return new BursarError('internal', `A request cost ${formatCredits(cost)} credits; ${amount} were held.`, {
    remedy: 'Let the price be the most that a request can cost. The price is charged.',
    details: { receipt: id },
  })
}

function notSettled({ id, amount }: HoldView, cause: unknown): BursarError {
  const why = cause instanceof BursarError ? cause.message : 'the till could not be asked.'
  return new BursarError('internal', `The hold ${id} of ${amount} credits was not settled: ${why}`, {
    remedy: 'It lapses by itself, uncharged. Give long requests a longer lifetimeSeconds.',
    details: { receipt: id },
    cause,
  })
}

function complain(error: BursarError): void {
  // oxlint-disable-next-line no-console -- the log of the service that is metered, whose protocol is not on stdio
  console.error(`bursar: ${error.message} ${error.remedy ?? ''}`)
}

/** Headers of a refusal, as a till sends them. */
export function refusalHeaders(error: BursarError): Record<string, string> {
  const wait = error.details['retry_after_ms']
  return {
    'content-type': 'application/problem+json',
    'cache-control': 'no-store',
    ...(error.code === 'unauthorized' ? { 'www-authenticate': 'Bearer realm="bursar"' } : {}),
    ...(typeof wait === 'number' ? { 'retry-after': String(Math.ceil(wait / 1000)) } : {}),
    ...(error.code === 'conflict' ? { 'x-should-retry': 'true' } : {}),
    ...(error.status < 500 && error.code !== 'conflict' && error.code !== 'rate_limited'
      ? { 'x-should-retry': 'false' }
      : {}),
  }
}
