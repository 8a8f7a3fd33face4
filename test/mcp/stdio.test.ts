import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { connect } from '../support/mcp-clients.ts'
import { mcpSuite } from '../support/mcp-suite.ts'
import { SECRET } from '../support/memory-bursar.ts'

const SERVER = fileURLToPath(new URL('../support/mcp-stdio-server.ts', import.meta.url))
const endpoint = { kind: 'stdio', command: process.execPath, args: [SERVER] } as const

// story/clients.test.ts has all clients ask the programs themselves.
mcpSuite('MCP over stdio', { purse: true, generations: ['2026-07-28'] }, async () => ({
  endpoint,
  rail: 'ethereum:ETH',
  pack: 'small',
  model: 'echo',
  tooDear: '1000',
}))

describe('MCP over stdio', () => {
  const started: ChildProcessWithoutNullStreams[] = []

  /** A server process and the lines that it writes. */
  function start(...args: string[]): { child: ChildProcessWithoutNullStreams; lines: Interface } {
    const child = spawn(process.execPath, [SERVER, ...args])
    started.push(child)
    return { child, lines: createInterface({ input: child.stdout }) }
  }

  function send(child: ChildProcessWithoutNullStreams, message: object): void {
    child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)
  }

  async function next(lines: Interface): Promise<unknown> {
    const [line] = await once(lines, 'line')
    return JSON.parse(String(line))
  }

  const initialize = {
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'raw', version: '1' } },
  }

  afterEach(() => {
    for (const child of started.splice(0)) child.kill('SIGKILL')
  })

  test('survives lines that are no JSON and messages that are no request', async () => {
    const { child, lines } = start()
    child.stdin.write('this is not JSON\n{"jsonrpc":"2.0"\n[]\n42\n{}\n')
    send(child, initialize)
    expect(await next(lines)).toMatchObject({ id: 1, result: { protocolVersion: '2025-06-18' } })
    child.stdin.write('{"jsonrpc":"2.0","id":\n')
    send(child, { id: 2, method: 'tools/call', params: { name: 'get_balance', arguments: 'not an object' } })
    expect(await next(lines)).toMatchObject({ id: 2, error: { code: -32602 } })
    send(child, { id: 3, method: 'tools/call', params: { name: 'get_balance' } })
    expect(await next(lines)).toMatchObject({ id: 3, result: { structuredContent: { account: 'acc_1' } } })
  })

  test('ends with status 0 when the client closes standard input, even in the middle of a wait', async () => {
    const { child, lines } = start()
    const stderr: string[] = []
    child.stderr.on('data', (chunk) => stderr.push(String(chunk)))
    send(child, initialize)
    await next(lines)
    send(child, { method: 'notifications/initialized' })
    const order = { name: 'create_invoice', arguments: { rail: 'ethereum:ETH', pack: 'small' } }
    send(child, { id: 2, method: 'tools/call', params: order })
    const created = (await next(lines)) as { result: { structuredContent: { id: string } } }
    const wait = { name: 'await_payment', arguments: { invoice: created.result.structuredContent.id } }
    send(child, { id: 3, method: 'tools/call', params: { ...wait, _meta: { progressToken: 3 } } })
    expect(await next(lines)).toMatchObject({ method: 'notifications/progress' })
    child.stdin.end()
    expect(await once(child, 'exit')).toEqual([0, null])
    expect(stderr.join('')).toBe('')
  })

  test('hides pay_invoice without a purse', async () => {
    const session = await connect('2026-07-28', { ...endpoint, args: [SERVER, '--no-purse'] })
    try {
      expect((await session.listTools()).map((tool) => tool.name)).not.toContain('pay_invoice')
      await expect(session.call('pay_invoice', { invoice: 'inv_1' })).rejects.toMatchObject({ code: -32602 })
      const created = await session.call('create_invoice', { rail: 'ethereum:ETH', pack: 'small' })
      expect(created.text).not.toContain('pay_invoice')
    } finally {
      await session.close()
    }
  })

  test("shows a fault as internal, without the fault's own words", async () => {
    const { child, lines } = start()
    const logged = once(child.stderr, 'data')
    send(child, initialize)
    await next(lines)
    const call = {
      name: 'call_model',
      arguments: { model: 'faulty', messages: [{ role: 'user', content: 'x' }] },
    }
    send(child, { id: 2, method: 'tools/call', params: call })
    const answer = await next(lines)
    expect(answer).toMatchObject({ result: { isError: true, structuredContent: { code: 'internal' } } })
    expect(JSON.stringify(answer)).not.toContain(SECRET)
    // Whoever runs it finds the fault in the log, on stderr.
    const [line] = await logged
    expect(String(line)).toMatch(/call_model.*cannot reach the upstream/)
    expect(String(line)).not.toContain(SECRET)
  })
})
