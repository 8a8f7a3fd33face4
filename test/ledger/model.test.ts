/** Random histories, on a real database and on paper. */
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { BursarError } from '../../src/errors.ts'
import { getBalance } from '../../src/ledger/balance.ts'
import { expireCredits } from '../../src/ledger/expire.ts'
import { grantStatements, reverseStatements } from '../../src/ledger/grant.ts'
import { hold } from '../../src/ledger/hold.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import type { Hold } from '../../src/ledger/ledger.ts'
import { NEVER } from '../../src/ledger/lots.ts'
import { verifyDatabase } from '../../src/ledger/verify/verify.ts'
import { checkBooks } from '../support/books.ts'
import { type TestLedger, testLedger } from '../support/database.ts'
import { createModel, type Granted, type Model } from '../support/model.ts'

/** Each history has a database of its own. */
let t: TestLedger

const MINUTE = 60_000
const amount = fc.oneof(fc.bigInt(1n, 30n), fc.constant(2n ** 49n + 1n))
const index = fc.nat(30)
const account = fc.nat(1)

/** One caller's wish within a group of concurrent ones. */
const wish = fc.oneof(
  fc.record({
    kind: fc.constant('hold' as const),
    account,
    amount,
    lapse: fc.bigInt(0n, 30n),
    minutes: fc.integer({ min: 1, max: 6 }),
  }),
  fc.record({ kind: fc.constant('capture' as const), index, amount: fc.bigInt(0n, 40n) }),
  fc.record({ kind: fc.constant('release' as const), index }),
)
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('group' as const),
      wishes: fc.array(wish, { minLength: 1, maxLength: 8 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('grant' as const),
      discount: fc.boolean(),
      account,
      amount,
      minutes: fc.option(fc.integer({ min: 1, max: 10 }), { nil: null }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('grant again' as const), index }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('reverse' as const), index }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('next epoch' as const), index }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('time' as const), minutes: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'sweep' as const }) },
)
type Wish = typeof wish extends fc.Arbitrary<infer T> ? T : never
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

interface World {
  readonly model: Model
  readonly accounts: readonly string[]
  readonly grants: Granted[]
  readonly holds: Hold[]
}

const refOf = ({ payment, epoch }: Granted): string => `${payment}:${epoch}`

async function grant(world: World, given: Granted): Promise<void> {
  const ref = refOf(given)
  const { account, credits, kind, expiresAt } = given
  await t.db.commit(grantStatements({ ref, account, credits, kind, expiresAt, at: t.clock.now() }))
  world.model.grant(account, ref, credits, expiresAt ?? Number(NEVER))
}

async function play(world: World, now: Step): Promise<void> {
  const { model, grants, accounts } = world
  if (now.kind === 'group') return await playGroup(world, now.wishes)
  if (now.kind === 'time') {
    t.clock.advance(now.minutes * MINUTE)
    return model.advance(now.minutes * MINUTE)
  }
  if (now.kind === 'sweep') {
    await lapseHolds(t.ledger)
    await expireCredits(t.ledger)
    return model.lapse()
  }
  if (now.kind === 'grant') {
    const given: Granted = {
      payment: t.runtime.id('pay'),
      account: accounts[now.account] ?? '',
      credits: now.amount,
      kind: now.discount ? 'discount' : 'grant',
      expiresAt: now.minutes === null ? null : t.clock.now() + now.minutes * MINUTE,
      epoch: 1,
      reversed: false,
    }
    grants.push(given)
    return await grant(world, given)
  }
  const given = grants[now.index % grants.length]
  if (!given) return
  if (now.kind === 'grant again') return await grant(world, given)
  if (now.kind === 'reverse') {
    // Also one that is reversed already.
    await t.db.commit(reverseStatements({ ref: refOf(given), at: t.clock.now() }))
    given.reversed = true
    return model.reverse(refOf(given))
  }
  if (!given.reversed) return
  given.epoch++
  given.reversed = false
  await grant(world, given)
}

