/** The official clients, by base URL and key alone. */
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { beforeEach, describe, expect, test } from 'vitest'
import { callSuite, messages } from '../support/calls.ts'
import {
  chatFrames,
  message,
  messageFrames,
  responseFrames,
  responseObject,
  streams,
} from '../support/streams.ts'
import { answers, answersHtml, completes, refuses } from '../support/upstream.ts'

const calls = callSuite()

async function failure(promise: PromiseLike<unknown>): Promise<Error & Record<string, unknown>> {
  const thrown: unknown = await promise.then(
    (value) => value,
    (error: unknown) => error,
  )
  if (thrown instanceof Error) return thrown as Error & Record<string, unknown>
  throw new Error(`expected a failure, got ${JSON.stringify(thrown)}`)
}

describe('the openai client', () => {
  let openai: OpenAI
  const ask = { model: 'gpt', messages: [{ role: 'user' as const, content: 'Good day?' }] }
  beforeEach(() => {
    openai = new OpenAI({ baseURL: `${calls.till.url}/v1`, apiKey: calls.till.key })
  })

  test('completes a chat, whole and streamed', async () => {
    const whole = await openai.chat.completions.create(ask)
    expect(whole.choices[0]?.message.content).toBe('Good day.')
    expect(whole._request_id).toBe('req-test')
    calls.upstream.behave(streams(chatFrames(), { bytes: 3 }))
    let text = ''
    for await (const chunk of await openai.chat.completions.create({ ...ask, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? ''
      expect(chunk.choices).toHaveLength(1)
    }
    expect(text).toBe('Grüße 👋, world.')
    const usage = { ...ask, stream: true as const, stream_options: { include_usage: true } }
    const last = (await Array.fromAsync(await openai.chat.completions.create(usage))).at(-1)
    expect(last?.usage).toMatchObject({ prompt_tokens: 12, completion_tokens: 5 })
    // The client stops reading at [DONE]; the charge follows within a commit.
    await expect.poll(async () => (await calls.till.receipt()).state).toBe('charged')
    expect(await calls.till.charged()).toBe(660n)
  })

  test('gets a response, whole and streamed', async () => {
    calls.upstream.behave(answers(200, responseObject()))
    const request = { model: 'gpt', input: 'Good day?' }
    expect((await openai.responses.create(request)).output_text).toBe('Good day.')
    calls.upstream.behave(streams(responseFrames(), { bytes: 5 }))
    const final = await openai.responses.stream(request).finalResponse()
    expect(final.output_text).toBe('Grüße 👋')
    await expect.poll(async () => (await calls.till.receipt()).state).toBe('charged')
    expect(await calls.till.charged()).toBe(440n)
  })

  test('embeds, and lists the models', async () => {
    calls.upstream.behave(
      answers(200, {
        object: 'list',
        model: 'm',
        data: [{ object: 'embedding', index: 0, embedding: 'AACAPw==' }],
        usage: { prompt_tokens: 3, total_tokens: 3 },
      }),
    )
    const { data } = await openai.embeddings.create({ model: 'gpt', input: 'one' })
    expect(Array.from(data[0]?.embedding ?? [])).toEqual([1])
    expect((await Array.fromAsync(openai.models.list())).map(({ id }) => id)).toContain('gpt')
  })

  test('shows a refusal as it is meant, and asks once', async () => {
    const broke = new OpenAI({
      baseURL: `${calls.till.url}/v1`,
      apiKey: await calls.till.keyFor(await calls.till.account(100n)),
    })
    const error = await failure(broke.chat.completions.create(ask))
    expect(error).toMatchObject({ status: 402, code: 'insufficient_credits', type: 'insufficient_quota' })
    expect(error.message).toMatch(/402 This call can cost up to .*Buy at least .* create_invoice/)
    expect(calls.sent()).toHaveLength(0)
    calls.upstream.behave(answersHtml)
    expect(await failure(openai.chat.completions.create(ask))).toMatchObject({ status: 502 })
    expect(calls.sent()).toHaveLength(1)
    expect(await failure(openai.chat.completions.create({ ...ask, model: 'nobody' }))).toMatchObject({
      status: 404,
      code: 'unknown_model',
    })
  })

  test('asks again what was refused and cost nothing', async () => {
    let asked = 0
    calls.upstream.behave((response, received) => {
      asked += 1
      const behaviour = asked === 1 ? refuses(500, 'server_error') : completes()
      behaviour(response, received)
    })
    expect((await openai.chat.completions.create(ask)).choices).toHaveLength(1)
    expect(asked).toBe(2)
    expect(await calls.till.charged()).toBe(220n)
  })

  test('throws when a stream ends early', async () => {
    calls.upstream.behave(streams(chatFrames({ usage: null, done: false, finish: false }), { finish: 'cut' }))
    let text = ''
    const stream = await openai.chat.completions.create({ ...ask, stream: true })
    const reading = (async () => {
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
    })()
    expect((await failure(reading)).message).toMatch(/upstream broke off/)
    expect(text).toBe('Grüße 👋, world.')
  })
})

describe('the Anthropic client', () => {
  let claude: Anthropic
  const ask = { model: 'claude', max_tokens: 100, messages: messages as Anthropic.MessageParam[] }
  beforeEach(() => {
    claude = new Anthropic({ baseURL: calls.till.url, apiKey: calls.till.key })
  })

  test('sends a message, whole and streamed', async () => {
    calls.upstream.behave(answers(200, message(), { 'request-id': 'req_9' }))
    const whole = await claude.messages.create(ask)
    expect(whole.content).toMatchObject([{ type: 'text', text: 'Good day.' }])
    expect(whole._request_id).toBe('req_9')
    calls.upstream.behave(streams(messageFrames(), { bytes: 3 }))
    const final = await claude.messages.stream(ask).finalMessage()
    expect(final.content).toMatchObject([{ type: 'text', text: 'Grüße 👋' }])
    expect(final.usage).toMatchObject({ input_tokens: 12, output_tokens: 5 })
    await expect.poll(async () => (await calls.till.receipt()).state).toBe('charged')
    expect(await calls.till.charged()).toBe(440n)
  })

  test('sends betas, with a bearer token too, counts tokens and lists models', async () => {
    const bearer = new Anthropic({ baseURL: calls.till.url, authToken: calls.till.key, apiKey: null })
    calls.upstream.behave(answers(200, message()))
    await bearer.beta.messages.create({ ...ask, betas: ['context-management-2025-06-27'] })
    expect(calls.sent().at(-1)).toMatchObject({
      headers: {
        'anthropic-beta': 'context-management-2025-06-27',
        'anthropic-version': expect.stringMatching(/^20\d\d-\d\d-\d\d$/),
      },
    })
    calls.upstream.behave(answers(200, { input_tokens: 14 }))
    const { max_tokens: _, ...count } = ask
    expect(await claude.messages.countTokens(count)).toMatchObject({ input_tokens: 14 })
    expect((await claude.models.list()).data).toMatchObject([{ id: 'claude', type: 'model' }])
  })

  test('shows a refusal as it is meant, and asks once', async () => {
    const key = await calls.till.keyFor(await calls.till.account(100n))
    const broke = new Anthropic({ baseURL: calls.till.url, apiKey: key })
    const error = await failure(broke.messages.create(ask))
    expect(error).toMatchObject({ status: 402, type: 'billing_error' })
    expect(error.message).toMatch(/Buy at least/)
    expect(calls.sent()).toHaveLength(0)
  })

  test('throws when a stream ends early', async () => {
    calls.upstream.behave(streams(messageFrames({ delta: null, stop: false })))
    const error = await failure(claude.messages.stream(ask).finalMessage())
    expect(error.message).toMatch(/upstream broke off/)
    expect(error).toMatchObject({ type: 'api_error' })
  })
})
