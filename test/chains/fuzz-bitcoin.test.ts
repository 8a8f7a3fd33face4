/**
 * One of two Bitcoin nodes answers anything at all, the other the truth: as for EVM chains (fuzz.test.ts), no payment
 * is seen that there is not, none is lost, and none is vouched for that is not as it was given.
 */
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Cursor, Transfer } from '../../src/chains/chain.ts'
import { type Proxy, startProxy } from '../support/proxy.ts'
import { toTip, watch } from './contract.ts'
import { honestly, readBesideLiar } from './liar.ts'
import { type BitcoinWorld, bitcoinWorld, noBitcoin } from './worlds.ts'

const missing = noBitcoin()

let world: BitcoinWorld
let liar: Proxy
let honest: Proxy
let start: Cursor
let truth: readonly Transfer[]
let ours: string
let hashes: string[]

beforeAll(async () => {
  if (missing !== null) return
  world = await bitcoinWorld()
  ;[liar, honest] = await Promise.all([startProxy(world.url), startProxy(world.url)])
  const chain = world.openWith({})
  ours = chain.recipient(1).address
  const stranger = chain.recipient(2).address
  start = await chain.start()
  for (const amount of [50_000n, 70_000n]) {
    await world.pay([
      { address: stranger, amount: 60_000n },
      { address: ours, amount },
    ])
    await world.mine(1)
  }
  truth = (await toTip(chain, start, watch(ours))).transfers
  expect(truth).toHaveLength(2)
  const heights = [start.height, start.height + 1, start.height + 2]
  hashes = await Promise.all(heights.map((height) => world.hashAt(height)))
})
afterAll(async () => {
  await Promise.all([liar?.stop(), honest?.stop()])
  await world?.stop()
})

const METHODS = [
  'getbestblockhash',
  'getblockhash',
  'getblockheader',
  'getblock',
  'getblockchaininfo',
] as const

interface Lie {
  readonly method: (typeof METHODS)[number]
  readonly nth: number
  readonly always: boolean
  readonly how:
    | 'another block'
    | 'digit'
    | 'short'
    | 'field'
    | 'null'
    | 'number'
    | 'refuse'
    | 'drop'
    | 'status'
  readonly where: number
}

const lie: fc.Arbitrary<Lie> = fc.record({
  method: fc.constantFrom(...METHODS),
  nth: fc.constantFrom(1, 1, 2, 3),
  always: fc.boolean(),
  how: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom<Lie['how']>('another block', 'digit', 'short', 'field') },
    { weight: 1, arbitrary: fc.constantFrom<Lie['how']>('null', 'number', 'refuse', 'drop', 'status') },
  ),
  where: fc.nat(100_000),
})

const FIELDS = ['hash', 'height', 'time', 'previousblockhash'] as const

function changed(result: unknown, { how, where }: Lie): unknown {
  if (how === 'null') return null
  if (how === 'number') return where
  const other = hashes[where % hashes.length]
  if (typeof result === 'string') {
    if (how === 'another block') return result.length === 64 ? other : result
    if (how === 'short') return result.slice(0, where % result.length)
    const at = where % result.length
    return `${result.slice(0, at)}${result[at] === '7' ? '3' : '7'}${result.slice(at + 1)}`
  }
  if (typeof result !== 'object' || result === null) return result
  const field = FIELDS[where % FIELDS.length] ?? 'hash'
  const value = field === 'height' || field === 'time' ? where : other
  return { ...result, [field]: how === 'short' ? undefined : value }
}

function arm(lies: readonly Lie[]): void {
  const counts = new Map<string, number>()
  const told = (method: string) => {
    const count = counts.get(method) ?? 0
    return lies.find(
      (each) => each.method === method && (each.always ? count >= each.nth : count === each.nth),
    )
  }
  liar.decide = ({ method }) => {
    counts.set(method, (counts.get(method) ?? 0) + 1)
    const how = told(method)?.how
    if (how === 'drop') return 'drop'
    if (how === 'status') return 500
    return how === 'refuse' ? { error: { code: -5, message: 'Block not found' } } : 'pass'
  }
  liar.alter = ({ method }, result) => {
    const one = told(method)
    return one ? changed(result, one) : result
  }
}

const play = (lies: readonly Lie[], liarFirst: boolean): Promise<void> =>
  readBesideLiar({
    open: (rpc, runtime) => world.openWith({ rpc }, 'p2wpkh', runtime),
    arm: () => arm(lies),
    liar,
    honest,
    liarFirst,
    start,
    ours,
    truth,
  })

describe.runIf(missing === null)('a Bitcoin node that answers anything', () => {
  it('beside an honest one neither invents nor hides a payment', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(lie, { minLength: 1, maxLength: 3 }), fc.boolean(), (lies, first) =>
        play(lies, first).finally(() => honestly(liar)),
      ),
      { numRuns: 40 },
    )
  })
})
