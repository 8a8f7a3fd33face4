import fc from 'fast-check'
import { countTokens } from 'gpt-tokenizer/encoding/o200k_base'
import { describe, expect, test } from 'vitest'
import { countBody, MAX_COUNTED_BYTES, tokenizerOf } from '../../src/models/tokens.ts'

const asText = { disallowedSpecial: new Set<string>() }
const count = (body: string) => countBody('o200k_base', body, () => Promise.resolve())

describe('the tokens of a request', () => {
  test('are never fewer than its texts count, one by one or in a row, nor more than its bytes', async () => {
    const word = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.constantFrom(
        'the quick brown fox ',
        '    ',
        '\n\n',
        'aaaaaaaa',
        '<|endoftext|>',
        '中文',
        '😀',
        '\\"',
        '0.',
      ),
    )
    const text = fc.array(word, { maxLength: 60 }).map((words) => words.join(''))
    await fc.assert(
      fc.asyncProperty(
        fc.array(text, { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        async (texts, indent) => {
          const messages = texts.map((content) => ({ role: 'user', content }))
          const body = JSON.stringify({ model: 'm', messages }, null, indent ? 2 : 0)
          const bound = await count(body)
          const apart = texts.reduce((sum, each) => sum + countTokens(each, asText), 0)
          expect(bound).toBeGreaterThanOrEqual(apart)
          expect(bound).toBeGreaterThanOrEqual(countTokens(texts.join('\n'), asText))
          expect(bound).toBeLessThanOrEqual(Buffer.byteLength(body))
        },
      ),
      { numRuns: 300 },
    )
  })

  test('are a fraction of the bytes of plain prose', async () => {
    const content = 'The quick brown fox jumps over the lazy dog. '.repeat(1_000)
    const body = JSON.stringify({ messages: [{ role: 'user', content }] })
    expect(await count(body)).toBeLessThan(Buffer.byteLength(body) / 4)
  })

  test('let others run while a long text without a space is counted, and stay a bound', async () => {
    let breaths = 0
    const text = 'a'.repeat(200_000)
    const bound = await countBody('o200k_base', JSON.stringify({ input: text }), () => {
      breaths += 1
      return Promise.resolve()
    })
    expect(breaths).toBeGreaterThanOrEqual(3)
    // Eight of these letters are one token.
    expect(bound).toBeGreaterThanOrEqual(text.length / 8)
  })

  test('of a body too large to be counted are its bytes', async () => {
    const body = JSON.stringify({ input: 'word '.repeat(MAX_COUNTED_BYTES / 5) })
    expect(await count(body)).toBe(Buffer.byteLength(body))
  })
})

test.each([
  ['gpt-5-mini', 'o200k_base'],
  ['gpt-4.1', 'o200k_base'],
  ['openai/gpt-4o-mini', 'o200k_base'],
  ['o3', 'o200k_base'],
  ['o4-mini', 'o200k_base'],
  ['gpt-oss:20b', 'o200k_base'],
  ['gpt-4-turbo', 'cl100k_base'],
  ['gpt-4', 'cl100k_base'],
  ['text-embedding-3-small', 'cl100k_base'],
  ['claude-sonnet-4-5', null],
  ['llama3.2', null],
  ['my-gpt-4', null],
])('%s is counted by %s', (model, tokenizer) => {
  expect(tokenizerOf(model, 'openai')).toBe(tokenizer)
})

test('what the seller says goes before the name, and a name means nothing elsewhere', () => {
  expect(tokenizerOf('my-own', 'openai', 'o200k_base')).toBe('o200k_base')
  expect(tokenizerOf('gpt-5', 'openai', 'none')).toBeNull()
  expect(tokenizerOf('gpt-5', 'anthropic')).toBeNull()
})
