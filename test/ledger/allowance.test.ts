/** What an agent may spend of its account's credits, to the micro-credit, whatever happens at once and at midnight. */
import { fileURLToPath } from 'node:url'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BursarError } from '../../src/errors.ts'
import { createAgent, getAgent, updateAgent } from '../../src/ledger/agents.ts'
import type { AllowanceChange } from '../../src/ledger/allowance.ts'
import { balanceView, getBalance } from '../../src/ledger/balance.ts'
import { hold } from '../../src/ledger/hold.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import type { Hold } from '../../src/ledger/ledger.ts'
import { verifyDatabase } from '../../src/ledger/verify/verify.ts'
import { checkBooks } from '../support/books.ts'
import { type TestLedger, testLedger } from '../support/database.ts'
import { printed, start } from '../support/process.ts'
import { clockAhead } from '../support/program.ts'
import { tamper } from '../support/tamper.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

let t: TestLedger
let account: string
beforeEach(async () => {
  t = await testLedger()
  account = await t.account(1_000_000n)
})
afterEach(() => t.close())

const agentWith = async (allowance: AllowanceChange): Promise<string> =>
  (await createAgent(t.ledger, { account, name: t.runtime.id('name'), allowance })).id

async function take(agent: string, amount: bigint, model = 'small'): Promise<Hold> {
  const result = await hold(t.ledger, {
    account,
    agent,
    amount,
    lapseCharge: amount / 2n,
    lifetimeMs: HOUR,
    receipt: { route: 'call_model', model, upstream: 'local', price: '{}' },
  })
  if (result.kind !== 'held') throw new Error(result.kind)
  return result.hold
}

const refusal = (attempt: Promise<unknown>): Promise<BursarError> =>
  attempt.then(
    () => {
      throw new Error('expected a refusal')
    },
    (thrown: unknown) => {
      if (thrown instanceof BursarError) return thrown
      throw thrown
    },
  )

/** Nobody paid for what was granted here. */
async function clean(): Promise<void> {
  await checkBooks(t.db)
  const { findings } = await verifyDatabase({ url: t.url, runtime: t.runtime })
  expect(findings.filter(({ kind }) => kind !== 'grant_without_payment')).toEqual([])
}

