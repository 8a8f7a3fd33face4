/** The meter for handlers of the fetch kind: Hono, Next.js, Workers, Deno. */
import { BursarError } from '../errors.ts'
import { sha256 } from './hash.ts'
import { checkOptions, type Metered, type MeterOptions, openTab, refusalHeaders, type Tab } from './tab.ts'

/**
 * A handler that is paid in credits: held before it runs, charged when its answer is there (a stream's at its end),
 * given back when it throws or answers 400 or above.
 *
 * The handler gets what the meter gives it after the request, then whatever else its framework passes.
 */
export function meterFetch<Rest extends unknown[]>(
  options: MeterOptions<Request>,
  handler: (request: Request, metered: Metered, ...rest: Rest) => Response | Promise<Response>,
): (request: Request, ...rest: Rest) => Promise<Response> {
  checkOptions(options)
  const { charges = (status) => status < 400 } = options
  return async (request, ...rest) => {
    let tab: Tab
    try {
      tab = await openTab(withCopies(options, request), request, factsOf(request))
    } catch (thrown) {
      if (!(thrown instanceof BursarError)) throw thrown
      const { status } = thrown
      return new Response(JSON.stringify(thrown.toProblem()), { status, headers: refusalHeaders(thrown) })
    }
    const signal = signalOf(request)
    if (signal?.aborted) {
      await tab.failed()
      return new Response(null, { status: CLIENT_CLOSED_REQUEST })
    }
    let response: Response
    let charged: boolean
    try {
      response = sendable(await handler(request, tab.metered, ...rest))
      charged = charges(response.status)
    } catch (thrown) {
      await tab.failed()
      throw thrown
    }
    if (!charged) {
      await tab.failed()
      return withHeaders(response, tab.headers)
    }
    // Nobody reads the body of an answer to HEAD: its end never comes.
    if (request.method === 'HEAD' || isWhole(response)) {
      return withHeaders(response, { ...tab.headers, ...(await tab.served()) })
    }
    return withHeaders(metredStream(response, tab, signal), tab.headers)
  }
}

/** What proxies write into their logs for a client that has left; nobody gets it. */
const CLIENT_CLOSED_REQUEST = 499

/** Whatever the types say, not every runtime gives an incoming request one: Workers only where they are told to. */
function signalOf({ signal }: { readonly signal?: AbortSignal | null }): AbortSignal | null {
  return signal ?? null
}

/** What is asked before the handler reads a copy of the body each: the handler's is left. Of one that is read, there is none. */
function withCopies(options: MeterOptions<Request>, request: Request): MeterOptions<Request> {
  const { price, account } = options
  const copy = (): Request => (hasBody(request) ? request.clone() : request)
  return {
    ...options,
    price: typeof price === 'function' ? () => price(copy()) : price,
    ...(account ? { account: () => account(copy()) } : {}),
  }
}

/** Also false where a middleware has read it, and gives it to the handler by itself. */
function hasBody({ body, bodyUsed }: Request): boolean {
  return body !== null && !bodyUsed
}

/** @throws {TypeError} the handler has returned nothing that could be sent */
function sendable(response: Response): Response {
  const { status } = Object(response) as { readonly status?: unknown }
  if (typeof status !== 'number') throw new TypeError('A metered handler must return a Response.')
  if (!response.bodyUsed && !response.body?.locked) return response
  throw new TypeError('A metered handler must return a Response whose body nobody has read.')
}

function factsOf(request: Request) {
  const { pathname, search } = new URL(request.url)
  return {
    path: pathname,
    header: (name: string) => request.headers.get(name),
    async fingerprint(): Promise<string> {
      const body = hasBody(request) ? await request.clone().arrayBuffer() : new ArrayBuffer(0)
      const head = new TextEncoder().encode(`${request.method} ${pathname}${search}\n`)
      const all = new Uint8Array(head.length + body.byteLength)
      all.set(head)
      all.set(new Uint8Array(body), head.length)
      return sha256(all)
    },
  }
}

/** Every answer has a body that is a stream; these are known to be complete. */
function isWhole({ body, headers }: Response): boolean {
  if (body === null || headers.has('content-length')) return true
  return /^application\/(?:[\w.-]+\+)?json *(?:;|$)/i.test(headers.get('content-type') ?? '')
}

/** Charged before its end is passed on: whoever has read the whole answer finds it charged. */
function metredStream(response: Response, tab: Tab, signal: AbortSignal | null): Response {
  if (response.body === null) return response
  const reader = response.body.getReader()
  const leave = (): void => {
    void tab.left()
    void reader.cancel(signal?.reason).catch(() => undefined)
  }
  // Nobody may ever read an answer whose client has gone already.
  if (signal?.aborted) leave()
  else signal?.addEventListener('abort', leave, { once: true })
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read()
          if (!done) {
            controller.enqueue(value)
            return
          }
          await tab.served()
          signal?.removeEventListener('abort', leave)
          controller.close()
        } catch (thrown) {
          await tab.broke()
          controller.error(thrown)
        }
      },
      async cancel(reason) {
        const charged = tab.left()
        await reader.cancel(reason).catch(() => undefined)
        await charged
      },
    },
    { highWaterMark: 0 },
  )
  return new Response(body, response)
}

function withHeaders(response: Response, headers: Record<string, string>): Response {
  if (Object.keys(headers).length === 0) return response
  try {
    for (const [name, value] of Object.entries(headers)) response.headers.set(name, value)
    return response
  } catch {
    // What came from fetch cannot be changed.
    return withHeaders(new Response(response.body, response), headers)
  }
}
