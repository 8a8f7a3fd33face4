/** The MCP inspector's own command line against a server: a judge that we did not write. */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { tools } from '../../tools/index.ts'
import type { Endpoint } from './mcp-clients.ts'
import { compiling } from './process.ts'

const INSPECTOR = fileURLToPath(
  new URL(
    '../../node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js',
    import.meta.url,
  ),
)

export interface Inspected {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export async function inspect(endpoint: Endpoint, ...args: readonly string[]): Promise<Inspected> {
  const target =
    endpoint.kind === 'stdio'
      ? [endpoint.command, ...endpoint.args]
      : [
          endpoint.url,
          ...Object.entries(endpoint.headers).flatMap(([name, value]) => ['--header', `${name}: ${value}`]),
        ]
  const env = endpoint.kind === 'stdio' ? Object.entries(compiling(endpoint.env ?? {})) : []
  const environment = env.flatMap(([name, value]) => ['-e', `${name}=${value}`])
  const child = spawn(process.execPath, [
    INSPECTOR,
    '--cli',
    ...target,
    ...environment,
    ...args,
    '--format',
    'json',
  ])
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', resolve)
  })
  const [stdout, stderr, status] = await Promise.all([text(child.stdout), text(child.stderr), ended])
  return { status, stdout, stderr }
}

/** Lists the tools with `--strict` and calls some, in both protocol eras. */
export function inspectorSuite(
  title: string,
  { purse, rail }: { readonly purse: boolean; readonly rail: string },
  endpoint: () => Endpoint,
): void {
  describe.each(['legacy', 'modern'])(`${title}, inspector, era: %s`, (era) => {
    test('finds nothing to criticise in the tool list', async () => {
      const listed = await inspect(endpoint(), '--protocol-era', era, '--method', 'tools/list', '--strict')
      expect(listed.stderr).not.toMatch(/\b(warning|error)\b/i)
      expect(listed.status).toBe(0)
      const { result } = JSON.parse(listed.stdout) as { result: { tools: { name: string }[] } }
      const expected = tools.filter((tool) => tool.needs === 'till' || purse)
      expect(result.tools.map((tool) => tool.name)).toEqual(expected.map((tool) => tool.name))
    })

    test('calls a tool and sees a refusal as one', async () => {
      const call = [
        '--protocol-era',
        era,
        '--method',
        'tools/call',
        '--tool-name',
        'create_invoice',
        '--tool-args-json',
      ]
      const created = await inspect(endpoint(), ...call, JSON.stringify({ rail, credits: '2.5' }))
      expect(created.status, created.stderr).toBe(0)
      expect(JSON.parse(created.stdout)).toMatchObject({
        result: { structuredContent: { state: 'open', credits: '2.500000' } },
      })
      const refused = await inspect(endpoint(), ...call, JSON.stringify({ rail, credits: '-2.5' }))
      expect(refused.status).toBe(5)
      expect(refused.stdout).toContain('invalid_request')
    })
  })
}
