import fc from 'fast-check'
import { expect, test } from 'vitest'
import { rateLimiter } from '../../src/http/rate-limit.ts'

const MINUTE = 60_000

test('a clock that is set back makes nobody wait longer than an empty bucket does', () => {
  let now = 1_000_000_000
  const limiter = rateLimiter(() => now, { count: 6, perMs: MINUTE, burst: 6 })
  for (let n = 0; n < 6; n++) limiter.take('a')
  expect(limiter.waitFor('a')).toBe(MINUTE / 6)
  now -= 3_600_000
  expect(limiter.waitFor('a')).toBe(0)
  for (let n = 0; n < 6; n++) limiter.take('a')
  expect(limiter.waitFor('a')).toBe(MINUTE / 6)
})

test('while the clock goes on, no more are let through than the burst and what time has made free', () => {
  const steps = fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 200 })
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 700 }),
      fc.integer({ min: 1, max: 50 }),
      steps,
      (count, burst, waits) => {
        let now = 1_793_491_200_000
        const start = now
        const limiter = rateLimiter(() => now, { count, perMs: MINUTE, burst })
        let taken = 0
        for (const wait of waits) {
          now += wait
          while (limiter.waitFor('a') === 0) {
            limiter.take('a')
            taken += 1
            expect(taken).toBeLessThanOrEqual(burst + ((now - start) * count) / MINUTE + 1)
          }
        }
      },
    ),
  )
})
