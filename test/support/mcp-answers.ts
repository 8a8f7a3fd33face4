/** Short forms for what a tool answered. */
import { expect } from 'vitest'
import type { CalledTool, CallOptions, McpSession } from './mcp-clients.ts'
import { PATIENCE_MS } from './patience.ts'

/** Calls a tool that must not refuse. */
export async function ask(
  session: McpSession,
  tool: string,
  input: Record<string, unknown> = {},
): Promise<Record<string, unknown>> {
  return answered(await session.call(tool, input))
}

/** The structured content of an answer that is no refusal. */
export function answered(result: CalledTool): Record<string, unknown> {
  expect(result.isError, result.text).toBe(false)
  return result.data
}

/** Waits for an invoice as agents do: again and again, since one wait is bounded. The last answer. */
export async function awaited(
  session: McpSession,
  invoice: unknown,
  eachWait: () => CallOptions = () => ({}),
): Promise<Record<string, unknown>> {
  const until = performance.now() + PATIENCE_MS
  while (true) {
    const input = { invoice, timeout_s: 20 }
    const answer = answered(await session.call('await_payment', input, eachWait()))
    if (answer['timed_out'] === false || performance.now() > until) return answer
  }
}

/** The problem of an answer that is one. It says the same in both halves: as data, and as text for who reads only that. */
export function refused(result: CalledTool, code: string): Record<string, unknown> {
  expect(result.data, result.text).toMatchObject({
    code,
    detail: expect.any(String),
    remedy: expect.any(String),
  })
  expect(result.isError).toBe(true)
  expect(result.text).toContain(`${code}: ${String(result.data['detail'])}`)
  expect(result.text).toContain(String(result.data['remedy']))
  return result.data
}

/** Calls a tool that must refuse with this code. */
export async function refusal(
  session: McpSession,
  code: string,
  tool: string,
  input: Record<string, unknown> = {},
): Promise<Record<string, unknown>> {
  return refused(await session.call(tool, input), code)
}
