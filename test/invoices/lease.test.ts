import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Db, statement } from '../../src/db/db.ts'
import { acquireLease, keepLease } from '../../src/db/lease.ts'
import { watchChain } from '../../src/invoices/watch.ts'
import { openTill, stepTo, type Till } from './till.ts'

let till: Till
beforeEach(async () => {
  till = await openTill({ at: 1_000_000 })
})
afterEach(() => till.close())

const take = (holder: string) => acquireLease(till.ctx, { name: 'watch:x', holder, ttlMs: 1_000 })

describe('a lease', () => {
  it('has one holder, until it lapses', async () => {
    const first = await take('a')
    expect(await take('b')).toBeNull()
    till.clock.now += 999
    expect(await take('b')).toBeNull()
    till.clock.now += 1
    const second = await take('b')
    expect(second?.fence).toBe((first?.fence ?? 0n) + 1n)
  })

  it('stays while it is renewed, and cannot be renewed once lost', async () => {
    const lease = await take('a')
    for (let i = 0; i < 3; i++) {
      till.clock.now += 900
      expect(await lease?.renew()).toBe(true)
    }
    expect(await take('b')).toBeNull()
    till.clock.now += 1_000
    // Late, but nobody else has taken it.
    expect(await lease?.renew()).toBe(true)
    till.clock.now += 1_000
    expect(await take('b')).not.toBeNull()
    expect(await lease?.renew()).toBe(false)
  })

  it('of a holder that died is not kept for hours where the clock was set back since', async () => {
    const dead = await take('a')
    till.clock.now -= 6 * 3_600_000
    const next = await take('b')
    expect(next?.fence).toBe((dead?.fence ?? 0n) + 1n)
    // A clock that differs a little from another's is no reason to take a lease away.
    till.clock.now -= 60_000
    expect(await take('c')).toBeNull()
  })

  it('can be given back, by its holder only', async () => {
    const lease = await take('a')
    await lease?.release()
    const other = await take('b')
    expect(other).not.toBeNull()
    await lease?.release()
    expect(await take('c')).toBeNull()
  })

  it('fences commits: a holder that was paused writes nothing', async () => {
    const paused = await take('a')
    const mark = statement("INSERT INTO operation (id, at) VALUES ('x', 0)")
    till.clock.now += 1_000
    const current = await take('b')
    if (!paused || !current) throw new Error('no lease')
    await expect(till.db.commit([paused.check(), mark])).rejects.toMatchObject({ code: 'conflict' })
    expect(await till.db.query('SELECT * FROM operation')).toEqual([])
    await till.db.commit([current.check(), mark])
    // The same holder, a new term: the old one is over all the same.
    const again = await take('b')
    expect(again?.fence).toBe(current.fence + 1n)
    await expect(till.db.commit([current.check()])).rejects.toMatchObject({ code: 'conflict' })
  })

  it('goes to one of many that ask at once', async () => {
    const leases = await Promise.all(Array.from({ length: 10 }, (_, i) => take(`h${i}`)))
    expect(leases.filter((lease) => lease !== null)).toHaveLength(1)
  })
})

/** The same database; counts what is asked for. */
function counted(db: Db): { db: Db; commits: () => number } {
  let commits = 0
  const commit: Db['commit'] = (statements) => {
    commits++
    return db.commit(statements)
  }
  return { db: { ...db, commit }, commits: () => commits }
}

describe('a lease that is kept', () => {
  const WANTED = { name: 'watch:x', ttlMs: 15_000 }
  const keep = (holder: string) => {
    const { db, commits } = counted(till.db)
    const ctx = { db, runtime: till.ctx.runtime }
    return { ...keepLease(ctx, { ...WANTED, holder }, { renewMs: 10_000 }), commits }
  }

  it('is prolonged in time, but not at each look; who waits for it writes nothing', async () => {
    const [holder, standby] = [keep('a'), keep('b')]
    const fences = new Set<bigint | undefined>()
    for (let second = 0; second < 60; second++) {
      fences.add((await holder.held())?.fence)
      expect(await standby.held()).toBeNull()
      till.clock.now += 1_000
    }
    expect(fences).toEqual(new Set([1n]))
    // Taken, and from then on at every sixth second.
    expect(holder.commits()).toBe(10)
    expect(standby.commits()).toBe(0)
    // Whoever dies is followed as soon as its term is over.
    till.clock.now += 15_000
    expect((await standby.held())?.fence).toBe(2n)
    expect(await holder.held()).toBeNull()
  })

  it('is asked for again once a commit has found it lost, or the clock was set back', async () => {
    const [first, second] = [keep('a'), keep('b')]
    const mine = await first.held()
    if (!mine) throw new Error('no lease')
    // This process stands still meanwhile, and finds its clock as it left it.
    till.clock.now += 15_000
    await second.held()
    till.clock.now -= 15_000
    await expect(till.db.commit([mine.check()])).rejects.toMatchObject({ code: 'conflict' })
    first.lost()
    expect(await first.held()).toBeNull()
    const before = second.commits()
    till.clock.now -= 3_600_000
    expect(await second.held()).not.toBeNull()
    expect(second.commits()).toBe(before + 1)
  })

  it.each([10_000, 60_000])('is not let go between two looks, %d ms apart', async (pollMs) => {
    await till.seedCursor('local')
    const stop = new AbortController()
    const lapsed: bigint[] = []
    let looks = 0
    const sleep = async (ms: number, signal?: AbortSignal): Promise<void> => {
      // What prolongs the lease during a step: the steps here take no time.
      if (signal !== stop.signal) {
        return new Promise((_resolve, reject) =>
          signal?.addEventListener('abort', () => reject(signal.reason)),
        )
      }
      till.clock.now += ms
      lapsed.push(
        ...(
          await till.db.query<{ expires_at: bigint }>('SELECT expires_at FROM lease WHERE expires_at <= ?', [
            BigInt(till.clock.now),
          ])
        ).map(({ expires_at: at }) => at),
      )
      if (looks === 30) stop.abort()
    }
    const ctx = { ...till.ctx, runtime: { ...till.ctx.runtime, sleep } }
    // As Bitcoin's: a look every ten seconds, or every second where the mempool is read a part at a time.
    const chain = {
      ...till.chain('local'),
      pollMs,
      verify: () => Promise.resolve(),
      follow: () => Promise.resolve(stepTo({ height: 100, pendingWhole: ++looks % 6 === 0 })),
    }
    await watchChain(ctx, chain, stop.signal).ended
    expect(looks).toBe(30)
    expect(lapsed).toEqual([])
  })

  it('lets a process that stands by look at the chain without a write', async () => {
    await till.seedCursor('local')
    await till.lease('local')
    const { db, commits } = counted(till.db)
    const stop = new AbortController()
    let looks = 0
    const sleep = async (): Promise<void> => {
      looks++
      if (looks === 20) stop.abort()
    }
    const ctx = { ...till.ctx, db, runtime: { ...till.ctx.runtime, sleep } }
    const chain = {
      ...till.chain('local'),
      verify: () => Promise.resolve(),
      follow: () => Promise.resolve(stepTo({ height: 100 })),
    }
    await watchChain(ctx, chain, stop.signal).ended
    expect(looks).toBe(20)
    expect(commits()).toBe(0)
  })
})
