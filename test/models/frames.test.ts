import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createFrames, dataOf, textBytes } from '../../src/models/frames.ts'

/** Frames of text in any language, with LF or CRLF. */
const frames = fc.array(
  fc
    .record({ text: fc.string({ unit: 'grapheme' }), crlf: fc.boolean(), event: fc.boolean() })
    .map(({ text, crlf, event }) => {
      const frame = `${event ? 'event: x\n' : ''}data: ${JSON.stringify({ text })}\n\n`
      return crlf ? frame.replaceAll('\n', '\r\n') : frame
    }),
)

test('frames are found however their bytes are cut, and are the bytes that came', () => {
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 40 })), (sent, cuts) => {
      const bytes = Buffer.from(sent.join(''))
      const cutter = createFrames()
      const found: string[] = []
      let at = 0
      for (const size of [...cuts, bytes.length]) {
        found.push(...cutter.add(bytes.subarray(at, at + size)))
        at += size
      }
      expect(found.map((frame) => Buffer.from(frame, 'latin1').toString('utf8'))).toEqual(sent)
      expect(cutter.pending()).toBe(0)
      const text = (frame: string) =>
        JSON.parse(Buffer.from(dataOf(frame), 'latin1').toString('utf8')) as unknown
      expect(found.map(text)).toEqual(
        sent.map((frame) => JSON.parse(/data: ([^\r\n]*)/.exec(frame)?.[1] ?? '')),
      )
    }),
    { numRuns: 500 },
  )
})

test('a frame that is not complete stays, and is the rest', () => {
  const cutter = createFrames()
  expect(cutter.add(Buffer.from('data: 1\n\ndata: 2\n'))).toEqual(['data: 1\n\n'])
  expect(cutter.pending()).toBe(8)
  expect(cutter.rest()).toBe('data: 2\n')
  expect(cutter.pending()).toBe(0)
})

test('data may have several lines, and comments between them', () => {
  expect(dataOf(': hello\ndata: {"a":\ndata:1}\n\n')).toBe('{"a":\n1}')
})

test('texts are measured in bytes, with or without a space after the colon', () => {
  const frame = Buffer.from('data: {"content":"é👋","arguments": "{\\"a\\":1}","content":null}\n\n').toString(
    'latin1',
  )
  expect(textBytes(frame, ['"content":', '"arguments":'])).toBe(6 + 9)
})
