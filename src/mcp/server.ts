/**
 * The tools over the Model Context Protocol: the only file that knows its SDK. Both eras are served, the current
 * one (2026-07-28) and that of `initialize` (2025-11-25 and before).
 */
import type { Readable, Writable } from 'node:stream'
import {
  type AuthInfo,
  createMcpHandler,
  McpServer,
  type ServerContext,
  type StandardSchemaWithJSON,
} from '@modelcontextprotocol/server'
import { StdioServerTransport, serveStdio } from '@modelcontextprotocol/server/stdio'
import { tools } from '../../tools/index.ts'
import type { Tool, ToolContext, ToolProgress } from '../../tools/tool.ts'
import type { Bursar, PurseClient } from '../bursar.ts'
import { toBursarError } from '../errors.ts'
import type { Log } from '../runtime.ts'
import { answered, inputSchema, outputSchema, refused, type ToolResult } from './surface.ts'

export interface McpOptions {
  readonly version: string
  readonly log: Log
}

/** Whose till, and whose purse, the tools of one connection use. */
export interface Caller {
  readonly bursar: Bursar
  readonly purse?: PurseClient
}

const INSTRUCTIONS = `Bursar sells prepaid credits for crypto and spends them on model calls.
1. list_offers: packs, rails (chain:ASSET), models and prices.
2. create_invoice, then pay it: pay_invoice where that tool exists, or any wallet with the payment URI or the QR code.
3. await_payment until the invoice is paid; get_balance shows the credits.
4. call_model spends them; a refusal says what is missing and what to do.
Credits and USD are decimal text, on-chain amounts whole atomic units. Give each purchase and call an idempotency_key, and repeat with the same key when an answer got lost.`

/** What a tool list needs of a tool is worked out once, not for every connection. */
const listed = tools.map((tool) => ({
  tool,
  input: asStandardSchema(inputSchema(tool)),
  output: asStandardSchema(outputSchema(tool)),
}))

export interface McpStdio {
  /** Resolves when the client has closed its end, or `close` was called. */
  readonly closed: Promise<void>
  close(): Promise<void>
}

/** Serves one client over standard input and output. The client closes standard input to end it. */
export function serveMcpStdio(
  caller: Caller,
  { version, log, stdin, stdout }: McpOptions & { readonly stdin?: Readable; readonly stdout?: Writable },
): McpStdio {
  const transport = new StdioServerTransport(stdin, stdout)
  const handle = serveStdio(() => serverFor(caller, { version, log }), {
    transport,
    onerror: (error) => log.debug({ reason: error.message }, 'mcp message refused'),
  })
  const { promise: closed, resolve } = Promise.withResolvers<void>()
  const ended = transport.onclose
  // oxlint-disable-next-line unicorn/prefer-add-event-listener -- a transport has callbacks, no listeners
  transport.onclose = () => {
    ended?.()
    resolve()
  }
  return { closed, close: () => handle.close() }
}

export interface McpHttp {
  /** Answers one request of Streamable HTTP. Who asks, and from where, has been checked before. */
  fetch(request: Request, bursar: Bursar): Promise<Response>
  close(): Promise<void>
}

/**
 * The tools of a till over Streamable HTTP, stateless: any process answers any request. There is never a purse here,
 * because the wallet is the buyer's and the process is the seller's.
 */
export function mcpHttp({ version, log }: McpOptions, maxBodyBytes: number): McpHttp {
  const callers = new WeakMap<AuthInfo, Bursar>()
  const handler = createMcpHandler(
    ({ authInfo }) => {
      const bursar = authInfo && callers.get(authInfo)
      if (!bursar) throw new Error('an MCP request arrived without its caller')
      return serverFor({ bursar }, { version, log })
    },
    {
      // Headers leave at once and keep-alives follow: clients give up on a silent answer after 60 s.
      responseMode: 'sse',
      maxRequestBodySize: maxBodyBytes,
      onerror: (error) => log.debug({ reason: error.message }, 'mcp message refused'),
    },
  )
  return {
    fetch(request, bursar) {
      const authInfo: AuthInfo = { token: '', clientId: '', scopes: [] }
      callers.set(authInfo, bursar)
      return handler.fetch(request, { authInfo })
    },
    close: () => handler.close(),
  }
}

function serverFor(caller: Caller, { version, log }: McpOptions): McpServer {
  const server = new McpServer(
    { name: 'bursar', title: 'Bursar', version },
    { instructions: INSTRUCTIONS, capabilities: { tools: { listChanged: false } } },
  )
  for (const { tool, input, output } of listed) {
    if (tool.needs === 'purse' && !caller.purse) continue
    server.registerTool(
      tool.name,
      {
        title: tool.title,
        description: tool.description,
        inputSchema: input,
        outputSchema: output,
        annotations: tool.hints,
      },
      (args: unknown, ctx: ServerContext) => call(tool, caller, args, ctx, log),
    )
  }
  return server
}

/** Runs a tool. Whatever is thrown becomes a result with isError: agents read results, not protocol errors. */
async function call(
  tool: Tool,
  caller: Caller,
  args: unknown,
  ctx: ServerContext,
  log: Log,
): Promise<ToolResult> {
  const signal = ctx.mcpReq.signal
  const { report, delivered } = progressTo(ctx, log)
  const toolContext: ToolContext = { ...caller, signal, progress: report }
  try {
    return answered(await tool.run(toolContext, args))
  } catch (thrown) {
    const error = toBursarError(thrown)
    if (error.code === 'internal' && !signal.aborted)
      log.error({ tool: tool.name, err: error.cause }, error.message)
    return refused(tool, error)
  } finally {
    // A client drops what arrives after the answer.
    await delivered()
  }
}

interface Progress {
  readonly report: (step: ToolProgress) => void
  /** Resolves when everything reported so far has been sent. */
  readonly delivered: () => Promise<unknown>
}

/** Progress for a caller that asked for it. The protocol wants each value above the last, even when a fork takes confirmations back. */
function progressTo(ctx: ServerContext, log: Log): Progress {
  const progressToken = ctx.mcpReq._meta?.progressToken
  if (progressToken === undefined) return { report: () => {}, delivered: async () => {} }
  let last = -1
  let sending: Promise<unknown> = Promise.resolve()
  return {
    report({ done, total, message }) {
      last = done > last ? done : last + 0.01
      const params = { progressToken, progress: last, total, message }
      const sent = ctx.mcpReq
        .notify({ method: 'notifications/progress', params })
        .catch((error: unknown) => log.debug({ err: error }, 'progress not delivered'))
      sending = Promise.all([sending, sent])
    },
    delivered: () => sending,
  }
}

/** The SDK lists this schema and checks nothing by it: tools check their own input, with messages of their own. */
function asStandardSchema(schema: Record<string, unknown>): StandardSchemaWithJSON {
  return {
    '~standard': {
      version: 1,
      vendor: 'bursar',
      validate: (value) => ({ value }),
      jsonSchema: { input: () => schema, output: () => schema },
    },
  }
}
