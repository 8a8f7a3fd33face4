import { expect, test } from 'vitest'
import { configSchema } from '../../src/config-schema.ts'
import { modelOf, readModels } from '../../src/models/catalogue.ts'
import { createCircuit } from '../../src/models/circuit.ts'

const price = { upstream: 'main', credits_per_call: '1' }
const models = readModels(
  configSchema.parse({
    upstreams: { main: { base_url: 'http://127.0.0.1:9/v1' } },
    models: { one: price, two: price },
  }),
)
const [one, two] = [modelOf(models, 'one'), modelOf(models, 'two')]

test('one call tries an upstream whose rest is over; the others wait for what becomes of it', () => {
  const circuit = createCircuit()
  circuit.unreached(one, 0)
  expect(circuit.down()).toEqual(['main'])
  expect([circuit.admits(one, 4_999), circuit.admits(two, 4_999)]).toEqual([false, false])
  expect([circuit.admits(two, 5_000), circuit.admits(one, 5_000)]).toEqual([true, false])
  circuit.reached(two)
  expect([circuit.admits(one, 5_001), circuit.down()]).toEqual([true, []])
})

test('a rest doubles up to a minute, and starts anew when it was reached', () => {
  const circuit = createCircuit()
  let now = 0
  for (const rest of [5, 10, 20, 40, 60, 60]) {
    circuit.unreached(one, now)
    now += rest * 1000
    expect(circuit.admits(one, now - 1)).toBe(false)
    expect(circuit.admits(one, now)).toBe(true)
  }
  circuit.reached(one)
  circuit.unreached(one, now)
  expect(circuit.admits(one, now + 5_000)).toBe(true)
})

test('a busy one rests for that model only, for a minute at most, and is not down', () => {
  const circuit = createCircuit()
  circuit.busy(one, { retryAfterMs: 3_600_000 }, 0)
  circuit.busy(two, { retryAfterMs: null }, 0)
  expect([circuit.admits(one, 59_999), circuit.admits(one, 60_000)]).toEqual([false, true])
  expect([circuit.admits(two, 999), circuit.admits(two, 1_000)]).toEqual([false, true])
  expect(circuit.down()).toEqual([])
})
