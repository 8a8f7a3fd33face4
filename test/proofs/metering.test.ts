/**
 * Streams that gateways like this one are known to bill wrongly: cached input at the full price because the usage came
 * in a chunk with choices (litellm#36168), an explicit zero taken for no usage when the client left (litellm#37992),
 * nothing for a stream whose client left with its last event (new-api#7062).
 */
import { describe, expect, test } from 'vitest'
import { ASK, CHAT, CLAUDE, callSuite, MESSAGES, RESPOND, RESPONSES } from '../support/calls.ts'
import { DRAIN_MS } from '../support/models.ts'
import { chatFrames, messageFrames, responseFrames, sse, streams } from '../support/streams.ts'

const calls = callSuite()

const DETAILS = { prompt_tokens: 12, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 4 } }

/** The usage beside a choice, as several servers send it. */
function besideChoice(usage: object): string {
  const choices = [{ index: 0, delta: {}, finish_reason: null }]
  return sse({
    id: 'chatcmpl-stream',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'm',
    choices,
    usage,
  })
}

const open = chatFrames({ usage: null, done: false })

describe('what a cache read has its own price in a stream too', () => {
  test.each([
    ['in a chunk of its own', CHAT, ASK, chatFrames({ usage: DETAILS })],
    ['in a chunk with a choice', CHAT, ASK, [...open, besideChoice(DETAILS), sse('[DONE]')]],
    [
      'in the last event of a response',
      RESPONSES,
      RESPOND,
      responseFrames({
        usage: { input_tokens: 12, output_tokens: 5, input_tokens_details: { cached_tokens: 4 } },
      }),
    ],
  ])('%s', async (_, path, ask, frames) => {
    calls.upstream.behave(streams(frames))
    await (await calls.till.post(path, { ...ask, stream: true })).text()
    await expect.poll(async () => (await calls.till.receipt()).state).toBe('charged')
    // 8 at 10, 4 at 1, 5 at 20.
    expect(await calls.till.charged()).toBe(184n)
  })
})

/** Reads a stream until this much of it has come, leaves, and waits for the charge. */
async function leaveAfter(path: string, ask: object, frames: readonly string[]): Promise<void> {
  const client = new AbortController()
  const response = await fetch(`${calls.till.url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${calls.till.key}` },
    body: JSON.stringify({ ...ask, stream: true, stream_options: { include_usage: true } }),
    signal: client.signal,
  })
  const reader = response.body?.getReader()
  const awaited = Buffer.byteLength(frames.join(''))
  for (let seen = 0; seen < awaited; ) {
    const { done, value } = (await reader?.read()) ?? { done: true }
    if (done) throw new Error('the stream ended before its client had what it waits for')
    seen += value.length
  }
  client.abort()
  // The upstream goes on for as long as it is let.
  const charged = async () => {
    calls.till.runtime.elapse(DRAIN_MS)
    return (await calls.till.receipt()).state
  }
  await expect.poll(charged).toBe('charged')
}

describe('a client that leaves', () => {
  test.each([
    ['a chat', CHAT, ASK, chatFrames()],
    ['a response', RESPONSES, RESPOND, responseFrames()],
    ['a message', MESSAGES, CLAUDE, messageFrames()],
  ])('with all of %s pays for it, though the upstream keeps the connection', async (_, path, ask, frames) => {
    calls.upstream.behave(streams(frames, { finish: 'hang' }))
    await leaveAfter(path, ask, frames)
    expect(await calls.till.charged()).toBe(220n)
    expect((await calls.till.receipt()).usage).toMatchObject({ source: 'upstream' })
  })

  test('pays nothing where the upstream says zero, whatever it was given', async () => {
    const zero = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }
    const frames = [...open.slice(0, -1), besideChoice(zero)]
    calls.upstream.behave(streams(frames, { finish: 'hang' }))
    await leaveAfter(CHAT, ASK, frames)
    expect(await calls.till.charged()).toBe(0n)
    expect((await calls.till.receipt()).usage).toMatchObject({ output_tokens: 0, source: 'upstream' })
  })
})
