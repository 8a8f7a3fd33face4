import { describe, expect, test } from 'vitest'
import {
  ASK,
  CHAT,
  CLAUDE,
  callSuite,
  MESSAGES,
  messages,
  RESPOND,
  RESPONSES,
  refusal,
} from '../support/calls.ts'
import { message, messageFrames, responseObject, streams } from '../support/streams.ts'
import { answers, completion, refuses } from '../support/upstream.ts'

const USAGE = { prompt_tokens: 12, completion_tokens: 5 }
const calls = callSuite()

describe('a price', () => {
  const cached = { cached_tokens: 4 }
  test.each<[string, string, object, object, bigint, object]>([
    [
      'chat completions',
      CHAT,
      ASK,
      completion({
        usage: {
          ...USAGE,
          prompt_tokens_details: cached,
          completion_tokens_details: { reasoning_tokens: 3 },
        },
      }),
      // 8 at 10, 4 at 1, 5 at 20.
      184n,
      { input_tokens: 12, output_tokens: 5, cached_input_tokens: 4, reasoning_tokens: 3 },
    ],
    [
      'responses',
      RESPONSES,
      RESPOND,
      responseObject({ input_tokens: 12, output_tokens: 5, input_tokens_details: cached }),
      184n,
      { input_tokens: 12, output_tokens: 5, cached_input_tokens: 4 },
    ],
    [
      'messages',
      MESSAGES,
      CLAUDE,
      message({
        input_tokens: 2,
        output_tokens: 5,
        cache_read_input_tokens: 4,
        cache_creation_input_tokens: 6,
        cache_creation: { ephemeral_5m_input_tokens: 5, ephemeral_1h_input_tokens: 1 },
      }),
      // 2 at 10, 4 at 1, 5 at 12, 1 at 20, 5 at 20.
      204n,
      {
        input_tokens: 12,
        output_tokens: 5,
        cached_input_tokens: 4,
        cache_write_tokens: 6,
        cache_write_1h_tokens: 1,
      },
    ],
    ...[{ prompt_cache_hit_tokens: 4, prompt_cache_miss_tokens: 8 }, { cached_tokens: 4 }].map(
      (own): [string, string, object, object, bigint, object] => [
        `chat completions, with ${Object.keys(own)[0]}`,
        CHAT,
        ASK,
        completion({ usage: { ...USAGE, ...own } }),
        184n,
        { input_tokens: 12, output_tokens: 5, cached_input_tokens: 4 },
      ],
    ),
    [
      'a cache that is larger than the input',
      CHAT,
      ASK,
      completion({ usage: { ...USAGE, prompt_tokens_details: { cached_tokens: 13 } } }),
      220n,
      { input_tokens: 12, output_tokens: 5 },
    ],
  ])('is that of each kind of token: %s', async (_, path, ask, answer, charged, usage) => {
    calls.upstream.behave(answers(200, answer))
    expect((await calls.till.post(path, ask)).status).toBe(200)
    expect(await calls.till.charged()).toBe(charged)
    expect((await calls.till.receipt()).usage).toEqual({ ...usage, source: 'upstream' })
  })

  test('is the same for a stream of messages, whose usage comes in two parts', async () => {
    const start = {
      input_tokens: 2,
      cache_read_input_tokens: 4,
      cache_creation_input_tokens: 6,
      output_tokens: 1,
    }
    calls.upstream.behave(streams(messageFrames({ start, delta: { output_tokens: 5, input_tokens: null } })))
    await (await calls.till.post(MESSAGES, { ...CLAUDE, stream: true })).text()
    // 2 at 10, 4 at 1, 6 at 12, 5 at 20.
    expect(await calls.till.charged()).toBe(196n)
  })

  test('holds all input at the highest of its prices, and output for each choice', async () => {
    await calls.till.post(CHAT, { ...ASK, n: 3, max_tokens: 10 })
    const bytes = BigInt(JSON.stringify({ ...ASK, n: 3, max_tokens: 10 }).length)
    expect((await calls.till.receipt()).held).toBe((bytes + 16n + 128n) * 20n + 3n * 10n * 20n)
  })

  test('of embeddings is that of their input', async () => {
    const vectors = {
      object: 'list',
      data: [{ object: 'embedding', index: 0, embedding: [0.1] }],
      model: 'm',
    }
    calls.upstream.behave(answers(200, { ...vectors, usage: { prompt_tokens: 8, total_tokens: 8 } }))
    const response = await calls.till.post('/v1/embeddings', { model: 'gpt', input: ['a', 'b'] })
    expect(await response.json()).toMatchObject(vectors)
    expect(response.headers.get('x-bursar-charged')).toBe('0.000080')
    expect(calls.lastBody()).toEqual({ model: 'upstream-model', input: ['a', 'b'] })
  })

  test('of counting tokens is nothing, and there is no receipt', async () => {
    calls.upstream.behave(answers(200, { input_tokens: 14 }))
    const response = await calls.till.post(`${MESSAGES}/count_tokens?beta=true`, {
      model: 'claude',
      messages,
    })
    expect(await response.json()).toEqual({ input_tokens: 14 })
    expect(calls.sent().at(-1)?.path).toBe('/v1/messages/count_tokens?beta=true')
    expect(await calls.till.charged()).toBe(0n)
    await expect(calls.till.receipt()).rejects.toThrow('expected a receipt')
    calls.upstream.behave(refuses(500, 'api_error'))
    await refusal(
      await calls.till.post(`${MESSAGES}/count_tokens`, { model: 'claude', messages }),
      502,
      'upstream_error',
    )
  })
})