describe('an allowance', () => {
  test('a call: what one call may hold', async () => {
    const agent = await agentWith({ perCall: 10n })
    await take(agent, 10n)
    await take(agent, 10n)
    const error = await refusal(take(agent, 11n))
    expect(error).toMatchObject({
      code: 'allowance_exceeded',
      status: 402,
      details: { allowance: 'per_call', limit: '0.000010', required: '0.000011', resets_at: null },
    })
    expect(error.remedy).toMatch(/raise the allowance/)
    await clean()
  })

  test('a day: what is held and charged counts, what is given back is free again', async () => {
    const agent = await agentWith({ perDay: 100n })
    const [first, second] = [await take(agent, 60n), await take(agent, 40n)]
    expect((await refusal(take(agent, 1n))).details).toEqual({
      allowance: 'per_day',
      limit: '0.000100',
      spent: '0.000000',
      held: '0.000100',
      required: '0.000001',
      resets_at: '2026-11-02T00:00:00.000Z',
      reason: 'held',
    })
    await first.capture(25n)
    await second.release()
    expect((await getAgent(t.ledger, { agent })).allowance.day).toEqual({ held: 0n, charged: 25n })
    expect((await refusal(take(agent, 76n))).details).toMatchObject({ spent: '0.000025', reason: 'spent' })
    await (await take(agent, 75n)).capture(75n)
    await clean()
    t.clock.advance(DAY)
    await take(agent, 100n)
    await clean()
  })

  test('a charge after midnight counts on the day of its hold', async () => {
    t.clock.advance(DAY - 1)
    const agent = await agentWith({ perDay: 100n })
    const late = await take(agent, 80n)
    t.clock.advance(1)
    const next = await take(agent, 100n)
    await late.capture(80n)
    await next.release()
    await take(agent, 100n)
    const { allowance } = await getAgent(t.ledger, { agent })
    expect([allowance.day, allowance.month]).toEqual([
      { held: 100n, charged: 0n },
      { held: 100n, charged: 80n },
    ])
    await clean()
  })

  test('a month: the days of it together, and none of the next', async () => {
    const agent = await agentWith({ perDay: 50n, perMonth: 70n })
    await (await take(agent, 50n)).capture(50n)
    t.clock.advance(29 * DAY)
    const error = await refusal(take(agent, 21n))
    expect(error.details).toMatchObject({ allowance: 'per_month', resets_at: '2026-12-01T00:00:00.000Z' })
    await take(agent, 20n)
    t.clock.advance(DAY)
    await take(agent, 50n)
    await clean()
  })

  test('models: those and no others', async () => {
    const agent = await agentWith({ models: ['small', 'medium'] })
    await take(agent, 1n, 'medium')
    const error = await refusal(take(agent, 1n, 'large'))
    expect(error.details).toMatchObject({ allowance: 'models', models: ['small', 'medium'] })
    expect(error.remedy).toContain('small, medium')
    const none = await agentWith({ models: [] })
    expect((await refusal(take(none, 1n))).code).toBe('allowance_exceeded')
    const unnamed = hold(t.ledger, { account, agent, amount: 1n, lifetimeMs: HOUR })
    expect((await refusal(unnamed)).details).toMatchObject({ allowance: 'models' })
  })

  test('a hold that lapses counts as what it charged', async () => {
    const agent = await agentWith({ perDay: 100n })
    await take(agent, 100n)
    t.clock.advance(HOUR)
    expect(await lapseHolds(t.ledger)).toBe(1)
    expect((await getAgent(t.ledger, { agent })).allowance.day).toEqual({ held: 0n, charged: 50n })
    await take(agent, 50n)
    await clean()
  })

  test('is changed in part, and counted from its first limit by day or month on', async () => {
    const agent = await agentWith({ perCall: 60n })
    const before = await take(agent, 60n)
    await updateAgent(t.ledger, { agent, allowance: { perDay: 100n } })
    await take(agent, 60n)
    await before.capture(60n)
    expect((await getAgent(t.ledger, { agent })).allowance).toMatchObject({
      perCall: 60n,
      perDay: 100n,
      day: { held: 60n, charged: 0n },
    })
    await updateAgent(t.ledger, { agent, allowance: { perCall: null, perMonth: 200n, perDay: 30n } })
    expect((await refusal(take(agent, 1n))).details).toMatchObject({ allowance: 'per_day', held: '0.000060' })
    await clean()
    await updateAgent(t.ledger, { agent, allowance: { perDay: null, perMonth: null } })
    expect(await t.db.query('SELECT * FROM agent_spend')).toEqual([])
    await take(agent, 500n)
    await clean()
    await updateAgent(t.ledger, { agent, allowance: { perDay: 10n } })
    await take(agent, 10n)
    expect((await refusal(take(agent, 1n))).code).toBe('allowance_exceeded')
    await clean()
  })

  test('is refused when it is no amount', async () => {
    const agent = await agentWith({})
    for (const allowance of [{ perDay: -1n }, { perCall: 2n ** 60n }, { models: [''] }]) {
      await expect(updateAgent(t.ledger, { agent, allowance })).rejects.toMatchObject({
        code: 'invalid_request',
      })
    }
  })

  test('comes before the balance, and never hides a freeze', async () => {
    const agent = await agentWith({ perDay: 10n })
    expect((await refusal(take(agent, 2_000_000n))).code).toBe('allowance_exceeded')
    await updateAgent(t.ledger, { agent, frozen: true })
    expect((await refusal(take(agent, 1n))).code).toBe('frozen')
    expect(await balanceView(t.ledger, account, agent)).toMatchObject({
      frozen: true,
      allowance: { per_call: null, day_left: '0.000010', month_left: null },
    })
    expect(await balanceView(t.ledger, account)).toMatchObject({ frozen: false, allowance: null })
  })

  test('binds one agent, not the next, nor the account', async () => {
    const [poor, rich] = [await agentWith({ perDay: 5n }), await agentWith({})]
    await take(poor, 5n)
    await take(rich, 500n)
    const own = await hold(t.ledger, { account, amount: 500n, lifetimeMs: HOUR })
    expect(own.kind).toBe('held')
    expect(await t.db.query('SELECT agent FROM agent_spend')).toEqual([{ agent: poor }])
  })
})

