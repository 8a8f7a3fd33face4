/** A streamed answer that is cut anywhere is charged as the settling table says, and passed on in whole events. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { chatCompletions } from '../../src/models/endpoints/chat-completions.ts'
import type { Endpoint } from '../../src/models/endpoints/endpoint.ts'
import { messages } from '../../src/models/endpoints/messages.ts'
import { responses } from '../../src/models/endpoints/responses.ts'
import type { Exchanged } from '../../src/models/exchange.ts'
import { settlementOf } from '../../src/models/settle.ts'
import { type Client, createStream } from '../../src/models/streaming.ts'
import { chatFrames, messageFrames, responseFrames } from '../support/streams.ts'

/** 10 micro-credits a token in, 20 out. */
const TERMS = {
  price: { kind: 'tokens', microPerMillionInput: 10_000_000n, microPerMillionOutput: 20_000_000n },
  held: 1_000_000n,
  bounds: { inputTokens: 1000, outputTokens: 1000 },
  knownInput: { inputTokens: 21, outputTokens: 0 },
} as const
const KNOWN = 210n
/** What each stream reports: 12 in, 5 out. */
const REPORTED_INPUT = 120n
const REPORTED = 220n

interface Recorded {
  readonly endpoint: Endpoint
  readonly frames: readonly string[]
  /** The event that says how much input there was; the one with the usage; the one that ends the answer. */
  readonly input: number | null
  readonly usage: number
  readonly end: number
  /** Bytes of its text. */
  readonly outputBytes: number
}

function recorded(name: string, texts: readonly string[]): Recorded {
  const outputBytes = texts.reduce((sum, text) => sum + Buffer.byteLength(JSON.stringify(text)) - 2, 0)
  if (name === 'chat') {
    const frames = chatFrames({ texts })
    const usage = frames.length - 2
    return { endpoint: chatCompletions, frames, input: null, usage, end: usage - 1, outputBytes }
  }
  const frames = name === 'messages' ? messageFrames({ texts }) : responseFrames({ texts })
  const end = frames.length - 1
  return name === 'messages'
    ? { endpoint: messages, frames, input: 0, usage: end - 1, end, outputBytes }
    : { endpoint: responses, frames, input: null, usage: end, end, outputBytes }
}

interface Cut {
  readonly at: number
  /** In one piece each. */
  readonly sizes: readonly number[]
  readonly ended: Exchanged
  readonly crlf: boolean
  readonly wantsUsage: boolean
}

/** What a client is given of a stream that is cut, and what it costs. */
function cutAt({ endpoint, frames }: Recorded, { at, sizes, ended, crlf, wantsUsage }: Cut) {
  const given: Buffer[] = []
  const client: Client = {
    start: () => undefined,
    write: (chunk) => given.push(chunk) > 0,
    onDrain: () => undefined,
    gone: () => false,
    onGone: () => undefined,
  }
  const meter = endpoint.meter?.({
    stream: true,
    inputTokens: { bound: 1000, estimate: 21, besidesText: 0 },
    output: { limit: 1000, choices: 1, least: 1 },
    wantsUsage,
    body: () => '',
  })
  if (!meter) throw new Error('expected a meter')
  const stream = createStream(client, meter, null)
  const all = wire(frames, crlf).subarray(0, at)
  for (let [from, i] = [0, 0]; from < all.length; i++) {
    const size = sizes[i % sizes.length] ?? 1
    stream.data(all.subarray(from, from + size))
    from += size
  }
  const ending = stream.end(ended)
  return { given: Buffer.concat(given), ending, settlement: settlementOf(TERMS, ending) }
}

function wire(frames: readonly string[], crlf: boolean): Buffer {
  const text = frames.join('')
  return Buffer.from(crlf ? text.replaceAll('\n', '\r\n') : text)
}

/** Where each event is whole: with its blank line, or without where the stream ends there properly. */
function wholeAt({ frames }: Recorded, { crlf, ended }: Cut): number[] {
  const blank = crlf ? 4 : 2
  let end = 0
  return frames.map((frame) => {
    end += wire([frame], crlf).length
    return ended.kind === 'complete' ? end - blank : end
  })
}

function check(stream: Recorded, cut: Cut): void {
  const whole = wholeAt(stream, cut)
  const has = (frame: number | null) => frame !== null && cut.at >= (whole[frame] ?? 0)
  const { given, ending, settlement } = cutAt(stream, cut)
  const estimated = KNOWN + BigInt(Math.ceil(stream.outputBytes / 4)) * 20n
  const input = has(stream.input) ? REPORTED_INPUT : KNOWN
  const charge = has(stream.usage) ? REPORTED : has(stream.end) ? estimated : input
  expect(settlement.charge).toBe(charge)
  expect(ending.kind).toBe(has(stream.end) ? 'forwarded' : 'lost')

  const hidden = stream.endpoint === chatCompletions && !cut.wantsUsage ? stream.usage : -1
  const passed = stream.frames.filter((_, i) => i !== hidden && has(i))
  const text = wire(passed, cut.crlf).toString()
  // The last one may have come without its blank line, and gets one.
  expect(given.toString().replaceAll('\r\n', '\n').trimEnd()).toBe(text.replaceAll('\r\n', '\n').trimEnd())
  expect(given.toString()).toMatch(/^$|\n\r?\n$/)
}

const ENDINGS: readonly Exchanged[] = [{ kind: 'complete' }, { kind: 'lost', why: 'disconnect' }]

describe.each(['chat', 'messages', 'responses'])('a stream of %s', (name) => {
  test('at every byte', () => {
    const stream = recorded(name, ['Grüße', ' 👋', ', "C:\\"', '\\'])
    for (const crlf of [false, true]) {
      const { length } = wire(stream.frames, crlf)
      for (const ended of ENDINGS) {
        for (let at = 0; at <= length; at++) {
          check(stream, { at, sizes: [7], ended, crlf, wantsUsage: at % 2 === 0 })
        }
      }
    }
  })

  test('whatever it says, and in whatever pieces it comes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: 'grapheme', maxLength: 40 }), { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 8 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.constantFrom(...ENDINGS),
        fc.boolean(),
        fc.boolean(),
        (texts, sizes, share, ended, crlf, wantsUsage) => {
          const stream = recorded(name, texts)
          const at = Math.floor(share * wire(stream.frames, crlf).length)
          check(stream, { at, sizes, ended, crlf, wantsUsage })
        },
      ),
      { numRuns: 300 },
    )
  })
})
