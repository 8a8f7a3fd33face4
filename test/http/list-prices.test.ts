/** Real list prices, on usage as each kind of upstream reports it, over HTTP: to the micro-credit. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { listUsage } from '../../src/models/usage.ts'
import { listUsage as tool } from '../../tools/list-usage.ts'
import { CHAT, MESSAGES, messages, RESPONSES, refusal } from '../support/calls.ts'
import { chatFrames, message, messageFrames, responseObject, streams } from '../support/streams.ts'
import { type HttpTill, httpTill } from '../support/till-http.ts'
import {
  answers,
  type Behaviour,
  completion,
  type ScriptedUpstream,
  startScriptedUpstream,
} from '../support/upstream.ts'

let upstream: ScriptedUpstream
let till: HttpTill

beforeAll(async () => {
  upstream = await startScriptedUpstream()
})
afterAll(() => upstream.stop())
beforeEach(async () => {
  const at = (list: string) => ({ base_url: upstream.baseUrl, price_list: list })
  till = await httpTill(
    { openai: upstream.baseUrl },
    {
      credits: 1_000_000_000_000n,
      more: {
        upstreams: {
          openai: at('openai'),
          xai: at('x-ai'),
          openrouter: at('openrouter'),
          deepseek: at('deepseek'),
          anthropic: { format: 'anthropic', ...at('anthropic') },
          passed: { format: 'anthropic', ...at('openrouter') },
        },
        models: {
          'gpt-5.4': { upstream: 'openai', max_output_tokens: 100_000 },
          'gpt-6-luna': { upstream: 'openai' },
          'text-embedding-3-small': { upstream: 'openai' },
          'claude-haiku-4-5': { upstream: 'anthropic', margin_percent: '10' },
          'claude-sonnet-4-5': { upstream: 'anthropic' },
          'grok-4.3': { upstream: 'xai' },
          'deepseek-v4-pro': { upstream: 'deepseek' },
          'claude-passed-on': { upstream: 'passed', upstream_model: 'anthropic/claude-sonnet-4.5' },
          'claude-chat': { upstream: 'openrouter', upstream_model: 'anthropic/claude-sonnet-4.5' },
          gemini: { upstream: 'openrouter', upstream_model: 'google/gemini-3-flash-preview' },
        },
      },
    },
  )
})
afterEach(() => till.close())

/** One credit is $0.10, so $1 per million tokens is 10 micro-credits a token. */
const chat = (usage: object): Behaviour => answers(200, completion({ usage }))
const claude = (usage: object): Behaviour => answers(200, message(usage))
/** Enough bytes that this many tokens can be in them. */
const long = (bytes: number) => [{ role: 'user', content: 'x'.repeat(bytes) }]

