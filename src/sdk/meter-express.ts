/** The meter for Express, and whatever else passes Node's own requests and responses with a `next`. */
import { BursarError } from '../errors.ts'
import { shutAnswer } from './answered.ts'
import { sha256 } from './hash.ts'
import { checkOptions, type Metered, type MeterOptions, openTab, refusalHeaders, type Tab } from './tab.ts'

/** Of a request, what the meter reads. */
export interface NodeRequest {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly originalUrl?: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** As a body parser left it. */
  readonly body?: unknown
}

/** Of a response, what the meter watches. */
export interface NodeResponse {
  statusCode: number
  readonly headersSent: boolean
  readonly writableEnded: boolean
  readonly destroyed?: boolean
  readonly socket?: { readonly destroyed: boolean } | null
  setHeader(name: string, value: string): unknown
  end: (...args: never[]) => unknown
  destroy?: (...args: never[]) => unknown
  once(event: 'close', listener: () => void): unknown
}

/**
 * A handler that is paid in credits, as `meter` makes one: `app.post('/x', meter.express(options, (req, res) => ...))`.
 * The end of the answer waits until it is charged.
 */
export function meterExpress<Req extends NodeRequest, Res extends NodeResponse>(
  options: MeterOptions<Req>,
  handler: (request: Req, response: Res, metered: Metered) => unknown,
): (request: Req, response: Res, next: (error?: unknown) => void) => void {
  checkOptions(options)
  return (request, response, next) => {
    const serve = async (): Promise<void> => {
      try {
        await run(options, handler, { request, response, next })
      } catch (error) {
        next(error)
      }
    }
    void serve()
  }
}

interface Exchange<Req, Res> {
  readonly request: Req
  readonly response: Res
  readonly next: (error: unknown) => void
}

async function run<Req extends NodeRequest, Res extends NodeResponse>(
  options: MeterOptions<Req>,
  handler: (request: Req, response: Res, metered: Metered) => unknown,
  { request, response, next }: Exchange<Req, Res>,
): Promise<void> {
  const client: Client = { gone: response.destroyed === true, leaves: () => undefined }
  response.once('close', () => {
    client.gone = true
    client.leaves()
  })
  let tab: Tab
  try {
    tab = await openTab(options, request, factsOf(request))
  } catch (thrown) {
    if (!(thrown instanceof BursarError)) throw thrown
    refuse(response, thrown)
    return
  }
  // The handler would hear of no `close` any more, and might go on for ever.
  if (client.gone) return await tab.failed()
  const { charges = (status) => status < 400 } = options
  const { leave, fail } = settleWith({ response, client, tab, charges, next })
  try {
    await handler(request, response, tab.metered)
    // Nobody is there to be answered, so it may have left it at that.
    if (client.gone) await leave()
  } catch (thrown) {
    await fail()
    throw thrown
  }
}

interface Client {
  gone: boolean
  /** Called when it goes. */
  leaves: () => void
}

interface Settling {
  /** The client has gone before the answer's end: what was being answered decides. */
  leave(): Promise<void>
  /** The handler threw. Resolves when an answer that it had given before is on its way. */
  fail(): Promise<void>
}

interface Served {
  readonly response: NodeResponse
  readonly client: Client
  readonly tab: Tab
  readonly charges: (status: number) => boolean
  /** Told of an answer that cannot be sent. */
  readonly next: (error: unknown) => void
}

function settleWith({ response, client, tab, charges, next }: Served): Settling {
  let ended: Promise<void> | null = null
  let broken = false
  const leave = async (): Promise<void> => {
    if (!charges(response.statusCode)) await tab.failed()
    else await (broken ? tab.broke() : tab.left())
  }
  client.leaves = () => {
    // Before there is an answer, what the handler makes of it decides.
    if (response.headersSent) void leave().catch(() => tab.failed())
  }
  const end = response.end as (...args: unknown[]) => unknown
  const settleThen = async (charged: boolean, finish: () => unknown): Promise<void> => {
    const reopen = shutAnswer(response)
    const headers = charged ? await tab.served() : await tab.failed()
    reopen()
    setHeaders(response, headers ?? {})
    try {
      finish()
    } catch (thrown) {
      next(thrown)
    }
  }
  setHeaders(response, tab.headers)
  response.end = (...args: unknown[]) => {
    // It throws, as it should, while its handler can still hear of it.
    if (!canEndWith(args[0])) return end.apply(response, args)
    const charged = charges(response.statusCode)
    response.end = end
    ended = settleThen(charged, () => end.apply(response, args))
    return response
  }
  const destroy = response.destroy as ((...args: unknown[]) => unknown) | undefined
  if (destroy) {
    response.destroy = (...args: unknown[]) => {
      // Where the client went first, it is no longer the handler that breaks it off.
      if (response.socket?.destroyed !== true) broken = true
      return destroy.apply(response, args)
    }
  }
  return {
    leave,
    async fail() {
      if (ended) return await ended
      // What an error handler answers is no longer the handler's.
      response.end = end
      broken = true
      await (response.headersSent ? leave() : tab.failed())
    },
  }
}

function canEndWith(first: unknown): boolean {
  return first == null || ['string', 'function'].includes(typeof first) || first instanceof Uint8Array
}

function setHeaders(response: NodeResponse, headers: Record<string, string>): void {
  if (response.headersSent) return
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
}

function refuse(response: NodeResponse, error: BursarError): void {
  response.statusCode = error.status
  setHeaders(response, refusalHeaders(error))
  const end = response.end as (body: string) => unknown
  end.call(response, JSON.stringify(error.toProblem()))
}

function factsOf(request: NodeRequest) {
  const url = request.originalUrl ?? request.url ?? '/'
  return {
    path: url.split('?')[0] ?? url,
    header(name: string): string | null {
      const value = request.headers[name]
      return (Array.isArray(value) ? value[0] : value) ?? null
    },
    fingerprint: () => sha256(`${request.method ?? ''} ${url}\n${JSON.stringify(request.body ?? null)}`),
  }
}
