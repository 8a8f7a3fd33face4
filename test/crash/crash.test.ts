/** The till is killed twenty times under load, on a real chain; more with `npm run crash -- --kills 100`. */
import { expect, test } from 'vitest'
import { runCrash } from './driver.ts'

test('killed at random, the till loses nothing that it acknowledged and charges nothing twice', {
  // A quiet machine needs less than a minute.
  timeout: 900_000,
}, async () => {
  const seed = Number(process.env['CRASH_SEED'] ?? 20_261_126)
  const report = await runCrash({ kills: 20, seed })
  expect(report.problems, `CRASH_SEED=${seed}, ${JSON.stringify(report)}`).toEqual([])
  expect(report.kills).toBe(20)
  // It was under load, and the chain did reorganise: at the end it always does, after a payment was credited.
  for (const count of ['calls', 'replays', 'invoices', 'payments', 'reversals', 'cuts'] as const) {
    expect(report[count], count).toBeGreaterThan(0)
  }
})
