/**
 * An MCP server (Streamable HTTP) that charges for its own tools. A call holds the most that it can cost, runs, and
 * captures what it did cost; one that fails costs nothing. The buyer's client sends its API key of the till, as to any
 * server with a key:
 *
 *     npm install bursar @modelcontextprotocol/server @hono/node-server zod
 *     BURSAR_URL=http://127.0.0.1:8402 node examples/mcp-server.ts
 *
 *     claude mcp add --transport http texts http://127.0.0.1:3000/mcp --header "Authorization: Bearer $BURSAR_KEY"
 */
import { createHash, randomBytes } from 'node:crypto'
import { serve } from '@hono/node-server'
import {
  createMcpHandler,
  hostHeaderValidationResponse,
  localhostAllowedHostnames,
  localhostAllowedOrigins,
  McpServer,
  originValidationResponse,
} from '@modelcontextprotocol/server'
import { BursarError, createClient } from 'bursar'
import { z } from 'zod'

const till = createClient({ url: process.env.BURSAR_URL ?? 'http://127.0.0.1:8402' })

/** The tools, for the buyer whose key this is. */
function serverFor(key: string): McpServer {
  const server = new McpServer({ name: 'texts', version: '1.0.0' })

  server.registerTool(
    'compare_texts',
    {
      description:
        'The lines that only one of two texts has. Costs 0.01 credits, and 0.001 more for each of them.',
      inputSchema: z.object({ before: z.string().max(20_000), after: z.string().max(20_000) }),
      outputSchema: z.object({ removed: z.array(z.string()), added: z.array(z.string()) }),
      annotations: { readOnlyHint: true },
    },
    ({ before, after }) => {
      const [old, now] = [before.split('\n'), after.split('\n')]
      return sell(key, 'compare_texts', 10_000 + 1_000 * (old.length + now.length), () => {
        const removed = old.filter((line) => !now.includes(line))
        const added = now.filter((line) => !old.includes(line))
        return { cost: 10_000 + 1_000 * (removed.length + added.length), data: { removed, added } }
      })
    },
  )

  server.registerTool(
    'json_paths',
    {
      description: 'The path of each value in a JSON document, such as "/items/0/id". Costs 0.02 credits.',
      inputSchema: z.object({ json: z.string().max(20_000) }),
      outputSchema: z.object({ paths: z.array(z.string()) }),
      annotations: { readOnlyHint: true },
    },
    ({ json }) =>
      sell(key, 'json_paths', 20_000, () => ({ cost: 20_000, data: { paths: pathsOf(JSON.parse(json)) } })),
  )
  return server
}

interface Sold {
  /** Micro-credits. */
  readonly cost: number
  readonly data: Record<string, unknown>
}
type Work = () => Sold | Promise<Sold>

/**
 * Runs a tool that costs at most `most` micro-credits. Refusals are results that the agent can read: what is missing,
 * and what to do about it.
 */
async function sell(key: string, name: string, most: number, work: Work) {
  // The buyer's key makes the hold and could release it; locked, only who knows the secret settles it.
  const unlock = randomBytes(32).toString('hex')
  const lock = createHash('sha256').update(unlock).digest('hex')
  try {
    const hold = await till.holds.create({ amount: credits(most), name, lock, lifetime_seconds: 60 }, { key })
    const { cost, data } = await run(work, () => till.holds.release(hold.id, { unlock }))
    const { charged, available } = await till.holds.capture(hold.id, { amount: credits(cost), unlock })
    const bill = `Cost ${charged} credits; ${available} are left.`
    return { content: [text(JSON.stringify(data)), text(bill)], structuredContent: data }
  } catch (error) {
    if (!(error instanceof BursarError)) return { content: [text(String(error))], isError: true }
    const problem = { ...error.toProblem(), till: till.url }
    const words = `${error.code}: ${error.message} ${error.remedy ?? ''}`
    return { content: [text(words)], structuredContent: problem, isError: true }
  }
}

async function run(work: Work, giveBack: () => Promise<unknown>): Promise<Sold> {
  try {
    return await work()
  } catch (error) {
    await giveBack()
    throw error
  }
}

const mcp = createMcpHandler(({ authInfo }) => serverFor(authInfo?.token ?? ''))

async function answer(request: Request): Promise<Response> {
  // Only this machine: a web page must not reach a local server by another name.
  const rejected =
    hostHeaderValidationResponse(request, localhostAllowedHostnames()) ??
    originValidationResponse(request, localhostAllowedOrigins())
  if (rejected) return rejected
  const token = /^Bearer +(\S+)$/i.exec(request.headers.get('authorization') ?? '')?.[1]
  if (token === undefined) {
    return new Response('Send "Authorization: Bearer bk_...", a key of the till.', {
      status: 401,
      headers: { 'www-authenticate': 'Bearer' },
    })
  }
  return mcp.fetch(request, { authInfo: { token, clientId: '', scopes: [] } })
}

serve({ fetch: answer, hostname: '127.0.0.1', port: Number(process.env.PORT ?? 3000) }, ({ port }) =>
  console.log(`http://127.0.0.1:${port}/mcp sells its tools for credits of ${till.url}`),
)

function text(value: string) {
  return { type: 'text' as const, text: value }
}

/** Credits as the till takes them: decimal text with six places. */
function credits(micro: number): string {
  const digits = String(micro).padStart(7, '0')
  return `${digits.slice(0, -6)}.${digits.slice(-6)}`
}

function pathsOf(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return [path]
  return Object.entries(value).flatMap(([name, inner]) => pathsOf(inner, `${path}/${name}`))
}