/** All at once, so that they share a commit: outcomes first, then holds, each in the order in which they were asked for. */
async function playGroup({ model, holds, accounts }: World, wishes: readonly Wish[]): Promise<void> {
  const asked = wishes.map(async (each) => {
    if (each.kind === 'hold') {
      const lapseCharge = each.lapse < each.amount ? each.lapse : each.amount
      const request = { account: accounts[each.account] ?? '', amount: each.amount, lapseCharge }
      const lifetimeMs = each.minutes * MINUTE
      const result = await hold(t.ledger, { ...request, lifetimeMs }).catch((thrown: unknown) => thrown)
      return { wish: each, result, hold: { ...request, expiresAt: t.clock.now() + lifetimeMs } }
    }
    const target = holds[each.index % holds.length]
    if (!target) return null
    const settled = await (each.kind === 'capture' ? target.capture(each.amount) : target.release())
    return { wish: each, target, settled }
  })
  const done = (await Promise.all(asked)).filter((each) => each !== null)
  for (const each of done) {
    if (!('target' in each)) continue
    const cost = each.wish.kind === 'capture' ? each.wish.amount : 0n
    expect(each.settled?.charged).toBe(model.close(each.target.ref, cost))
  }
  for (const each of done) {
    if ('target' in each) continue
    const { result } = each
    const taken = !(result instanceof BursarError)
    if (!taken) expect(result.code).toBe('insufficient_credits')
    const held = taken ? (result as { hold: Hold }).hold : null
    expect(taken, 'a hold is taken when it is affordable').toBe(model.hold(held?.ref ?? '', each.hold))
    if (held) holds.push(held)
  }
}

async function compare({ model, accounts }: World): Promise<void> {
  for (const id of accounts) {
    const account = model.accounts.get(id)
    if (!account) throw new Error('unknown account')
    const expiring = account.lots.filter(
      (lot) => lot.remaining > 0n && lot.expiresAt > t.clock.now() && lot.expiresAt < Number(NEVER),
    )
    const next = Math.min(...expiring.map((lot) => lot.expiresAt))
    const credits = expiring
      .filter((lot) => lot.expiresAt === next)
      .reduce((sum, lot) => sum + lot.remaining, 0n)
    expect(await getBalance(t.ledger, id)).toMatchObject({
      available: account.total - account.held,
      held: account.held,
      nextExpiry: expiring.length > 0 ? { credits, at: next } : null,
    })
  }
}

async function compareLots({ model, accounts }: World): Promise<void> {
  await expireCredits(t.ledger)
  for (const id of accounts) {
    const real = await t.db.query('SELECT ref, remaining, expired FROM lot WHERE account = ? ORDER BY ref', [
      id,
    ])
    const lots = [...(model.accounts.get(id)?.lots ?? [])].sort((a, b) => (a.ref < b.ref ? -1 : 1))
    expect(real).toEqual(lots.map((lot) => ({ ref: lot.ref, remaining: lot.remaining, expired: lot.lapsed })))
  }
}

async function history(steps: readonly Step[]): Promise<void> {
  const accounts = [await t.account(), await t.account()]
  const model = createModel(t.clock.now())
  for (const id of accounts) model.open(id)
  const world: World = { model, accounts, grants: [], holds: [] }
  for (const each of steps) {
    await play(world, each)
    await compare(world)
  }
  await compareLots(world)
  await checkBooks(t.db)
  const { findings } = await verifyDatabase({ url: t.url, runtime: t.runtime })
  // Here nobody paid for what was granted.
  const unpaid = ['grant_without_payment', 'discount_mismatch']
  expect(findings.filter(({ kind }) => !unpaid.includes(kind))).toEqual([])
}

async function onItsOwn(steps: readonly Step[]): Promise<void> {
  t = await testLedger()
  try {
    await history(steps)
  } finally {
    await t.close()
  }
}

/** Two lots that expire while a hold of one credit is open; nothing books that before the hold has its outcome. */
const lapsing = (first: number, second: number, outcome: Wish): readonly Step[] => {
  const lot = (minutes: number, amount: bigint): Step => {
    return { kind: 'grant', discount: false, account: 1, amount, minutes }
  }
  const open: Wish = { kind: 'hold', account: 1, amount: 1n, lapse: 0n, minutes: 6 }
  return [
    lot(first, 5n),
    { kind: 'group', wishes: [open] },
    lot(second, 3n),
    { kind: 'time', minutes: 2 },
    { kind: 'group', wishes: [outcome] },
  ]
}

test.each<[string, readonly Step[]]>([
  ['at once', lapsing(1, 1, { kind: 'capture', index: 0, amount: 1n })],
  ['one after the other', lapsing(1, 2, { kind: 'capture', index: 0, amount: 1n })],
  ['and it is released', lapsing(1, 2, { kind: 'release', index: 0 })],
])('what lapses while a hold is open is the same whenever it is booked: lots expire %s', (_, steps) =>
  onItsOwn(steps),
)

test('any history of grants, holds, outcomes, reversals and expiries comes out as on paper', async () => {
  const histories = fc.array(step, { minLength: 5, maxLength: 40 })
  await fc.assert(fc.asyncProperty(histories, onItsOwn), { numRuns: 60 })
})
