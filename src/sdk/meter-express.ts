/** The meter for Express, and whatever else passes Node's own requests and responses with a `next`. */
import { BursarError } from '../errors.ts'
import { sha256 } from './hash.ts'
import { checkPrice, type Metered, type MeterOptions, openTab, refusalHeaders, type Tab } from './tab.ts'

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
  setHeader(name: string, value: string): unknown
  end: (...args: never[]) => unknown
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
  checkPrice(options.price)
  return (request, response, next) => {
    const serve = async (): Promise<void> => {
      try {
        await run(options, handler, request, response)
      } catch (error) {
        next(error)
      }
    }
    void serve()
  }
}

async function run<Req extends NodeRequest, Res extends NodeResponse>(
  options: MeterOptions<Req>,
  handler: (request: Req, response: Res, metered: Metered) => unknown,
  request: Req,
  response: Res,
): Promise<void> {
  let tab: Tab
  try {
    tab = await openTab(options, request, factsOf(request))
  } catch (thrown) {
    if (!(thrown instanceof BursarError)) throw thrown
    refuse(response, thrown)
    return
  }
  const { isGone, leave } = settleWith(response, tab, options.charges ?? ((status) => status < 400))
  try {
    await handler(request, response, tab.metered)
    // Nobody is there to be answered, so it may have left it at that.
    if (isGone()) await leave()
  } catch (thrown) {
    await (response.headersSent ? tab.broke() : tab.failed())
    throw thrown
  }
}

interface Settling {
  /** Whether the client has gone. */
  isGone(): boolean
  /** It has gone before the answer's end: what was being answered decides. */
  leave(): Promise<void>
}

function settleWith(response: NodeResponse, tab: Tab, charges: (status: number) => boolean): Settling {
  let gone = false
  const leave = (): Promise<void> => (charges(response.statusCode) ? tab.left() : tab.failed())
  const end = response.end as (...args: unknown[]) => unknown
  const settleThen = async (finish: () => unknown): Promise<void> => {
    if (charges(response.statusCode)) setHeaders(response, await tab.served())
    else await tab.failed()
    // An error handler may have ended it meanwhile.
    if (!response.writableEnded) finish()
  }
  setHeaders(response, tab.headers)
  response.once('close', () => {
    gone = true
    // Before there is an answer, what the handler makes of it decides.
    if (response.headersSent) void leave()
  })
  response.end = (...args: unknown[]) => {
    response.end = end
    void settleThen(() => end.apply(response, args))
    return response
  }
  return { isGone: () => gone, leave }
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
