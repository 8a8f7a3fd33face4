/**
 * Everything that a ledger's accounts, agents and services do, in random histories of days and months: what model.test.ts
 * and allowance.test.ts show each by itself must hold together. One thing at a time; groups are theirs.
 */
import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { BursarError } from '../../src/errors.ts'
import { freezeAccount } from '../../src/ledger/accounts.ts'
import { getAgent, updateAgent } from '../../src/ledger/agents.ts'
import { getBalance } from '../../src/ledger/balance.ts'
import { expireCredits } from '../../src/ledger/expire.ts'
import { grantStatements, reverseStatements } from '../../src/ledger/grant.ts'
import type { Principal } from '../../src/ledger/keys.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import { NEVER } from '../../src/ledger/lots.ts'
import {
  captureServiceHold,
  createServiceHold,
  getServiceHold,
  releaseServiceHold,
} from '../../src/ledger/service-holds.ts'
import { verifyDatabase } from '../../src/ledger/verify/verify.ts'
import { formatCredits } from '../../src/money.ts'
import { checkBooks } from '../support/books.ts'
import { type TestLedger, testLedger } from '../support/database.ts'
import { createModel, type Granted, type Model } from '../support/model.ts'

const HOUR = 3_600_000
const SECRET = 'a secret of sixteen'
const LOCK = createHash('sha256').update(SECRET).digest('hex')

const index = fc.nat(40)
const account = fc.nat(1)
const agent = fc.nat(3)
const amount = fc.bigInt(1n, 30n)
const limit = fc.option(fc.bigInt(0n, 60n), { nil: null })
/** Two agents of each account, its own key, the seller's. */
const by = fc.constantFrom('agent' as const, 'agent' as const, 'account' as const, 'seller' as const)

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('hold' as const),
      by,
      agent,
      amount,
      hours: fc.integer({ min: 1, max: 24 }),
      locked: fc.boolean(),
      key: fc.option(fc.constantFrom('k1', 'k2'), { nil: null }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom('capture' as const, 'release' as const),
      by: fc.constantFrom('seller' as const, 'secret' as const, 'account' as const),
      index: fc.nat(5),
      cost: fc.oneof(fc.bigInt(0n, 4n), fc.bigInt(0n, 35n)),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('grant' as const),
      account,
      amount: fc.bigInt(1n, 150n),
      discount: fc.boolean(),
      hours: fc.option(fc.integer({ min: 1, max: 60 }), { nil: null }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('reverse' as const), index }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('grant again' as const), index }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('time' as const), hours: fc.constantFrom(1, 5, 13, 24, 400) }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'sweep' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('allow' as const),
      agent,
      change: fc.record({ perCall: limit, perDay: limit, perMonth: limit }, { requiredKeys: [] }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('freeze' as const),
      agent: fc.option(agent, { nil: null }),
      account,
      frozen: fc.boolean(),
    }),
  },
)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never
type Wish<Kind extends Step['kind']> = Extract<Step, { kind: Kind }>
type Outcome = Exclude<Step, { kind: Exclude<Step['kind'], 'capture' | 'release'> }>

interface Entry {
  readonly ref: string
  readonly account: string
  readonly agent: number | null
  readonly amount: bigint
  readonly day: string
  readonly expiresAt: number
  readonly locked: boolean
  counted: boolean
  state: 'held' | 'captured' | 'released' | 'lapsed'
}

interface PaperAgent {
  readonly id: string
  readonly account: string
  perCall: bigint | null
  perDay: bigint | null
  perMonth: bigint | null
  frozen: boolean
}

interface World {
  readonly t: TestLedger
  readonly model: Model
  readonly accounts: readonly string[]
  readonly frozen: Set<string>
  readonly agents: readonly PaperAgent[]
  readonly entries: Entry[]
  /** By account and idempotency key: the hold, and what was asked. */
  readonly keys: Map<string, { readonly entry: Entry; readonly asked: string }>
  readonly grants: Granted[]
}

