/** What each SDK makes of each refusal: the words that its user gets to see, and how often it asks. */
import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAI } from '@ai-sdk/openai'
import Anthropic from '@anthropic-ai/sdk'
import { streamText } from 'ai'
import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import { statement } from '../../src/db/db.ts'
import { callSuite } from '../support/calls.ts'
import { chatFrames, messageFrames, responseFrames, streams } from '../support/streams.ts'
import { answers, refuses } from '../support/upstream.ts'

const calls = callSuite()

/** One more try, where a client would have more: each waits longer than the one before. */
const maxRetries = 1
const prompt = 'Good day?'
const messages = [{ role: 'user' as const, content: prompt }]

interface Access {
  readonly url: string
  readonly key: string
  readonly fetch: typeof fetch
}

interface Client {
  readonly name: string
  readonly model: string
  readonly cut: readonly string[]
  /** Streams an answer to its end. */
  ask(access: Access, model: string): Promise<unknown>
}

/** The AI SDK reports what goes wrong in a stream to a callback. */
async function withAi(model: Parameters<typeof streamText>[0]['model']): Promise<void> {
  let failed: unknown
  const onError = ({ error }: { error: unknown }) => void (failed ??= error)
  await streamText({ model, prompt, maxRetries, maxOutputTokens: 100, onError }).consumeStream()
  if (failed !== undefined) throw failed instanceof Error ? failed : new Error(JSON.stringify(failed))
}

const CLIENTS: readonly Client[] = [
  {
    name: 'openai',
    model: 'gpt',
    cut: chatFrames({ usage: null, done: false, finish: false }),
    async ask({ url, key, fetch }, model) {
      const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries, fetch })
      return Array.fromAsync(await openai.chat.completions.create({ model, messages, stream: true }))
    },
  },
  {
    name: 'anthropic',
    model: 'claude',
    cut: messageFrames({ delta: null, stop: false }),
    ask({ url, key, fetch }, model) {
      const anthropic = new Anthropic({ baseURL: url, apiKey: key, maxRetries, fetch })
      return anthropic.messages.stream({ model, max_tokens: 100, messages }).finalMessage()
    },
  },
  {
    name: 'AI SDK with OpenAI',
    model: 'gpt',
    cut: responseFrames({ last: null }),
    ask: ({ url, key, fetch }, model) =>
      withAi(createOpenAI({ baseURL: `${url}/v1`, apiKey: key, fetch })(model)),
  },
  {
    name: 'AI SDK with Anthropic',
    model: 'claude',
    cut: messageFrames({ delta: null, stop: false }),
    ask: ({ url, key, fetch }, model) =>
      withAi(createAnthropic({ baseURL: `${url}/v1`, apiKey: key, fetch })(model)),
  },
]

/** What a person would read, and the status of each time it asked. */
async function shown(client: Client, { key = calls.till.key, model = client.model } = {}) {
  const statuses: number[] = []
  const counting: typeof fetch = async (...args) => {
    const response = await fetch(...args)
    statuses.push(response.status)
    return response
  }
  const said = await client.ask({ url: calls.till.url, key, fetch: counting }, model).then(
    () => 'nothing',
    (error: unknown) => (error as Error).message,
  )
  return { said, statuses }
}

describe.each(CLIENTS)('$name', (client) => {
  test('402: says what is missing and how to get it, and asks once', async () => {
    const key = await calls.till.keyFor(await calls.till.account(100n))
    const { said, statuses } = await shown(client, { key })
    expect(said).toMatch(/This call can cost up to .* are available\. Buy at least .* create_invoice/)
    expect(statuses).toEqual([402])
    await calls.nothingHappened()
  })

  test('403: says that the account is frozen, and asks once', async () => {
    await calls.till.db.commit([
      statement('UPDATE account SET frozen_at = 1 WHERE id = ?', [calls.till.buyer]),
    ])
    const { said, statuses } = await shown(client)
    expect(said).toMatch(/This account is frozen: it cannot spend\. Ask the seller/)
    expect(statuses).toEqual([403])
    await calls.nothingHappened()
  })

  test('404: says what is sold, and asks once', async () => {
    const { said, statuses } = await shown(client, { model: 'nobody' })
    expect(said).toMatch(/There is no model called \\?"nobody\\?" here\. Choose one of/)
    expect(statuses).toEqual([404])
    await calls.nothingHappened()
  })

  test('429: asks again, and says that it cost nothing', async () => {
    const busy = { type: 'error', error: { type: 'rate_limit_error', message: 'x' } }
    calls.upstream.behave(answers(429, busy, { 'retry-after': '0' }))
    const { said, statuses } = await shown(client)
    expect(said).toMatch(/status 429; it costs nothing\. The upstream is busy: wait a little/)
    expect(statuses).toEqual([429, 429])
    expect(await calls.till.charged()).toBe(0n)
  })

  test('502: asks again, and says that it cost nothing', async () => {
    calls.upstream.behave(refuses(500, 'server_error'))
    const { said, statuses } = await shown(client)
    expect(said).toMatch(/The upstream refused the call with status 500; it costs nothing\. Try again later/)
    expect(statuses).toEqual([502, 502])
    expect(await calls.till.charged()).toBe(0n)
  })

  test('a stream that ends early: says so, and asks once', async () => {
    calls.upstream.behave(streams(client.cut, { finish: 'cut' }))
    const { said, statuses } = await shown(client)
    expect(said).toMatch(/The upstream broke off before .* charged anew/)
    expect(statuses).toEqual([200])
  })
})