describe('what has no bound is refused, with the reason', () => {
  const part = (content: object) => ({ messages: [{ role: 'user', content: [content] }] })
  const source = (fields: object, type = 'document') => part({ type, source: fields })
  test.each<[string, object, object, RegExp]>([
    [CHAT, ASK, { store: true }, /store .*keep/],
    [CHAT, ASK, { web_search_options: {} }, /search runs at the upstream/],
    [CHAT, ASK, { models: ['dearer'] }, /another model/],
    [CHAT, ASK, { provider: { order: ['x'] } }, /another price/],
    [CHAT, ASK, { service_tier: 'priority' }, /service tiers cost more/],
    [CHAT, ASK, { modalities: ['text', 'audio'] }, /only text/],
    [CHAT, ASK, { prediction: { type: 'content' } }, /predicted/],
    [CHAT, ASK, { tools: [{ type: 'web_search' }] }, /"web_search" is not sold here/],
    [CHAT, ASK, { best_of: 5 }, /best_of/],
    [CHAT, ASK, { search_parameters: { mode: 'on' } }, /search runs at the upstream/],
    [CHAT, ASK, { enable_search: true }, /search runs at the upstream/],
    [CHAT, ASK, { deferred: true }, /deferred .*keep/],
    [CHAT, ASK, { n_predict: 100_000 }, /n_predict .*limit/],
    [CHAT, ASK, { n_cmpl: 8 }, /n_cmpl .*limit/],
    [CHAT, ASK, { chat_template: '{{ x }}' }, /template can repeat/],
    [CHAT, ASK, { mm_processor_kwargs: { max_pixels: 1e9 } }, /more than its cap/],
    [RESPONSES, RESPOND, { previous_input_messages: messages }, /past its caps/],
    ['/v1/embeddings', { model: 'gpt', input: 'x' }, { messages }, /only input is counted/],
    [CHAT, ASK, { extra_body: { google: { cached_content: 'c' } } }, /extra_body/],
    [CHAT, ASK, { Model: 'dearer' }, /Model is not sold here: some servers read it/],
    [CHAT, ASK, { MAX_TOKENS: 100_000 }, /MAX_TOKENS/],
    [CHAT, ASK, { 'max_to\u212aens': 100_000 }, /some servers read it/],
    [CHAT, ASK, { 'be\u017ft_of': 5 }, /some servers read it/],
    [RESPONSES, RESPOND, { Previous_Response_Id: 'resp_1' }, /some servers read it/],
    [MESSAGES, CLAUDE, { Container: 'c' }, /some servers read it/],
    [CHAT, ASK, { messages: [{ role: 'user', content: 'x', Content: [{ type: 'image_url' }] }] }, /Content/],
    [CHAT, ASK, part({ type: 'text', text: 'x', Type: 'image_url', image_url: 'https://x.example' }), /Type/],
    [CHAT, ASK, { tools: [{ type: 'function', TYPE: 'web_search' }] }, /TYPE/],
    [RESPONSES, RESPOND, { input: [{ role: 'user', Content: [] }] }, /Content/],
    [MESSAGES, CLAUDE, part({ type: 'tool_result', Content: [] }), /Content/],
    ['/v1/embeddings', { model: 'gpt' }, { input: [{ image: 'https://x.example/y' }] }, /texts or tokens/],
    [CHAT, ASK, part({ type: 'file', file: { file_id: 'file-1' } }), /file_id/],
    [CHAT, ASK, part({ type: 'file', file: { file_data: 'x' } }), /sold without files/],
    [CHAT, ASK, part({ type: 'input_audio', input_audio: { data: 'x' } }), /input_audio/],
    [CHAT, { ...ASK, model: 'text' }, part({ type: 'image_url', image_url: { url: 'x' } }), /without images/],
    [RESPONSES, RESPOND, { previous_response_id: 'resp_1' }, /previous_response_id/],
    [RESPONSES, RESPOND, { conversation: 'conv_1' }, /conversation/],
    [RESPONSES, RESPOND, { background: true }, /background/],
    [RESPONSES, RESPOND, { store: true }, /store/],
    [RESPONSES, RESPOND, { prompt: { id: 'p' } }, /stored prompt/],
    [RESPONSES, RESPOND, { input: [{ type: 'item_reference', id: 'x' }] }, /item_reference/],
    [RESPONSES, RESPOND, { tools: [{ type: 'web_search' }] }, /"web_search"/],
    [RESPONSES, RESPOND, { tools: [{ type: 'mcp', server_url: 'x' }] }, /"mcp"/],
    [RESPONSES, RESPOND, { tools: [{ type: 'code_interpreter' }] }, /"code_interpreter"/],
    [
      RESPONSES,
      RESPOND,
      { tools: [{ type: 'namespace', tools: [{ type: 'file_search' }] }] },
      /"file_search"/,
    ],
    [RESPONSES, RESPOND, { tools: [{ type: 'shell', environment: { type: 'container_auto' } }] }, /"shell"/],
    [
      RESPONSES,
      RESPOND,
      { input: [{ role: 'user', content: [{ type: 'input_file', file_id: 'f' }] }] },
      /file_id/,
    ],
    [MESSAGES, CLAUDE, { mcp_servers: [{ url: 'x' }] }, /mcp_servers/],
    [MESSAGES, CLAUDE, { container: 'c' }, /container/],
    [MESSAGES, CLAUDE, { speed: 'fast' }, /speeds cost more/],
    [MESSAGES, CLAUDE, { tools: [{ type: 'web_search_20250305', name: 'w' }] }, /web_search_20250305/],
    [MESSAGES, CLAUDE, { tools: [{ type: 'code_execution_20250825', name: 'c' }] }, /code_execution/],
    [MESSAGES, CLAUDE, { context_management: { edits: [{ type: 'compact_20260112' }] } }, /compaction/],
    [MESSAGES, CLAUDE, source({ type: 'file', file_id: 'f' }), /file_id/],
    [MESSAGES, CLAUDE, source({ type: 'file', file_id: 'f' }, 'image'), /file_id/],
    [MESSAGES, CLAUDE, source({ type: 'base64', data: 'x' }), /sold without files/],
    [MESSAGES, CLAUDE, part({ type: 'container_upload', file_id: 'f' }), /container_upload/],
    [MESSAGES, CLAUDE, { thinking: { type: 'enabled', budget_tokens: 100 } }, /budget_tokens/],
  ])('%s %o with %o', async (path, ask, change, why) => {
    const response = await calls.till.post(path, { ...ask, ...change })
    const body = await refusal(response, 400, 'invalid_request')
    expect(body['detail']).toMatch(why)
    expect(response.headers.get('x-should-retry')).toBe('false')
    await calls.nothingHappened()
  })

  test('and what has one passes', async () => {
    const passes = async (path: string, body: object) => {
      const response = await calls.till.post(path, body)
      expect(await response.json()).not.toHaveProperty('code')
      expect(response.status).toBe(200)
    }
    await passes(CHAT, {
      ...ASK,
      store: false,
      service_tier: 'auto',
      modalities: ['text'],
      n_predict: null,
      chatTemplateKwargs: { thinking: true },
      tools: [{ type: 'function' }],
    })
    calls.upstream.behave(answers(200, responseObject()))
    const tools = [
      { type: 'function', name: 'f' },
      { type: 'custom', name: 'c' },
      { type: 'namespace', name: 'n', tools: [{ type: 'function', name: 'g' }] },
      { type: 'tool_search', execution: 'client' },
      { type: 'local_shell' },
    ]
    await passes(RESPONSES, {
      ...RESPOND,
      store: false,
      previous_response_id: null,
      tools,
      include: ['reasoning.encrypted_content'],
    })
    calls.upstream.behave(answers(200, message()))
    await passes(MESSAGES, {
      ...CLAUDE,
      system: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }],
      tools: [
        { name: 't', input_schema: {}, defer_loading: true },
        { type: 'bash_20250124', name: 'bash' },
      ],
      context_management: { edits: [{ type: 'clear_tool_uses_20250919' }] },
      messages: [
        ...messages,
        { role: 'system', content: 'in mid-conversation' },
        {
          role: 'user',
          content: [{ type: 'tool_result', content: [{ type: 'tool_reference', tool_name: 't' }] }],
        },
      ],
    })
  })

  test('a search that Codex offers unasked is left out; the rest keeps its text', async () => {
    calls.upstream.behave(answers(200, responseObject()))
    const search = { type: 'web_search', external_web_access: false }
    const tools = [{ type: 'function', name: 'f' }, search, { type: 'custom', name: 'c' }]
    const response = await calls.till.post(RESPONSES, { ...RESPOND, tools, tool_choice: 'auto' })
    expect(response.headers.get('x-bursar-left-out')).toBe('web_search')
    expect(calls.lastBody()['tools']).toEqual([tools[0], tools[2]])
    for (const asked of [
      { tools: [search] },
      { tools, tool_choice: { type: 'web_search' } },
      { tools: [tools[0], { type: 'web_search' }] },
    ]) {
      await refusal(await calls.till.post(RESPONSES, { ...RESPOND, ...asked }), 400, 'invalid_request')
    }
  })

  test("an image counts as its cap, not as its bytes; a tool's arguments count as text", async () => {
    calls.upstream.behave(answers(200, message()))
    const data = 'A'.repeat(5000)
    const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data } }
    const heldFor = async (content: object[], role = 'user') => {
      const ask = { ...CLAUDE, messages: [{ role, content }] }
      expect((await calls.till.post(MESSAGES, ask)).status).toBe(200)
      return { held: (await calls.till.receipt()).held, bytes: BigInt(JSON.stringify(ask).length) }
    }
    const plain = 16n + 128n
    const seen = await heldFor([image])
    expect(seen.held).toBe((seen.bytes - 5000n + plain + 5000n) * 20n + 2000n)
    const inResult = await heldFor([{ type: 'tool_result', tool_use_id: 't', content: [image] }])
    expect(inResult.held).toBe((inResult.bytes - 5000n + plain + 5000n) * 20n + 2000n)
    const argument = await heldFor([{ type: 'tool_use', id: 't', name: 'n', input: image }], 'assistant')
    expect(argument.held).toBe((argument.bytes + plain) * 20n + 2000n)
  })
})