/** The code of a refusal, or what was answered. */
async function outcome<T>(act: Promise<T>): Promise<T | string> {
  try {
    return await act
  } catch (thrown) {
    if (thrown instanceof BursarError) return thrown.code
    throw thrown
  }
}

function principal(by: 'agent' | 'account' | 'seller', who: PaperAgent): Principal {
  if (by === 'seller') return { scope: 'seller', key: 'key' }
  if (by === 'account') return { scope: 'account', account: who.account, key: 'key' }
  return { scope: 'agent', account: who.account, agent: who.id, key: 'key' }
}

function used({ model, entries }: World, agent: number, period: string): bigint {
  return entries
    .filter((entry) => entry.agent === agent && entry.counted && entry.day.startsWith(period))
    .reduce((sum, { ref, amount }) => sum + (model.holds.get(ref)?.charged ?? amount), 0n)
}

const counts = ({ perDay, perMonth }: PaperAgent): boolean => perDay !== null || perMonth !== null

function isWithin(world: World, index: number, amount: bigint, day: string): boolean {
  const { perCall, perDay, perMonth } = world.agents[index] as PaperAgent
  if (perCall !== null && amount > perCall) return false
  if (perMonth !== null && used(world, index, day.slice(0, 7)) + amount > perMonth) return false
  return perDay === null || used(world, index, day) + amount <= perDay
}

async function playHold(world: World, wish: Wish<'hold'>): Promise<void> {
  const { t, model, entries, keys } = world
  const who = world.agents[wish.agent] as PaperAgent
  const index = wish.by === 'agent' ? wish.agent : null
  const asked = `${wish.amount} ${wish.hours}`
  const before = wish.key === null ? undefined : keys.get(`${who.account} ${wish.key}`)
  const now = t.clock.now()
  const day = new Date(now).toISOString().slice(0, 10)
  const expiresAt = now + wish.hours * HOUR
  const got = await outcome(
    createServiceHold(t.ledger, principal(wish.by, who), {
      amount: formatCredits(wish.amount),
      lifetime_seconds: wish.hours * 3600,
      ...(wish.by === 'seller' ? { account: who.account } : {}),
      ...(wish.locked ? { lock: LOCK } : {}),
      ...(wish.key === null ? {} : { idempotency_key: wish.key }),
    }),
  )
  if (before) {
    const isKnown = before.asked === asked && ['held', 'captured'].includes(before.entry.state)
    expect(typeof got === 'string' ? got : got.id).toBe(isKnown ? before.entry.ref : 'idempotency_conflict')
    return
  }
  const ref = typeof got === 'string' ? '' : got.id
  const taken = ((): string => {
    if (world.frozen.has(who.account)) return 'frozen'
    if (index !== null && who.frozen) return 'frozen'
    if (index !== null && !isWithin(world, index, wish.amount, day)) return 'allowance_exceeded'
    const hold = { account: who.account, amount: wish.amount, lapseCharge: 0n, expiresAt }
    return model.hold(ref, hold) ? 'held' : 'insufficient_credits'
  })()
  expect(typeof got === 'string' ? got : got.state).toBe(taken)
  if (typeof got === 'string') return
  const { account } = who
  const { amount, locked } = wish
  const counted = index !== null && counts(who)
  const entry: Entry = { ref, account, agent: index, amount, day, expiresAt, locked, counted, state: 'held' }
  entries.push(entry)
  if (wish.key !== null) keys.set(`${account} ${wish.key}`, { entry, asked })
}

/** Whether it may be settled by this one, else what is said. */
function refusal(entry: Entry, by: Outcome['by']): string | null {
  if (by === 'seller') return null
  if (by === 'secret') return entry.locked ? null : 'not_found'
  return entry.locked ? 'forbidden' : null
}

