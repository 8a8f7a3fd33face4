import { expect, test } from 'vitest'
import { insufficient } from '../../src/ledger/errors.ts'
import { tooFewCredits } from '../../src/models/shortage.ts'

const RAILS = ['base:USDC', 'base:ETH', 'bitcoin:BTC', 'polygon:POL', 'polygon:USDC']

function refusal(rails: readonly string[], leastSale = 0n) {
  const refused = insufficient(1n, 0n, 50n)
  return tooFewCredits(
    { available: 1n, held: 0n },
    { perChoice: 0, required: 50n, least: 50n, refused, rails, leastSale },
  )
}

test.each([
  [RAILS, 'paid with base:USDC or base:ETH or bitcoin:BTC or polygon:POL, or another rail of list_offers.'],
  [RAILS.slice(0, 2), 'paid with base:USDC or base:ETH.'],
  [[], 'with a pack or rail of list_offers.'],
])('too few credits, and what buys them: %j', (rails, advice) => {
  const { remedy, details } = refusal(rails)
  expect(remedy).toBe(`Buy at least 0.000049 credits: create_invoice (POST /v1/invoices), ${advice}`)
  expect(details['rails']).toEqual(rails.length > 0 ? rails : undefined)
})

test('advice to buy fewer credits than are sold at once would be refused: what is missing is said beside it', () => {
  const { remedy, details } = refusal(RAILS.slice(0, 1), 100_000n)
  expect(remedy).toMatch(/^Buy at least 0\.100000 credits: create_invoice /)
  expect(details['missing']).toBe('0.000049')
})