describe('a call at list price costs', () => {
  test.each<[string, string, object, Behaviour, bigint]>([
    [
      'OpenAI: cached input and reasoning within the output, $2.50 / $0.25 / $15',
      CHAT,
      { model: 'gpt-5.4', messages: long(20_000) },
      chat({
        prompt_tokens: 10_000,
        completion_tokens: 2_000,
        total_tokens: 12_000,
        prompt_tokens_details: { cached_tokens: 4_000 },
        completion_tokens_details: { reasoning_tokens: 1_500 },
      }),
      6_000n * 25n + (4_000n * 25n) / 10n + 2_000n * 150n,
    ],
    [
      'OpenAI: just below the long context',
      CHAT,
      { model: 'gpt-5.4', messages: long(280_000) },
      chat({ prompt_tokens: 271_999, completion_tokens: 100 }),
      271_999n * 25n + 100n * 150n,
    ],
    [
      'OpenAI: from 272,000 tokens on, all of it at $5 / $0.50 / $22.50',
      CHAT,
      { model: 'gpt-5.4', messages: long(280_000) },
      chat({
        prompt_tokens: 272_000,
        completion_tokens: 100,
        prompt_tokens_details: { cached_tokens: 200_000 },
      }),
      72_000n * 50n + 200_000n * 5n + 100n * 225n,
    ],
    [
      'OpenAI: what was written to the cache, $0.125 beside $0.10 / $0.01 / $0.50',
      RESPONSES,
      { model: 'gpt-6-luna', input: 'x'.repeat(5_000) },
      answers(
        200,
        responseObject({
          input_tokens: 4_000,
          output_tokens: 10,
          input_tokens_details: { cached_tokens: 1_000, cache_write_tokens: 2_000 },
          output_tokens_details: { reasoning_tokens: 4 },
        }),
      ),
      // 1000 at 1, 1000 at 0.1, 2000 at 1.25, 10 at 5.
      1_000n + 100n + 2_500n + 50n,
    ],
    [
      'OpenAI: an embedding, $0.02 for input alone',
      '/v1/embeddings',
      { model: 'text-embedding-3-small', input: 'x'.repeat(2_000) },
      answers(200, {
        object: 'list',
        data: [],
        model: 'm',
        usage: { prompt_tokens: 1_001, total_tokens: 1_001 },
      }),
      // 0.2 micro-credits a token, rounded up once.
      201n,
    ],
    [
      'Anthropic: read from, and written to, caches of five minutes and an hour, with a margin of 10%',
      MESSAGES,
      { model: 'claude-haiku-4-5', max_tokens: 1_000, messages: long(20_000) },
      claude({
        input_tokens: 1_000,
        cache_read_input_tokens: 5_000,
        cache_creation_input_tokens: 3_000,
        cache_creation: { ephemeral_5m_input_tokens: 2_000, ephemeral_1h_input_tokens: 1_000 },
        output_tokens: 500,
      }),
      // $1, $0.10, $1.25, $2 and $5, times 1.1.
      ((1_000n * 100n + 5_000n * 10n + 2_000n * 125n + 1_000n * 200n + 500n * 500n) * 11n) / 100n,
    ],
    [
      'OpenRouter, as Anthropic: written for an hour, twice the input',
      MESSAGES,
      { model: 'claude-passed-on', max_tokens: 1_000, messages: long(20_000) },
      claude({
        input_tokens: 0,
        cache_creation_input_tokens: 3_000,
        cache_creation: { ephemeral_5m_input_tokens: 2_000, ephemeral_1h_input_tokens: 1_000 },
        output_tokens: 0,
      }),
      // $3.75 and $6.
      (2_000n * 375n + 1_000n * 600n) / 10n,
    ],
    [
      'Anthropic: above 200,000 tokens of input, caches counted, twice the price',
      MESSAGES,
      { model: 'claude-sonnet-4-5', max_tokens: 1_000, messages: long(210_000) },
      claude({
        input_tokens: 1,
        cache_read_input_tokens: 200_000,
        output_tokens: 10,
        output_tokens_details: { thinking_tokens: 4 },
      }),
      60n + 200_000n * 6n + 10n * 225n,
    ],
    [
      'xAI: reasoning counted beside the completion',
      CHAT,
      { model: 'grok-4.3', messages },
      chat({
        prompt_tokens: 10,
        completion_tokens: 20,
        total_tokens: 80,
        completion_tokens_details: { reasoning_tokens: 50 },
      }),
      // $1.25 and $2.50.
      125n + 70n * 25n,
    ],
    [
      'xAI: reasoning that only the total has',
      CHAT,
      { model: 'grok-4.3', messages },
      chat({ prompt_tokens: 10, completion_tokens: 20, total_tokens: 80 }),
      125n + 70n * 25n,
    ],
    [
      'xAI: what a cache read, counted beside the prompt, is no output',
      CHAT,
      { model: 'grok-4.3', messages },
      chat({
        prompt_tokens: 10,
        completion_tokens: 20,
        total_tokens: 80,
        prompt_tokens_details: { cached_tokens: 50 },
      }),
      125n + 20n * 25n,
    ],
    [
      'OpenRouter: cache writes of Gemini cost their input and the storage',
      CHAT,
      { model: 'gemini', messages: long(3_000) },
      chat({
        prompt_tokens: 2_000,
        completion_tokens: 0,
        prompt_tokens_details: { cached_tokens: 0, cache_write_tokens: 1_000 },
      }),
      // 1000 at 5, 1000 at 5.83334, rounded up.
      5_000n + 5_834n,
    ],
    [
      'DeepSeek: off peak',
      CHAT,
      { model: 'deepseek-v4-pro', messages },
      // The clock of these tests stands still at midnight, which is off peak: $0.66, $0.022, $1.98.
      chat({ prompt_tokens: 100, completion_tokens: 1, prompt_tokens_details: { cached_tokens: 50 } }),
      // 50 at 6.6, 50 at 0.22, 1 at 19.8: 360.8, rounded up.
      361n,
    ],
  ])('%s', async (_, path, ask, behaviour, charged) => {
    upstream.behave(behaviour)
    const response = await till.post(path, ask)
    expect(response.status).toBe(200)
    await response.text()
    expect(await till.charged()).toBe(charged)
    const receipt = await till.receipt()
    expect(receipt.held).toBeGreaterThanOrEqual(charged)
    expect(JSON.parse(receipt.price)).toMatchObject({ source: expect.stringContaining('genai-prices') })
  })

  test('the same when it is streamed', async () => {
    const usage = {
      prompt_tokens: 272_000,
      completion_tokens: 5,
      total_tokens: 272_005,
      prompt_tokens_details: { cached_tokens: 1_000 },
    }
    upstream.behave(streams(chatFrames({ usage })))
    await (await till.post(CHAT, { model: 'gpt-5.4', stream: true, messages: long(280_000) })).text()
    expect(await till.charged()).toBe(271_000n * 50n + 1_000n * 5n + 5n * 225n)
    const start = { input_tokens: 2, cache_read_input_tokens: 200_000, output_tokens: 1 }
    upstream.behave(streams(messageFrames({ start, delta: { output_tokens: 5 } })))
    const ask = { model: 'claude-sonnet-4-5', max_tokens: 10, stream: true, messages: long(210_000) }
    await (await till.post(MESSAGES, ask)).text()
    expect((await till.receipt()).charged).toBe(2n * 60n + 200_000n * 6n + 5n * 225n)
  })
})

