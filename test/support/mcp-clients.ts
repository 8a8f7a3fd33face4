/** The clients that agents use, behind one small face: both generations of the SDK, and both protocol eras. */
import type { Stream } from 'node:stream'
import {
  Client as CurrentClient,
  StreamableHTTPClientTransport as CurrentHttp,
} from '@modelcontextprotocol/client'
import { StdioClientTransport as CurrentStdio } from '@modelcontextprotocol/client/stdio'
import { Client as FirstClient } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport as FirstStdio } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport as FirstHttp } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { PATIENCE_MS } from './patience.ts'
import { compiling } from './process.ts'

/** How to reach a server: a command to start, or the URL of its `/mcp`. */
export type Endpoint =
  | {
      readonly kind: 'stdio'
      readonly command: string
      readonly args: readonly string[]
      readonly env?: Record<string, string>
      readonly cwd?: string
    }
  | { readonly kind: 'http'; readonly url: string; readonly headers: Record<string, string> }

export const GENERATIONS = ['2026-07-28', 'auto', 'initialize', 'first-generation SDK'] as const
export type Generation = (typeof GENERATIONS)[number]

export interface ListedTool {
  readonly name: string
  readonly title?: string | undefined
  readonly description?: string | undefined
  readonly inputSchema: Record<string, unknown>
  readonly outputSchema?: Record<string, unknown> | undefined
  readonly annotations?: Record<string, unknown> | undefined
}

export interface CalledTool {
  readonly isError: boolean
  readonly text: string
  readonly data: Record<string, unknown>
  readonly images: readonly { readonly mimeType: string; readonly bytes: Uint8Array }[]
}

export interface CallOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (step: {
    progress: number
    total?: number | undefined
    message?: string | undefined
  }) => void
}

export interface McpSession {
  readonly protocol: string | undefined
  readonly instructions: string | undefined
  /** The process that the client started, over stdio. */
  readonly pid: number | null
  listTools(): Promise<ListedTool[]>
  call(name: string, args?: Record<string, unknown>, options?: CallOptions): Promise<CalledTool>
  close(): Promise<void>
}

/** Over the clients' own: they give up a probe or a call after a minute, which a busy machine may need. */
const PATIENT = { timeout: 2 * PATIENCE_MS }
const INFO = { name: 'bursar-test', version: '1.0.0' }

export async function connect(generation: Generation, endpoint: Endpoint): Promise<McpSession> {
  return generation === 'first-generation SDK' ? connectFirst(endpoint) : connectCurrent(generation, endpoint)
}

/** Adds the end of what a program has written to stderr to what fails. */
function errorsOf(stderr: Stream | null): <T>(asked: Promise<T>) => Promise<T> {
  let text = ''
  stderr?.on('data', (chunk: Buffer) => {
    text = (text + String(chunk)).slice(-2_000)
  })
  return (asked) =>
    asked.catch((thrown: unknown) => {
      if (thrown instanceof Error && text !== '') thrown.message += `\n${text}`
      throw thrown
    })
}

async function connectCurrent(
  generation: Exclude<Generation, 'first-generation SDK'>,
  endpoint: Endpoint,
): Promise<McpSession> {
  const mode = { '2026-07-28': { pin: '2026-07-28' }, auto: 'auto' as const, initialize: 'legacy' as const }[
    generation
  ]
  const client = new CurrentClient(INFO, { versionNegotiation: { mode } })
  const transport =
    endpoint.kind === 'stdio'
      ? new CurrentStdio({ ...stdioOptions(endpoint), stderr: 'pipe' })
      : new CurrentHttp(new URL(endpoint.url), { requestInit: { headers: endpoint.headers } })
  const told = errorsOf('stderr' in transport ? transport.stderr : null)
  await told(client.connect(transport, PATIENT))
  return {
    protocol: client.getNegotiatedProtocolVersion(),
    instructions: client.getInstructions(),
    pid: 'pid' in transport ? transport.pid : null,
    listTools: async () => (await client.listTools(undefined, PATIENT)).tools,
    async call(name, args = {}, { signal, onProgress } = {}) {
      const options = {
        ...PATIENT,
        ...(signal ? { signal } : {}),
        ...(onProgress ? { onprogress: onProgress } : {}),
      }
      return calledTool(await told(client.callTool({ name, arguments: args }, options)))
    },
    close: () => client.close(),
  }
}

async function connectFirst(endpoint: Endpoint): Promise<McpSession> {
  const client = new FirstClient(INFO)
  const transport =
    endpoint.kind === 'stdio'
      ? new FirstStdio({ ...stdioOptions(endpoint), stderr: 'pipe' })
      : new FirstHttp(new URL(endpoint.url), { requestInit: { headers: endpoint.headers } })
  const told = errorsOf('stderr' in transport ? transport.stderr : null)
  await told(client.connect(transport, PATIENT))
  return {
    protocol: undefined,
    instructions: client.getInstructions(),
    pid: 'pid' in transport ? transport.pid : null,
    listTools: async () => (await client.listTools(undefined, PATIENT)).tools,
    async call(name, args = {}, { signal, onProgress } = {}) {
      const options = {
        ...PATIENT,
        ...(signal ? { signal } : {}),
        ...(onProgress ? { onprogress: onProgress } : {}),
      }
      return calledTool(await told(client.callTool({ name, arguments: args }, undefined, options)))
    },
    close: () => client.close(),
  }
}

function stdioOptions(endpoint: Extract<Endpoint, { kind: 'stdio' }>): {
  command: string
  args: string[]
  env?: Record<string, string>
  cwd?: string
} {
  const { command, args, env, cwd } = endpoint
  return {
    command,
    args: [...args],
    ...(env ? { env: compiling(env) } : {}),
    ...(cwd === undefined ? {} : { cwd }),
  }
}

interface RawResult {
  readonly [key: string]: unknown
  readonly content?: unknown
  readonly structuredContent?: unknown
  readonly isError?: unknown
}

function calledTool(result: RawResult): CalledTool {
  const blocks = (result.content ?? []) as { type: string; text?: string; data?: string; mimeType?: string }[]
  return {
    isError: result.isError === true,
    text: blocks.flatMap((block) => (block.type === 'text' ? [block.text ?? ''] : [])).join('\n'),
    data: (result.structuredContent ?? {}) as Record<string, unknown>,
    images: blocks.flatMap((block) =>
      block.type === 'image'
        ? [{ mimeType: block.mimeType ?? '', bytes: Buffer.from(block.data ?? '', 'base64') }]
        : [],
    ),
  }
}
