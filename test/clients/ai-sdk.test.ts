/** The Vercel AI SDK, by base URL and key alone, at each of the endpoints that it knows. */
import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAI } from '@ai-sdk/openai'
import {
  APICallError,
  embedMany,
  generateObject,
  generateText,
  isStepCount,
  RetryError,
  streamText,
  tool,
} from 'ai'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { callSuite } from '../support/calls.ts'
import { CHARGE, saysNext } from '../support/scripted-model.ts'
import { chatFrames, messageFrames, responseFrames, streams } from '../support/streams.ts'
import { answers, answersHtml, completes } from '../support/upstream.ts'

// It says at length which of its functions will have another name.
globalThis.AI_SDK_LOG_WARNINGS = false

const calls = callSuite()

const openai = (apiKey = calls.till.key) => createOpenAI({ baseURL: `${calls.till.url}/v1`, apiKey })
const anthropic = (apiKey = calls.till.key) => createAnthropic({ baseURL: `${calls.till.url}/v1`, apiKey })

const models = {
  chat: (key?: string) => openai(key).chat('gpt'),
  responses: (key?: string) => openai(key).responses('gpt'),
  messages: (key?: string) => anthropic(key)('claude'),
}
const cutStreams = {
  chat: chatFrames({ usage: null, done: false, finish: false }),
  responses: responseFrames({ last: null }),
  messages: messageFrames({ delta: null, stop: false }),
}
type Wire = keyof typeof models
const WIRES = Object.keys(models) as Wire[]

async function failure(promise: PromiseLike<unknown>): Promise<unknown> {
  return promise.then(
    (value) => Promise.reject(new Error(`expected a failure, got ${JSON.stringify(value)}`)),
    (error: unknown) => error,
  )
}

/** The charge of a stream is written a moment after its end. */
async function expectCharged(answers: number): Promise<void> {
  const sold = 'SELECT count(*) AS n FROM receipt WHERE state = ?'
  await expect.poll(() => calls.till.db.query(sold, ['charged'])).toEqual([{ n: BigInt(answers) }])
  expect(await calls.till.charged()).toBe(BigInt(answers) * CHARGE)
}

const weather = tool({
  description: 'The weather in a city.',
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `${city}: rain`,
})

describe.each(WIRES)('the AI SDK, %s', (wire) => {
  test('generates and streams a text', async () => {
    calls.upstream.behave(saysNext(() => ({ text: 'Good day.' })))
    const model = models[wire]()
    const whole = await generateText({ model, prompt: 'Good day?' })
    expect(whole.text).toBe('Good day.')
    expect(whole.usage).toMatchObject({ inputTokens: 12, outputTokens: 5 })
    const stream = streamText({ model, prompt: 'Good day?' })
    expect((await Array.fromAsync(stream.textStream)).join('')).toBe('Good day.')
    expect(await stream.usage).toMatchObject({ inputTokens: 12, outputTokens: 5 })
    await expectCharged(2)
  })

  test('calls a tool and goes on with its answer, streamed or not', async () => {
    calls.upstream.behave(
      saysNext(({ results }) =>
        results.length === 0
          ? { tool: 'weather', input: { city: 'Turin' } }
          : { text: `It says ${results[0]}` },
      ),
    )
    const asked = {
      model: models[wire](),
      tools: { weather },
      stopWhen: isStepCount(3),
      prompt: 'The weather?',
    }
    expect((await generateText(asked)).text).toContain('Turin: rain')
    const streamed = streamText(asked)
    expect(await streamed.text).toContain('Turin: rain')
    await expectCharged(4)
  })

  test('generates an object', async () => {
    calls.upstream.behave(
      saysNext(({ body }) =>
        // Where it knows no better, the SDK asks for an object through a tool of this name.
        JSON.stringify(body['tools'] ?? '').includes('"json"')
          ? { tool: 'json', input: { city: 'Turin' } }
          : { text: '{"city":"Turin"}' },
      ),
    )
    const schema = z.object({ city: z.string() })
    const { object } = await generateObject({ model: models[wire](), schema, prompt: 'Which city?' })
    expect(object).toEqual({ city: 'Turin' })
    await expectCharged(1)
  })

  test('shows what a refusal says, and asks once', async () => {
    const key = await calls.till.keyFor(await calls.till.account(100n))
    const error = await failure(generateText({ model: models[wire](key), prompt: 'Good day?' }))
    expect(APICallError.isInstance(error)).toBe(true)
    expect(error).toMatchObject({
      statusCode: 402,
      isRetryable: false,
      message: expect.stringMatching(/^This call can cost up to .* Buy at least .* create_invoice/),
    })
    const streamed: unknown[] = []
    const stream = streamText({
      model: models[wire](key),
      prompt: 'Good day?',
      onError: ({ error }) => void streamed.push(error),
    })
    await stream.consumeStream()
    expect(streamed).toMatchObject([{ statusCode: 402, message: expect.stringMatching(/Buy at least/) }])
    await calls.nothingHappened()
  })

  test('hears of a stream that ends early', async () => {
    calls.upstream.behave(streams(cutStreams[wire], { finish: 'cut' }))
    const errors: unknown[] = []
    const stream = streamText({
      model: models[wire](),
      prompt: 'Good day?',
      onError: ({ error }) => void errors.push(error),
    })
    let text = ''
    for await (const part of stream.fullStream) if (part.type === 'text-delta') text += part.text
    expect(text).toContain('Grüße 👋')
    expect(JSON.stringify(errors.map((error) => (error instanceof Error ? error.message : error)))).toMatch(
      /upstream broke off/,
    )
    expect(calls.sent()).toHaveLength(1)
  })
})

test('the AI SDK embeds', async () => {
  const data = [0, 1].map((index) => ({ object: 'embedding', index, embedding: [index, 1] }))
  const usage = { prompt_tokens: 6, total_tokens: 6 }
  calls.upstream.behave(answers(200, { object: 'list', model: 'm', data, usage }))
  const { embeddings } = await embedMany({ model: openai().embedding('gpt'), values: ['one', 'two'] })
  expect(embeddings).toEqual([
    [0, 1],
    [1, 1],
  ])
  expect(await calls.till.charged()).toBe(60n)
})

test('the AI SDK asks three times what cost nothing, and says the last answer', async () => {
  const busy = { error: { type: 'rate_limit_error', message: 'x' } }
  calls.upstream.behave(answers(429, busy, { 'retry-after': '0' }))
  const error = await failure(generateText({ model: models.chat(), prompt: 'Good day?' }))
  expect(RetryError.isInstance(error)).toBe(true)
  expect((error as Error).message).toMatch(
    /Failed after 3 attempts.* status 429; it costs nothing.* wait a little/,
  )
  expect(calls.sent()).toHaveLength(3)
  expect(await calls.till.charged()).toBe(0n)
})

test('the AI SDK takes a web page for what it is, and an unknown model', async () => {
  calls.upstream.behave(answersHtml)
  const error = await failure(generateText({ model: models.chat(), prompt: 'Good day?', maxRetries: 0 }))
  expect(error).toMatchObject({ statusCode: 502, message: expect.stringMatching(/web page instead of/) })
  calls.upstream.behave(completes())
  const unknown = await failure(generateText({ model: openai().chat('nobody'), prompt: 'Good day?' }))
  expect(unknown).toMatchObject({ statusCode: 404, message: expect.stringMatching(/nobody/) })
})
