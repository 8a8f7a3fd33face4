/** A chain that is read from two endpoints, of which one answers anything at all. */
import { expect } from 'vitest'
import type { Chain, Cursor, Transfer } from '../../src/chains/chain.ts'
import { BursarError } from '../../src/errors.ts'
import type { Proxy } from '../support/proxy.ts'
import { type TestRuntime, testRuntime } from '../support/runtime.ts'
import { toTip, watch } from './contract.ts'

export interface BesideLiar {
  readonly open: (rpc: string[], runtime: TestRuntime) => Chain
  readonly liar: Proxy
  readonly honest: Proxy
  readonly liarFirst: boolean
  /** From here on the liar lies. */
  readonly arm: () => void
  readonly start: Cursor
  readonly ours: string
  /** What was paid to `ours`. */
  readonly truth: readonly Transfer[]
}

export function honestly(liar: Proxy): void {
  liar.decide = () => 'pass'
  liar.alter = (_, result) => result
}

const plain = ({ key, symbol, to, amount, block }: Transfer) =>
  `${key} ${symbol} ${to} ${amount} ${block?.hash}`

/**
 * Whatever the liar says, no payment is seen that there is not, none is lost, and none is vouched for that is not as it
 * was given.
 */
export async function readBesideLiar(given: BesideLiar): Promise<void> {
  const { liar, honest, liarFirst, start, ours, truth } = given
  const runtime = testRuntime()
  const chain = given.open(liarFirst ? [liar.url, honest.url] : [honest.url, liar.url], runtime)
  const real = new Set(truth.map(plain))
  const seen: string[] = []
  let cursor = start
  given.arm()
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      const step = await chain.follow(cursor, watch(ours))
      for (const transfer of step.transfers) expect(real).toContain(plain(transfer))
      expect(step.forkedAt).toBeNull()
      seen.push(...step.transfers.map(plain))
      cursor = step.cursor
    } catch (error) {
      expect(error).toBeInstanceOf(BursarError)
      expect(error).toMatchObject({ code: expect.stringMatching(/^(chain_unavailable|invalid_config)$/) })
    }
    // An endpoint that failed is asked again after half a minute. After a whole one, one whose tip stands still
    // would lag; on a chain that lives the honest one's moves.
    if (attempt === 0) runtime.clock.advance(31_000)
  }
  const wrong = truth.map((transfer) => ({ ...transfer, amount: transfer.amount + 1n }))
  expect([...(await chain.vouch(wrong).catch(() => new Set<string>()))]).toEqual([])
  honestly(liar)
  const rest = await toTip(chain, cursor, watch(ours))
  seen.push(...rest.transfers.map(plain))
  expect(seen.toSorted()).toEqual([...real].toSorted())
  expect(await chain.vouch(truth)).toEqual(new Set(truth.map(({ key }) => key)))
}
