/** What tests of the model endpoints share: an upstream for a file, a till for each test, and requests. */
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import { type HttpTill, httpTill } from './till-http.ts'
import { completes, type Received, type ScriptedUpstream, startScriptedUpstream } from './upstream.ts'

export const CHAT = '/v1/chat/completions'
export const MESSAGES = '/v1/messages'
export const RESPONSES = '/v1/responses'
/** 9 bytes of text. */
export const messages = [{ role: 'user', content: 'Good day?' }]
export const ASK = { model: 'gpt', messages }
export const CLAUDE = { model: 'claude', max_tokens: 100, messages }
export const RESPOND = { model: 'gpt', input: 'Good day?' }

export interface Calls {
  readonly upstream: ScriptedUpstream
  readonly till: HttpTill
  /** A new till, for another balance or another upstream. */
  restart(options: Parameters<typeof httpTill>[1]): Promise<void>
  /** What arrived upstream in this test. */
  sent(): readonly Received[]
  lastBody(): Readonly<Record<string, unknown>>
  /** Resolves when that many requests of this test have arrived. */
  arrived(count: number): Promise<void>
  /** No hold, no receipt, no upstream call. */
  nothingHappened(): Promise<void>
}

/** Registers the hooks of a test file. */
export function callSuite(): Calls {
  let upstream: ScriptedUpstream
  let till: HttpTill
  let before = 0
  beforeAll(async () => {
    upstream = await startScriptedUpstream()
  })
  afterAll(() => upstream.stop())
  beforeEach(async () => {
    upstream.behave(completes())
    before = upstream.received.length
    till = await httpTill({ openai: upstream.baseUrl })
  })
  afterEach(() => till.close())
  const sent = () => upstream.received.slice(before)
  return {
    get upstream() {
      return upstream
    },
    get till() {
      return till
    },
    async restart(options) {
      await till.close()
      till = await httpTill({ openai: upstream.baseUrl }, options)
    },
    sent,
    lastBody: () => sent().at(-1)?.body ?? {},
    arrived: (count) => upstream.arrived(before + count),
    async nothingHappened() {
      expect(sent()).toEqual([])
      expect(await till.charged()).toBe(0n)
      await expect(till.receipt()).rejects.toThrow('expected a receipt')
    },
  }
}

/** Checks a refusal of a model endpoint: problem details and, beside them, the client's own error. */
export async function refusal(
  response: Response,
  status: number,
  code: string,
): Promise<Record<string, unknown>> {
  const body = (await response.json()) as Record<string, unknown>
  expect(body).toMatchObject({
    status,
    code,
    title: expect.any(String),
    detail: expect.any(String),
    error: { message: expect.any(String), type: expect.any(String) },
  })
  expect(response.status).toBe(status)
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  return body
}