test('verify finds counters that do not follow from the journal', async () => {
  const agent = await agentWith({ perDay: 100n })
  await (await take(agent, 60n)).capture(20n)
  await clean()
  await tamper(t.url, ['UPDATE agent_spend SET charged = charged - 20'])
  const { findings } = await verifyDatabase({ url: t.url, runtime: t.runtime })
  expect(findings.map(({ kind }) => kind)).toContain('agent_spend_mismatch')
})

test('four processes spend one allowance: exactly that, not one call more', async () => {
  const agent = await agentWith({ perMonth: 7n * 500n + 3n })
  const script = fileURLToPath(new URL('children/spender.ts', import.meta.url))
  // In the middle of a month: at its end the allowance would begin anew.
  const today = new Date()
  const middle = Date.UTC(today.getUTCFullYear(), today.getUTCMonth() + 1, 15)
  const env = { ...process.env, ...clockAhead('at once', middle - today.getTime()) }
  const children = [1, 2, 3, 4].map(() => start(process.execPath, [script, t.url, account, '7', agent], env))
  try {
    const done = await Promise.all(children.map((child) => printed(child, /^done (\d+)$/m)))
    expect(done.reduce((sum, [, holds]) => sum + Number(holds), 0)).toBe(500)
  } finally {
    await Promise.all(children.map((child) => child.stop('SIGKILL')))
  }
  expect(await getBalance(t.ledger, account)).toMatchObject({ available: 1_000_000n - 3_500n, held: 0n })
  await clean()
})

const limit = fc.option(fc.bigInt(0n, 60n), { nil: null })
const wish = fc.oneof(
  fc.record({ kind: fc.constant('hold' as const), agent: fc.nat(1), amount: fc.bigInt(1n, 40n) }),
  fc.record({ kind: fc.constant('capture' as const), index: fc.nat(20), cost: fc.bigInt(0n, 40n) }),
  fc.record({ kind: fc.constant('release' as const), index: fc.nat(20) }),
)
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('group' as const),
      wishes: fc.array(wish, { minLength: 1, maxLength: 6 }),
    }),
  },
  // From minutes to over a month.
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('time' as const), hours: fc.constantFrom(1, 9, 24, 200, 800) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('lapse' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('allow' as const),
      agent: fc.nat(1),
      change: fc.record({ perCall: limit, perDay: limit, perMonth: limit }, { requiredKeys: [] }),
    }),
  },
)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never
type Group = Extract<Step, { kind: 'group' }>

interface Entry {
  readonly day: string
  readonly amount: bigint
  readonly expiresAt: number
  /** Undefined while it is open. */
  charged?: bigint
  /** Taken while something was counted, and not forgotten since. */
  counted: boolean
}

/** One agent on paper: every hold it ever had, added up afresh each time. */
class Paper {
  perCall: bigint | null = null
  perDay: bigint | null = null
  perMonth: bigint | null = null
  readonly entries: Entry[] = []

  get counts(): boolean {
    return this.perDay !== null || this.perMonth !== null
  }

  used(period: string): bigint {
    return this.entries
      .filter(({ counted, day }) => counted && day.startsWith(period))
      .reduce((sum, { amount, charged }) => sum + (charged ?? amount), 0n)
  }

