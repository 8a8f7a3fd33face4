/**
 * Kills the till and starts it again, from outside: `bursar serve` and a service on the same ledger run under load on a
 * real chain, and what they acknowledge is written down; SIGKILL comes at random moments, to either or both. After each
 * kill a copy of the database is verified and held against the log; then the copy's own log is cut at random bytes.
 * At the end every balance must be what the chain paid minus what the buyers were told they were charged.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { formatCredits } from '../../src/money.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { type Buyers, callOnce, chargedTo } from './buyers.ts'
import { createDice, type Dice } from './dice.ts'
import { createExaminer, type Examiner } from './examine.ts'
import type { Life } from './lives.ts'
import { type Load, startLoad, type Victim } from './load.ts'
import { ATOMIC_PER_CREDIT, type PayerCounts, paidOnChain } from './payer.ts'
import { ACCOUNTS, setStage } from './stage.ts'
import { standStill } from './still.ts'

export interface CrashOptions {
  readonly kills: number
  readonly seed: number
  readonly cutsPerKill?: number
  readonly print?: (line: string) => void
}

export interface CrashReport extends PayerCounts {
  readonly seed: number
  readonly kills: number
  readonly acknowledged: number
  readonly calls: number
  /** Answers that were asked for again. */
  readonly replays: number
  /** Calls that were running when their process died, and were asked for again. */
  readonly interrupted: number
  readonly invoices: number
  readonly reversals: number
  readonly postings: number
  readonly cuts: number
  readonly seconds: number
  readonly problems: readonly string[]
  /** Where everything is kept when something was wrong. */
  readonly folder: string | null
}

/** The clock of the last life: every hold has ended. */
const LAST_LIFE_MS = 7_200_000
const VICTIMS: readonly [Victim, ...Victim[]] = ['both', 'both', 'serve', 'serve', 'teller']

/** Runs until all kills are done, or something is wrong. */
export async function runCrash(options: CrashOptions): Promise<CrashReport> {
  const started = performance.now()
  const { kills, seed, cutsPerKill = 2, print = () => undefined } = options
  const folder = await mkdtemp(join(tmpdir(), 'bursar-crash-'))
  const dice = createDice(seed)
  const stage = await setStage(folder, createDice(dice.between(0, 2 ** 31)))
  const load = startLoad(stage, dice)
  const { buyers } = load
  let clean = false
  try {
    const examiner = createExaminer(buyers, cutsPerKill, dice)
    let done = 0
    for (; done < kills && buyers.problems.length === 0; done++) {
      const victim = dice.pick(VICTIMS)
      const moment = await killOnce(load, victim, dice, () => examiner.copy())
      print(`kill ${done + 1}/${kills}: ${victim}, ${moment}; ${await examiner.examine()}`)
    }
    const counts = await load.stop()
    if (buyers.problems.length === 0) await settleUp(load, examiner)
    clean = buyers.problems.length === 0
    const { tally, outcomes, invoices, problems, log } = buyers
    return {
      seed,
      kills: done,
      acknowledged: log.count,
      calls: outcomes.size,
      replays: tally.get('replayed') ?? 0,
      interrupted: tally.get('conflict') ?? 0,
      invoices: invoices.length,
      ...counts,
      ...examiner.counts(),
      seconds: Math.round((performance.now() - started) / 100) / 10,
      problems,
      folder: clean ? null : folder,
    }
  } finally {
    await Promise.all([buyers.till.kill(), buyers.teller.kill()])
    await stage.stop()
    if (clean) await rm(folder, { recursive: true, force: true, maxRetries: 50 })
  }
}

/**
 * Kills one or both at some moment of their lives, starting included, and takes the copy while nobody writes: the
 * survivor stands still. Then the dead live again. Returns the moment, in words.
 */
