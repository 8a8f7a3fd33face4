import { expect, it } from 'vitest'
import { watchOutage } from '../src/outages.ts'
import { testRuntime } from './support/runtime.ts'

it('an outage is said at once, then once a minute, also after the clock was set back', () => {
  const runtime = testRuntime()
  const outage = watchOutage(runtime)
  const fail = () => outage.failed('down', 'warn', {}, 'down')
  const moves: [ms: number, said: number][] = [
    [0, 1],
    [59_999, 1],
    [1, 2],
    [-86_400_000, 3],
    [59_999, 3],
    [1, 4],
  ]
  for (const [ms, said] of moves) {
    runtime.clock.advance(ms)
    fail()
    expect(runtime.lines).toHaveLength(said)
  }
  outage.over({}, 'up')
  expect(runtime.lines.at(-1)).toMatchObject({ message: 'up', facts: { failures: moves.length } })
  expect(outage.since()).toBeNull()
})