  take(now: number, amount: bigint, expiresAt: number): Entry | null {
    const day = new Date(now).toISOString().slice(0, 10)
    if (this.perCall !== null && amount > this.perCall) return null
    if (this.perDay !== null && this.used(day) + amount > this.perDay) return null
    if (this.perMonth !== null && this.used(day.slice(0, 7)) + amount > this.perMonth) return null
    const entry = { day, amount, expiresAt, counted: this.counts }
    this.entries.push(entry)
    return entry
  }

  allow(change: Partial<Pick<Paper, 'perCall' | 'perDay' | 'perMonth'>>): void {
    Object.assign(this, change)
    if (!this.counts) for (const entry of this.entries) entry.counted = false
  }
}

interface Taken {
  readonly hold: Hold
  readonly entry: Entry
}

async function play(
  wishes: Group['wishes'],
  agents: readonly string[],
  papers: readonly Paper[],
  taken: Taken[],
) {
  const now = t.clock.now()
  // Of one hold only the first outcome counts, and two never share a group.
  const outcomes = new Map<number, Exclude<(typeof wishes)[number], { kind: 'hold' }>>()
  for (const each of wishes) {
    if (each.kind !== 'hold' && taken.length > 0) {
      const index = each.index % taken.length
      if (!outcomes.has(index)) outcomes.set(index, each)
    }
  }
  const closing = [...outcomes].map(async ([index, each]) => {
    const open = taken[index]?.hold
    await (each.kind === 'capture' ? open?.capture(each.cost) : open?.release())
  })
  const holds = wishes.filter((each) => each.kind === 'hold')
  const opening = holds.map((each) =>
    take(agents[each.agent] ?? '', each.amount).catch((error: unknown) => error),
  )
  // A group books outcomes first.
  for (const [index, each] of outcomes) {
    const entry = taken[index]?.entry
    if (!entry || entry.charged !== undefined) continue
    const cost = each.kind === 'capture' ? each.cost : 0n
    entry.charged = cost < entry.amount ? cost : entry.amount
  }
  await Promise.all(closing)
  for (const [index, result] of (await Promise.all(opening)).entries()) {
    const asked = holds[index]
    if (!asked) throw new Error('unreachable')
    const entry = papers[asked.agent]?.take(now, asked.amount, now + HOUR) ?? null
    if (result instanceof Error) expect(result).toMatchObject({ code: 'allowance_exceeded' })
    expect(result instanceof Error ? 'refused' : 'held').toBe(entry ? 'held' : 'refused')
    if (entry) taken.push({ hold: result as Hold, entry })
  }
}

async function history(steps: readonly Step[]): Promise<void> {
  const agents = [await agentWith({}), await agentWith({})]
  const papers = [new Paper(), new Paper()]
  const taken: Taken[] = []
  for (const each of steps) {
    if (each.kind === 'group') await play(each.wishes, agents, papers, taken)
    else if (each.kind === 'time') t.clock.advance(each.hours * HOUR)
    else if (each.kind === 'allow') {
      await updateAgent(t.ledger, { agent: agents[each.agent] ?? '', allowance: each.change })
      papers[each.agent]?.allow(each.change)
    } else {
      await lapseHolds(t.ledger)
      for (const { entry } of taken) {
        if (entry.expiresAt <= t.clock.now()) entry.charged ??= entry.amount / 2n
      }
    }
    const [day, month] = [10, 7].map((length) => new Date(t.clock.now()).toISOString().slice(0, length))
    for (const [index, paper] of papers.entries()) {
      const { allowance } = await getAgent(t.ledger, { agent: agents[index] ?? '' })
      const { perCall, perDay, perMonth } = paper
      expect(allowance).toMatchObject({ perCall, perDay, perMonth })
      expect(allowance.day.held + allowance.day.charged).toBe(paper.used(day ?? ''))
      expect(allowance.month.held + allowance.month.charged).toBe(paper.used(month ?? ''))
    }
  }
  await clean()
}

test('any history of holds, outcomes, midnights and changed limits comes out as on paper', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      await t.close()
      t = await testLedger()
      account = await t.account(1_000_000n)
      await history(steps)
    }),
    { numRuns: 40 },
  )
})