async function playOutcome(world: World, { kind, by, index, cost }: Outcome): Promise<void> {
  const { t, model, entries, keys } = world
  // One of the last.
  const entry = entries.at(-1 - (index % (entries.length || 1)))
  if (!entry) return
  const own = world.agents[entry.agent ?? world.accounts.indexOf(entry.account) * 2] as PaperAgent
  const asker = by === 'secret' ? null : principal(by, own)
  const unlock = by === 'secret' ? { unlock: SECRET } : {}
  const got = await outcome(
    kind === 'capture'
      ? captureServiceHold(t.ledger, asker, entry.ref, { amount: formatCredits(cost), ...unlock })
      : releaseServiceHold(t.ledger, asker, entry.ref, unlock),
  )
  const said = typeof got === 'string' ? got : got.state
  const refused = refusal(entry, by)
  if (refused) return expect(said).toBe(refused)
  if (kind === 'capture' && cost > entry.amount) return expect(said).toBe('invalid_request')
  const wanted = kind === 'capture' ? 'captured' : 'released'
  if (entry.state === 'held') {
    model.close(entry.ref, kind === 'capture' ? cost : 0n)
    // Late, but before anybody had let it lapse.
    const isLate = kind === 'release' && t.clock.now() >= entry.expiresAt
    entry.state = isLate ? 'lapsed' : wanted
    if (kind === 'release') {
      for (const [key, kept] of keys) if (kept.entry === entry) keys.delete(key)
    }
    return expect(said).toBe(entry.state)
  }
  const same =
    kind === 'release'
      ? entry.state !== 'captured'
      : entry.state === 'captured' && model.holds.get(entry.ref)?.charged === cost
  expect(said).toBe(same ? entry.state : 'hold_closed')
}

async function playGrant(world: World, given: Granted): Promise<void> {
  const { t, model } = world
  const ref = `${given.payment}:${given.epoch}`
  const { account, credits, kind, expiresAt } = given
  await t.db.commit(grantStatements({ ref, account, credits, kind, expiresAt, at: t.clock.now() }))
  model.grant(account, ref, credits, expiresAt ?? Number(NEVER))
}

async function playReversal({ t, model, grants }: World, index: number): Promise<void> {
  const given = grants[index % grants.length]
  if (!given) return
  const ref = `${given.payment}:${given.epoch}`
  await t.db.commit(reverseStatements({ ref, at: t.clock.now() }))
  given.reversed = true
  model.reverse(ref)
}

async function playSweep({ t, model, entries }: World): Promise<void> {
  await lapseHolds(t.ledger)
  await expireCredits(t.ledger)
  for (const entry of entries) {
    if (entry.state === 'held' && entry.expiresAt <= t.clock.now()) entry.state = 'lapsed'
  }
  model.lapse()
}

async function playFreeze(world: World, wish: Wish<'freeze'>): Promise<void> {
  const { t, agents, accounts, frozen } = world
  const who = wish.agent === null ? undefined : agents[wish.agent]
  if (who) {
    await updateAgent(t.ledger, { agent: who.id, frozen: wish.frozen })
    who.frozen = wish.frozen
    return
  }
  const id = accounts[wish.account] ?? ''
  await freezeAccount(t.ledger, id, wish.frozen)
  if (wish.frozen) frozen.add(id)
  else frozen.delete(id)
}

async function playAllowance({ t, agents, entries }: World, wish: Wish<'allow'>): Promise<void> {
  const who = agents[wish.agent] as PaperAgent
  await updateAgent(t.ledger, { agent: who.id, allowance: wish.change })
  Object.assign(who, wish.change)
  if (counts(who)) return
  for (const entry of entries) if (entry.agent === wish.agent) entry.counted = false
}

async function play(world: World, now: Step): Promise<void> {
  const { t, model, accounts, grants } = world
  switch (now.kind) {
    case 'hold':
      return await playHold(world, now)
    case 'capture':
    case 'release':
      return await playOutcome(world, now)
    case 'time':
      t.clock.advance(now.hours * HOUR)
      return model.advance(now.hours * HOUR)
    case 'sweep':
      return await playSweep(world)
    case 'allow':
      return await playAllowance(world, now)
    case 'freeze':
      return await playFreeze(world, now)
    case 'reverse':
      return await playReversal(world, now.index)
    case 'grant again': {
      const given = grants[now.index % grants.length]
      if (!given?.reversed) return
      Object.assign(given, { epoch: given.epoch + 1, reversed: false })
      return await playGrant(world, given)
    }
    case 'grant': {
      const given: Granted = {
        payment: t.runtime.id('pay'),
        account: accounts[now.account] ?? '',
        credits: now.amount,
        kind: now.discount ? 'discount' : 'grant',
        expiresAt: now.hours === null ? null : t.clock.now() + now.hours * HOUR,
        epoch: 1,
        reversed: false,
      }
      grants.push(given)
      return await playGrant(world, given)
    }
  }
}

