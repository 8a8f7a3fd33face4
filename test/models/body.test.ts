import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readBody } from '../../src/models/body.ts'

const read = (text: string) => readBody(Buffer.from(text))

describe("a request's body", () => {
  test('keeps the text of what is not changed: numbers, unknown fields, order, escapes', () => {
    const text =
      '{ "model" : "a", "seed": 12345678901234567890, "temperature":1.0, "x": {"deep": [1e400, "\\u00e9\\"}]"]} ,"max_tokens":7}'
    expect(read(text).with({ model: '"b"', max_tokens: '9', n: '1' })).toBe(
      '{"model":"b","seed":12345678901234567890,"temperature":1.0,"x":{"deep": [1e400, "\\u00e9\\"}]"]},"max_tokens":9,"n":1}',
    )
    expect(read(text).with({ seed: null, x: null, temperature: null, model: null })).toBe('{"max_tokens":7}')
  })

  test('is found whatever it holds', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue()),
        fc.constantFrom(undefined, 1, '\t'),
        (object, space) => {
          const body = read(JSON.stringify(object, null, space))
          const wanted = { ...object, model: 'b', n: 3 }
          expect(JSON.parse(body.with({ model: '"b"', n: '3' }))).toEqual(JSON.parse(JSON.stringify(wanted)))
          expect(JSON.parse(body.with({}))).toEqual(JSON.parse(JSON.stringify(object)))
        },
      ),
      { numRuns: 500 },
    )
  })

  test('may name the same member in different objects, and hold what looks like members in texts', () => {
    const text =
      '{"a":{"type":1,"__proto__":{"type":2}},"b":[{"type":"{\\"type\\":1,\\"type\\":2}"}],"":{"":{}}}'
    expect(read(text).with({})).toBe(text)
  })

  test('gives the elements of a list as they are written', () => {
    expect(read('{"a": [ 1.0 ,{"b":"],["} , [2,[]] ,"x,]" ], "b":[], "c":{}}').elements('a')).toEqual([
      '1.0',
      '{"b":"],["}',
      '[2,[]]',
      '"x,]"',
    ])
    for (const name of ['b', 'c', 'd']) expect(read('{"b":[ ],"c":{}}').elements(name)).toEqual([])
  })

  test.each([
    ['a member that is named twice', '{"max_tokens":1,"max_tokens":100000}', /names "max_tokens" twice/],
    ['one that is written in two ways', '{"max_tokens":1,"max\\u005ftokens":100000}', /twice/],
    [
      'one that is named twice inside',
      '{"a":[{"type":"b","x":[{"type":"c","type":"d"}]}]}',
      /a member twice/,
    ],
    ['one that every object has', '{"a":{"__proto__":1,"__proto__":2}}', /a member twice/],
    ['more values than can be read at once', `{"a":[${'{},'.repeat(500_000)}{}]}`, /more than 500000 values/],
    ['a text without an end', '{"model":"a', /not valid JSON/],
    ['what is no JSON', '{"model":', /not valid JSON/],
    ['nothing', '', /not valid JSON/],
    ['a list', '[]', /JSON object/],
    ['a text', '"model"', /JSON object/],
  ])('is refused with %s', (_, text, message) => {
    expect(() => read(text)).toThrow(message)
  })

  test('is refused when it is not UTF-8', () => {
    expect(() => readBody(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]))).toThrow(/UTF-8/)
  })
})