test('what is held is the tier that the input can reach, not one that it cannot', async () => {
  upstream.behave(chat({ prompt_tokens: 1, completion_tokens: 1 }))
  const heldFor = async (bytes: number) => {
    const ask = { model: 'gpt-5.4', messages: long(bytes), max_tokens: 1_000 }
    await (await till.post(CHAT, ask)).text()
    return { held: (await till.receipt()).held, bound: BigInt(JSON.stringify(ask).length) + 16n + 128n }
  }
  const short = await heldFor(100_000)
  expect(short.held).toBe(short.bound * 25n + 1_000n * 150n)
  const large = await heldFor(272_000)
  expect(large.held).toBe(large.bound * 50n + 1_000n * 225n)
})

describe('a chat that keeps its input for an hour', () => {
  const hour = { type: 'ephemeral', ttl: '1h' }
  const text = (cache_control: object) => [{ type: 'text', text: 'x', cache_control }]
  const said = (content: unknown) => [{ role: 'user', content }]

  test.each<[string, object]>([
    ['a part', { messages: said(text(hour)) }],
    ['a message', { messages: [{ role: 'user', content: 'x', cache_control: hour }] }],
    ['a tool', { messages, tools: [{ type: 'function', function: { name: 'f' }, cache_control: hour }] }],
    ['all of it', { messages, cache_control: hour }],
  ])('%s: is refused where writing has a price, as its usage does not tell', async (_, ask) => {
    const response = await till.post(CHAT, { model: 'claude-chat', ...ask })
    expect(await refusal(response, 400, 'invalid_request')).toMatchObject({
      detail: expect.stringMatching(/cache_control with a ttl is not sold here/),
    })
    expect(await till.charged()).toBe(0n)
  })

  test('goes on for five minutes, and where writing costs what input costs', async () => {
    upstream.behave(chat({ prompt_tokens: 1, completion_tokens: 1 }))
    const short = { model: 'claude-chat', messages: said(text({ type: 'ephemeral', ttl: '5m' })) }
    expect((await till.post(CHAT, short)).status).toBe(200)
    const listed = { model: 'grok-4.3', messages: said(text(hour)) }
    expect((await till.post(CHAT, listed)).status).toBe(200)
  })
})

test('its price, with the version of the list, is on the receipt that the buyer sees', async () => {
  upstream.behave(chat({ prompt_tokens: 1, completion_tokens: 1 }))
  await (await till.post(CHAT, { model: 'gpt-5.4', messages, max_tokens: 10 })).text()
  await (await till.post(CHAT, { model: 'fixed', messages })).text()
  await (await till.post(CHAT, { model: 'gpt', messages: long(8), n: 2 })).text()
  const page = await listUsage(till.db, till.buyer, {})
  expect(tool.output.parse(page)).toEqual(page)
  expect(page.calls.map(({ price, price_version }) => [price, price_version])).toEqual([
    ['10 in, 1 cached, 12 cache write, 20 cache write 1h, 20 out per million tokens', null],
    ['0.25 a call', null],
    [
      '25 in, 2.5 cached, 150 out per million tokens',
      expect.stringMatching(/^openai, .*genai-prices .* of \d{4}-/),
    ],
  ])
})

test('why a charge is not simply the reported usage is there, too', async () => {
  upstream.behave(answers(200, completion({ usage: null })))
  await (await till.post(CHAT, { model: 'gpt', messages })).text()
  const [entry] = (await listUsage(till.db, till.buyer, {})).calls
  expect(entry).toMatchObject({ note: 'estimate: the upstream reported no usage' })
})
