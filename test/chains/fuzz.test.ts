/**
 * One of two endpoints answers anything at all, the other the truth. Whatever the first says, no payment is seen
 * that there is not, none is lost, and none is vouched for that is not as it was given.
 */
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Cursor, Transfer } from '../../src/chains/chain.ts'
import { type Proxy, startProxy } from '../support/proxy.ts'
import { deployPasser } from '../support/token.ts'
import { toTip, watch } from './contract.ts'
import { honestly, readBesideLiar } from './liar.ts'
import { type EvmWorld, evmWorld } from './worlds.ts'

let world: EvmWorld
let liar: Proxy
let honest: Proxy
let start: Cursor
let truth: readonly Transfer[]
let ours: string
let stranger: string

beforeAll(async () => {
  world = await evmWorld()
  await world.anvil.automine(true)
  const passer = await deployPasser(world.anvil)
  await world.anvil.automine(false)
  ;[liar, honest] = await Promise.all([startProxy(world.url), startProxy(world.url)])
  const chain = world.open()
  ours = chain.recipient(1).address
  stranger = chain.recipient(2).address
  await world.mine(2)
  start = await chain.start()
  await world.pay([
    { address: stranger, amount: 50n },
    { address: ours, amount: 100n },
  ])
  await world.anvil.send({ to: ours, value: 200n })
  await world.mine()
  await passer.pass('passTwice', ours, 400n)
  await passer.pass('failWhole', ours, 999n)
  await world.mine()
  truth = (await toTip(chain, start, watch(ours))).transfers
  expect(truth).toHaveLength(4)
})
afterAll(async () => {
  await Promise.all([liar?.stop(), honest?.stop()])
  await world?.stop()
})

const METHODS = [
  'eth_getBlockByNumber',
  'eth_getLogs',
  'eth_getTransactionReceipt',
  'debug_traceBlockByHash',
  'eth_chainId',
] as const

/** How one part of an answer is changed. */
const WAYS = [
  'leave out',
  'repeat',
  'ours',
  'stranger',
  'one more',
  'sevens',
  'null',
  'no list',
  'nonsense',
] as const
type Way = (typeof WAYS)[number]

interface Lie {
  readonly method: (typeof METHODS)[number]
  /** Which answers of this method: the n-th, or from there on all. */
  readonly nth: number
  readonly always: boolean
  readonly kind: 'change' | 'refuse' | 'drop' | 'status' | 'null' | 'empty' | 'garbage'
  readonly way: Way
  readonly where: number
}

interface Lies {
  readonly liarFirst: boolean
  readonly lies: readonly Lie[]
}

const lie: fc.Arbitrary<Lie> = fc.record({
  method: fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...METHODS.slice(0, 4)) },
    { weight: 1, arbitrary: fc.constantFrom(...METHODS) },
  ),
  nth: fc.constantFrom(1, 1, 1, 2, 4),
  always: fc.boolean(),
  kind: fc.oneof(
    { weight: 12, arbitrary: fc.constant('change' as const) },
    { weight: 1, arbitrary: fc.constantFrom('refuse', 'drop', 'status', 'null', 'empty', 'garbage') },
  ),
  way: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom<Way>('leave out', 'ours', 'one more') },
    { weight: 1, arbitrary: fc.constantFrom(...WAYS) },
  ),
  where: fc.nat(100),
})
const anyLies: fc.Arbitrary<Lies> = fc.record({
  liarFirst: fc.boolean(),
  lies: fc.array(lie, { minLength: 1, maxLength: 3 }),
})

/** What answers are read for: anything else may be changed without anyone noticing. */
const READ = new Set(
  (
    'transactions to value hash parentHash number timestamp topics data address blockHash transactionHash ' +
    'logIndex status logs result calls type error txHash'
  ).split(' '),
)

interface Place {
  readonly parent: Record<string, unknown>
  readonly key: string
}

/** The JSON value with one of its parts replaced, left out or repeated. */
function changed(value: unknown, { where, way }: Lie): unknown {
  if (typeof value !== 'object') return way === 'null' ? null : '0x1'
  const copy: unknown = structuredClone(value)
  const places = placesIn(copy)
  const place = places[where % Math.max(1, places.length)]
  if (place) change(place, way)
  return copy
}

function placesIn(node: unknown): Place[] {
  if (typeof node !== 'object' || node === null) return []
  const parent = node as Record<string, unknown>
  return Object.keys(parent)
    .filter((key) => Array.isArray(node) || READ.has(key))
    .flatMap((key) => [{ parent, key }, ...placesIn(parent[key])])
}

function change({ parent, key }: Place, way: Way): void {
  const old = parent[key]
  if (way === 'leave out') {
    if (Array.isArray(parent)) parent.splice(Number(key), 1)
    else delete parent[key]
  } else if (way === 'repeat' && Array.isArray(parent)) {
    parent.push(old)
  } else {
    parent[key] = replacement(old, way)
  }
}

function replacement(old: unknown, way: Way): unknown {
  if (way === 'null') return null
  if (way === 'no list') return []
  if (typeof old !== 'string' || !/^0x[0-9a-f]+$/.test(old)) return 'nonsense'
  const digits = old.slice(2)
  if (way === 'ours' || way === 'stranger') {
    return `0x${(way === 'ours' ? ours : stranger).slice(2).toLowerCase().padStart(digits.length, '0')}`
  }
  if (way === 'one more') return `0x${(BigInt(old) + 1n).toString(16).padStart(digits.length, '0')}`
  return `0x${'7'.repeat(digits.length)}`
}

function arm(lies: readonly Lie[]): void {
  const counts = new Map<string, number>()
  const lieAbout = (method: string, count: number) =>
    lies.find((each) => each.method === method && (each.always ? count >= each.nth : count === each.nth))
  liar.decide = ({ method }) => {
    const count = (counts.get(method) ?? 0) + 1
    counts.set(method, count)
    switch (lieAbout(method, count)?.kind) {
      case 'refuse':
        return { error: { code: -32000, message: 'header not found' } }
      case 'status':
        return 500
      case 'drop':
        return 'drop'
      case 'null':
        return { result: null }
      case 'empty':
        return { result: [] }
      case 'garbage':
        return { result: 'garbage' }
      default:
        return 'pass'
    }
  }
  liar.alter = ({ method }, result) => {
    const told = lieAbout(method, counts.get(method) ?? 0)
    return told?.kind === 'change' ? changed(result, told) : result
  }
}

const play = ({ liarFirst, lies }: Lies): Promise<void> =>
  readBesideLiar({
    open: (rpc, runtime) => world.openWith({ rpc }, runtime),
    arm: () => arm(lies),
    liar,
    honest,
    liarFirst,
    start,
    ours,
    truth,
  })

describe('an endpoint that answers anything', () => {
  it('beside an honest one neither invents nor hides a payment', async () => {
    await fc.assert(
      fc.asyncProperty(anyLies, (lies) => play(lies).finally(() => honestly(liar))),
      { numRuns: 80 },
    )
  })
})
