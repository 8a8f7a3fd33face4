/**
 * A model that follows a script, for clients that hold whole conversations: it answers a text, or calls a tool of the
 * client, at the three endpoints, streamed or not, as it is asked. The shapes are those of the OpenAI and Anthropic
 * API references ("Function calling", "Tool use"). Each answer reports 12 tokens in and 5 out.
 */
import {
  chatFrames,
  message,
  messageFrames,
  responseFrames,
  responseObject,
  sse,
  streams,
} from './streams.ts'
import { answers, type Behaviour, completion, type Received } from './upstream.ts'

export type Say = { readonly text: string } | { readonly tool: string; readonly input: object }

export interface Asked {
  readonly body: Readonly<Record<string, unknown>>
  /** What the client's tools have answered so far, each as JSON. */
  readonly results: readonly string[]
}

/** The micro-credits of an answer, at 10 and 20 a token. */
export const CHARGE = 12n * 10n + 5n * 20n

export function saysNext(next: (asked: Asked) => Say): Behaviour {
  return (response, received) => {
    const { body } = received
    const wire = wireOf(received)
    const say = next({ body, results: wire.results(body) })
    const behaviour =
      body['stream'] === true
        ? streams(wire.frames(say))
        : answers(200, wire.whole(say), { 'request-id': 'req-test' })
    behaviour(response, received)
  }
}

interface Wire {
  results(body: Received['body']): string[]
  whole(say: Say): object
  frames(say: Say): string[]
}

function wireOf({ path }: Received): Wire {
  if (path.includes('/messages')) return MESSAGES
  return path.includes('/responses') ? RESPONSES : CHAT
}

type Item = Readonly<Record<string, unknown>>
const items = (list: unknown): Item[] => (Array.isArray(list) ? (list as Item[]) : [])

const CALL_ID = 'call_1'
const STREAM_USAGE = { prompt_tokens: 12, completion_tokens: 5, total_tokens: 17 }

const CHAT: Wire = {
  results: (body) =>
    items(body['messages']).flatMap((one) =>
      one['role'] === 'tool' ? [JSON.stringify(one['content'])] : [],
    ),
  whole(say) {
    if ('text' in say) return completion({ text: say.text })
    const message = { role: 'assistant', content: null, tool_calls: [chatCall(say)] }
    return { ...completion(), choices: [{ index: 0, message, logprobs: null, finish_reason: 'tool_calls' }] }
  },
  frames(say) {
    if ('text' in say) return chatFrames({ texts: [say.text] })
    const chunk = (choices: object[], usage: object | null = null) =>
      sse({
        id: 'chatcmpl-stream',
        object: 'chat.completion.chunk',
        created: 1_790_000_000,
        model: 'm',
        choices,
        usage,
      })
    const delta = (fields: object, reason: string | null = null) =>
      chunk([{ index: 0, delta: fields, logprobs: null, finish_reason: reason }])
    return [
      delta({ role: 'assistant', content: null, tool_calls: [{ index: 0, ...chatCall(say) }] }),
      delta({}, 'tool_calls'),
      chunk([], STREAM_USAGE),
      sse('[DONE]'),
    ]
  },
}

function chatCall({ tool, input }: Extract<Say, { tool: string }>): object {
  return { id: CALL_ID, type: 'function', function: { name: tool, arguments: JSON.stringify(input) } }
}

const RESPONSES: Wire = {
  results: (body) =>
    items(body['input']).flatMap((one) =>
      String(one['type']).endsWith('_call_output') ? [JSON.stringify(one['output'])] : [],
    ),
  whole: (say) =>
    'text' in say
      ? responseObject(undefined, say.text)
      : { ...responseObject(), output: [functionCall(say)] },
  frames(say) {
    if ('text' in say) return responseFrames({ texts: [say.text] })
    const call = functionCall(say)
    const added = { ...call, arguments: '', status: 'in_progress' }
    const events: readonly [string, object][] = [
      ['response.created', { response: responseObject(null, '', 'in_progress') }],
      ['response.output_item.added', { output_index: 0, item: added }],
      ['response.function_call_arguments.delta', { item_id: 'fc_1', output_index: 0, delta: call.arguments }],
      [
        'response.function_call_arguments.done',
        { item_id: 'fc_1', output_index: 0, arguments: call.arguments },
      ],
      ['response.output_item.done', { output_index: 0, item: call }],
      ['response.completed', { response: { ...responseObject(), output: [call] } }],
    ]
    return events.map(([type, fields], at) => sse({ type, sequence_number: at, ...fields }, type))
  },
}

function functionCall({ tool, input }: Extract<Say, { tool: string }>) {
  const text = JSON.stringify(input)
  return {
    id: 'fc_1',
    type: 'function_call',
    status: 'completed',
    call_id: CALL_ID,
    name: tool,
    arguments: text,
  }
}

const MESSAGES: Wire = {
  results: (body) =>
    items(body['messages'])
      .flatMap((one) => items(one['content']))
      .flatMap((block) => (block['type'] === 'tool_result' ? [JSON.stringify(block['content'])] : [])),
  whole(say) {
    if ('text' in say) return message(undefined, say.text)
    const content = [{ type: 'tool_use', id: 'toolu_1', name: say.tool, input: say.input }]
    return { ...message(), content, stop_reason: 'tool_use' }
  },
  frames(say) {
    if ('text' in say) return messageFrames({ texts: [say.text] })
    const event = (type: string, fields: object) => sse({ type, ...fields }, type)
    const [start = ''] = messageFrames()
    const block = { type: 'tool_use', id: 'toolu_1', name: say.tool, input: {} }
    const json = { type: 'input_json_delta', partial_json: JSON.stringify(say.input) }
    const end = { stop_reason: 'tool_use', stop_sequence: null }
    return [
      start,
      event('content_block_start', { index: 0, content_block: block }),
      event('content_block_delta', { index: 0, delta: json }),
      event('content_block_stop', { index: 0 }),
      event('message_delta', { delta: end, usage: { output_tokens: 5 } }),
      event('message_stop', {}),
    ]
  },
}
