/** The agent's side of the demo: a real MCP client that starts `bursar mcp` over stdio and calls its tools. */
import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { BIN } from '../test/support/program.ts'

/** For each answer: a machine with much else to do takes long even to start a program. */
const TIMEOUT_MS = 240_000

export interface ToolAnswer {
  readonly refused: boolean
  readonly data: Record<string, unknown>
  /** MIME types of the answer's images. */
  readonly images: readonly string[]
}

export interface DemoAgent {
  call(
    tool: string,
    input?: Record<string, unknown>,
    onProgress?: (message: string) => void,
  ): Promise<ToolAnswer>
  tools(): Promise<string[]>
  close(): Promise<void>
}

export async function startAgent(env: Record<string, string>): Promise<DemoAgent> {
  const client = new Client({ name: 'bursar-demo', version: '1.0.0' })
  await client.connect(
    new StdioClientTransport({ command: process.execPath, args: [BIN, 'mcp'], env, stderr: 'inherit' }),
    { timeout: TIMEOUT_MS },
  )
  return {
    async call(name, input = {}, onProgress) {
      const options = onProgress
        ? {
            timeout: TIMEOUT_MS,
            onprogress: (p: { message?: string | undefined }) => onProgress(p.message ?? ''),
          }
        : { timeout: TIMEOUT_MS }
      const result = await client.callTool({ name, arguments: input }, options)
      return {
        refused: result.isError === true,
        data: (result.structuredContent ?? {}) as Record<string, unknown>,
        images: result.content.flatMap((part) => (part.type === 'image' ? [part.mimeType] : [])),
      }
    },
    async tools() {
      return (await client.listTools()).tools.map((tool) => tool.name)
    },
    close: () => client.close(),
  }
}