async function killOnce(load: Load, victim: Victim, dice: Dice, copy: () => void): Promise<string> {
  const { till, teller, log } = load.buyers
  const early = dice.chance(15)
  const [wanted, pause] = early ? [0, dice.between(0, 600)] : [dice.between(1, 15), dice.between(0, 30)]
  if (!early) await Promise.all([till, teller].map(({ current }) => awake(current)))
  const before = { all: log.count, till: log.fromTill }
  await log.heardFromTill(before.till + wanted)
  await delay(pause)
  const heard = log.count - before.all
  const survivor = victim === 'serve' ? teller : victim === 'teller' ? till : null
  const victims = [till, teller].filter((each) => each !== survivor)
  await Promise.all(victims.map((each) => each.kill()))
  if (survivor) await standStill(survivor.current.child)
  copy()
  survivor?.current.child.kill('SIGCONT')
  load.restart(victim)
  return early ? `${pause} ms after its start` : `${heard} acknowledgements into its life`
}

async function awake({ ready, ended }: Life<unknown>): Promise<void> {
  const died = ended.then(() => Promise.reject(new Error('a program ended by itself')))
  const late = delay(PATIENCE_MS, undefined, { ref: false }).then(() =>
    Promise.reject(new Error(`a program was not ready after ${PATIENCE_MS} ms`)),
  )
  await Promise.race([ready, died, late])
}

/**
 * The last life: all that was begun has an end, the chain is read to its tip, and the sums must agree; also once more when
 * a credited payment has left the chain, and when its answers are asked for again.
 */
async function settleUp({ buyers, restart }: Load, examiner: Examiner): Promise<void> {
  const { till, teller, stage, interrupted, answered, outcomes, problems, invoices } = buyers
  await Promise.all([till.kill(), teller.kill()])
  restart('both', LAST_LIFE_MS)
  await stage.chain.mine(3)
  const deadline = performance.now() + PATIENCE_MS
  for (const { name, input } of interrupted.splice(0)) {
    while (!(await callOnce(buyers, name, input)) && performance.now() < deadline) await delay(100)
    if (!outcomes.has(input.idempotency_key)) problems.push(`call ${input.idempotency_key} never ended`)
  }
  for (const { name, input } of answered.slice(-5)) await callOnce(buyers, name, input)
  for (const { kind, key } of outcomes.values()) {
    const hits = stage.upstream.hits.get(key) ?? 0
    if (kind === 'called' && hits !== 1) problems.push(`call ${key} has an answer and ${hits} hits`)
  }
  await agree(buyers)
  const [invoice] = invoices
  if (invoice) {
    const value = 3n * ATOMIC_PER_CREDIT.ETH
    await stage.chain.mined(await stage.chain.send({ to: invoice.address, value }))
    await stage.chain.mine(2)
    await agree(buyers)
    await stage.chain.reorg(3)
    await stage.chain.mine()
    await agree(buyers)
  }
  await Promise.all([till.kill(), teller.kill()])
  examiner.copy()
  await examiner.examine()
}

/** Waits until each account has what the chain paid for it, minus what it was told it was charged. */
async function agree(buyers: Buyers): Promise<void> {
  const { till, stage, problems, invoices } = buyers
  const deadline = performance.now() + PATIENCE_MS
  for (const name of ACCOUNTS) {
    let expected = -chargedTo(buyers, name)
    for (const invoice of invoices.filter(({ account }) => account === stage.accounts[name])) {
      const { granted, discount } = await paidOnChain(stage, invoice)
      expected += granted + discount
    }
    const wanted = `${formatCredits(expected)} available, 0.000000 held`
    let found: string
    do {
      const { data } = await till.ask((sessions) => sessions[name].call('get_balance'))
      found = `${String(data['available'])} available, ${String(data['held'])} held`
    } while (found !== wanted && performance.now() < deadline && (await delay(100, true)))
    if (found !== wanted) problems.push(`${name} has ${found}; by the chain and the receipts: ${wanted}`)
  }
}