async function compare(world: World): Promise<void> {
  const { t, model, entries } = world
  for (const id of world.accounts) {
    const { total, held } = model.accounts.get(id) ?? { total: 0n, held: 0n }
    expect(await getBalance(t.ledger, id)).toMatchObject({ available: total - held, held })
  }
  const day = new Date(t.clock.now()).toISOString().slice(0, 10)
  for (const [index, { id, perCall, perDay, perMonth, frozen }] of world.agents.entries()) {
    const known = await getAgent(t.ledger, { agent: id })
    expect(known).toMatchObject({ frozen, allowance: { perCall, perDay, perMonth } })
    const spent = [known.allowance.day, known.allowance.month].map((each) => each.held + each.charged)
    expect(spent).toEqual([used(world, index, day), used(world, index, day.slice(0, 7))])
  }
  const last = entries.at(-1)
  if (!last) return
  const { total, held } = model.accounts.get(last.account) ?? { total: 0n, held: 0n }
  expect(await getServiceHold(t.ledger, { scope: 'seller', key: 'key' }, last.ref)).toMatchObject({
    state: last.state,
    amount: formatCredits(last.amount),
    charged: formatCredits(model.holds.get(last.ref)?.charged ?? 0n),
    available: formatCredits(total - held),
  })
}

async function finish({ t, model, accounts }: World): Promise<void> {
  await expireCredits(t.ledger)
  for (const id of accounts) {
    const sql = 'SELECT ref, remaining, expired AS lapsed FROM lot WHERE account = ? ORDER BY ref'
    const lots = [...(model.accounts.get(id)?.lots ?? [])].sort((a, b) => (a.ref < b.ref ? -1 : 1))
    expect(await t.db.query(sql, [id])).toEqual(
      lots.map(({ ref, remaining, lapsed }) => ({ ref, remaining, lapsed })),
    )
  }
  await checkBooks(t.db)
  const { findings } = await verifyDatabase({ url: t.url, runtime: t.runtime })
  // Here nobody paid for what was granted.
  const unpaid = ['grant_without_payment', 'discount_mismatch']
  expect(findings.filter(({ kind }) => !unpaid.includes(kind))).toEqual([])
}

async function history(steps: readonly Step[]): Promise<void> {
  const t = await testLedger()
  try {
    const accounts = [await t.account(), await t.account()]
    const agents = await Promise.all(
      accounts
        .flatMap((id) => [id, id])
        .map(async (account): Promise<PaperAgent> => {
          const id = await t.agent(account)
          return { id, account, perCall: null, perDay: null, perMonth: null, frozen: false }
        }),
    )
    const model = createModel(t.clock.now())
    for (const id of accounts) model.open(id)
    const world = {
      t,
      model,
      accounts,
      agents,
      frozen: new Set<string>(),
      entries: [],
      keys: new Map(),
      grants: [],
    }
    const first = { kind: 'grant', amount: 150n, discount: false } as const
    for (const each of [
      { ...first, account: 0, hours: 40 },
      { ...first, account: 1, hours: null },
      ...steps,
    ]) {
      await play(world, each)
      await compare(world)
    }
    await finish(world)
  } finally {
    await t.close()
  }
}

test('accounts, agents and services come out together as on paper, over days and months', async () => {
  const histories = fc.array(step, { minLength: 20, maxLength: 60 })
  await fc.assert(fc.asyncProperty(histories, history), { numRuns: 25 })
})
