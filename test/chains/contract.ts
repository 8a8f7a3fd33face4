/** What every chain must do, whatever its family. Run against a real node by the test file of each family. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Chain, Cursor, Step, Transfer, Watched } from '../../src/chains/chain.ts'
import { type Proxy, startProxy } from '../support/proxy.ts'
import { rejectionOf } from './support.ts'
import type { World } from './worlds.ts'

/** Ports of 127.0.0.1 on which nothing listens. */
const DEAD = 'http://user:s3cret-passw0rd@127.0.0.1:9/v3/s3cret-api-key'

export function watch(...addresses: string[]): Watched {
  return new Set(addresses)
}

/** Follows until the tip; the last step, with everything that was found on the way. */
export async function toTip(chain: Chain, from: Cursor, watched: Watched): Promise<Step & { steps: number }> {
  let step = await chain.follow(from, watched)
  const transfers = [...step.transfers]
  let { forkedAt } = step
  let steps = 1
  while (!step.caughtUp) {
    step = await chain.follow(step.cursor, watched)
    transfers.push(...step.transfers)
    forkedAt ??= step.forkedAt
    steps += 1
  }
  return { ...step, transfers, forkedAt, steps }
}

export function keysOf(transfers: readonly Transfer[]): string[] {
  return transfers.map(({ key }) => key)
}

export function chainContract(name: string, start: () => Promise<World>): void {
  describe(`${name}: the chain contract`, () => {
    let world: World
    let chain: Chain
    let proxy: Proxy
    let next = 0

    beforeAll(async () => {
      world = await start()
      proxy = await startProxy(world.url)
      chain = world.open()
    })
    afterAll(async () => {
      await proxy?.stop()
      await world?.stop()
    })

    /** A fresh address for each test, so that none sees another's payments. */
    const fresh = () => {
      next += 1
      return chain.recipient(next).address
    }

    it('knows its node', async () => {
      await expect(chain.verify()).resolves.toBeUndefined()
      expect(chain.main).toBe(false)
      expect(chain.assets.map(({ symbol }) => symbol)).toContain(world.symbol)
    })

    it('derives recipients purely, with their paths', () => {
      expect(chain.recipient(7)).toEqual(world.open().recipient(7))
      expect(chain.recipient(7).path).toBe('0/7')
      expect(chain.recipient(7).address).not.toBe(chain.recipient(8).address)
    })

    it('starts at the tip and remembers the blocks below it', async () => {
      const cursor = await chain.start()
      const height = await world.height()
      expect(cursor.height).toBe(height)
      expect(cursor.hash).toBe(await world.hashAt(height))
      expect(cursor.recent.at(-1)).toEqual([height, cursor.hash])
      const depth = Math.min(height, chain.finalityDepth)
      expect(cursor.recent.map(([at]) => at)).toEqual(
        Array.from({ length: depth + 1 }, (_, i) => height - depth + i),
      )
    })

    it('finds a transfer once, exactly', async () => {
      const address = fresh()
      const cursor = await chain.start()
      const txid = await world.pay([{ address, amount: 123_457n }])
      await world.mine()
      const first = await toTip(chain, cursor, watch(address))
      const height = await world.height()
      expect(first.transfers).toEqual([
        {
          key: expect.stringMatching(world.keyPattern),
          chain: chain.id,
          symbol: world.symbol,
          to: address,
          amount: 123_457n,
          txid,
          block: { height, hash: await world.hashAt(height), time: expect.any(Number) },
        },
      ])
      expect(first.transfers[0]?.key).toContain(txid)
      expect(first.transfers[0]?.block?.time).toBe(first.tip.time)
      expect(first).toMatchObject({ forkedAt: null, caughtUp: true, pending: [] })
      const second = await chain.follow(first.cursor, watch(address))
      expect(second).toMatchObject({ transfers: [], forkedAt: null, cursor: first.cursor })
    })

    it('counts confirmations by height', async () => {
      const address = fresh()
      const cursor = await chain.start()
      await world.pay([{ address, amount: 1_000n }])
      await world.mine()
      const { transfers, tip } = await toTip(chain, cursor, watch(address))
      const height = transfers[0]?.block?.height ?? 0
      expect(tip.height - height + 1).toBe(1)
      await world.mine(4)
      const later = await toTip(chain, cursor, watch(address))
      expect(later.tip.height - height + 1).toBe(5)
      expect(keysOf(later.transfers)).toEqual(keysOf(transfers))
    })

    it('asks for more confirmations for more money', () => {
      const needed = [0n, 1_000_000n, 100_000_000n, 100_000_001n, 1_000_000_001n, 10n ** 15n].map((usd) =>
        chain.confirmationsNeeded(usd),
      )
      expect(needed).toEqual([...needed].sort((a, b) => a - b))
      expect(needed[0]).toBeGreaterThanOrEqual(1)
      expect(needed[2]).toBe(needed[0])
      expect(needed[3]).toBeGreaterThan(needed[2] ?? 0)
    })

    it('tells several transfers in one transaction apart, two to one address among them', async () => {
      const [a, b, stranger] = [fresh(), fresh(), fresh()]
      const cursor = await chain.start()
      const txid = await world.pay([
        { address: stranger, amount: 9_000n },
        { address: a, amount: 1_000n },
        { address: b, amount: 2_000n },
        { address: a, amount: 1_000n },
      ])
      await world.mine()
      const { transfers } = await toTip(chain, cursor, watch(a, b))
      expect(transfers.map(({ to, amount }) => [to, amount])).toEqual([
        [a, 1_000n],
        [b, 2_000n],
        [a, 1_000n],
      ])
      expect(new Set(keysOf(transfers)).size).toBe(3)
      expect(new Set(transfers.map((transfer) => transfer.txid))).toEqual(new Set([txid]))
    })

    it('gives a payment the same key whatever else is watched', async () => {
      const [a, b] = [fresh(), fresh()]
      const cursor = await chain.start()
      await world.pay([
        { address: a, amount: 1_000n },
        { address: b, amount: 2_000n },
      ])
      await world.mine()
      const both = await toTip(chain, cursor, watch(a, b))
      const alone = await toTip(chain, cursor, watch(b))
      expect(keysOf(alone.transfers)).toEqual([both.transfers.find(({ to }) => to === b)?.key])
    })

    it('reports a fork that drops a payment, and the payment again when it returns, under the same key', async () => {
      const address = fresh()
      const watched = watch(address)
      const cursor = await chain.start()
      await world.mine(2)
      const txid = await world.pay([{ address, amount: 5_000n }])
      await world.mine()
      const before = await toTip(chain, cursor, watched)
      const paid = before.transfers[0]
      expect(paid?.txid).toBe(txid)

      await world.fork(2)
      const forked = await toTip(chain, before.cursor, watched)
      expect(forked.forkedAt).toBe(before.cursor.height - 2)
      expect(forked.transfers).toEqual([])
      expect(forked.cursor.height).toBe(await world.height())

      await world.again(txid)
      await world.mine()
      const after = await toTip(chain, forked.cursor, watched)
      expect(after.forkedAt).toBeNull()
      expect(after.transfers).toEqual([{ ...paid, block: expect.anything() }])
      expect(after.transfers[0]?.block?.hash).not.toBe(paid?.block?.hash)
      expect(after.transfers[0]?.block?.height).toBe(await world.height())
    })

    it('lists a payment that only moved in the very step that reports the fork', async () => {
      const address = fresh()
      await world.mine(2)
      const cursor = await chain.start()
      const txid = await world.pay([{ address, amount: 6_000n }])
      await world.mine(3)
      const before = await toTip(chain, cursor, watch(address))
      await world.fork(4)
      await world.again(txid)
      await world.mine(2)
      const step = await chain.follow(before.cursor, watch(address))
      expect(step.forkedAt).toBe(before.cursor.height - 4)
      expect(keysOf(step.transfers)).toEqual(keysOf(before.transfers))
      expect(step.transfers[0]?.block?.hash).not.toBe(before.transfers[0]?.block?.hash)
    })

    it('goes on after a restart where it was, and finds nothing twice', async () => {
      const [a, b] = [fresh(), fresh()]
      const watched = watch(a, b)
      const cursor = await chain.start()
      await world.pay([{ address: a, amount: 1_000n }])
      await world.mine()
      const before = await toTip(chain, cursor, watched)
      const stored = JSON.parse(JSON.stringify(before.cursor)) as Cursor
      await world.pay([{ address: b, amount: 2_000n }])
      await world.mine(2)
      const after = await toTip(world.open(), stored, watched)
      expect(before.transfers.map(({ to }) => to)).toEqual([a])
      expect(after.transfers.map(({ to }) => to)).toEqual([b])
    })

    it('catches up in bounded steps that skip and repeat nothing', async () => {
      const [a, b, c] = [fresh(), fresh(), fresh()]
      const watched = watch(a, b, c)
      const cursor = await chain.start()
      for (const address of [a, b, c]) {
        await world.pay([{ address, amount: 1_000n }])
        await world.mine(45)
      }
      const found = await toTip(chain, cursor, watched)
      expect(found.steps).toBeGreaterThan(1)
      expect(found.transfers.map(({ to }) => to)).toEqual([a, b, c])
      expect(found.cursor.height).toBe(await world.height())
      expect(found.cursor.recent.length).toBeLessThanOrEqual(chain.finalityDepth + 1)
    })

    it('says that a dead endpoint is unreachable, keeps its password, and goes on from the same cursor', async () => {
      const address = fresh()
      const cursor = await chain.start()
      await world.pay([{ address, amount: 1_000n }])
      await world.mine()
      const dead = world.open({ urls: [DEAD] })
      const attempts = [() => dead.verify(), () => dead.start(), () => dead.follow(cursor, watch(address))]
      for (const attempt of attempts) {
        const error = await rejectionOf(attempt())
        expect(error.code).toBe('chain_unavailable')
        expect(error.remedy).toContain(`chains.${chain.id}.rpc`)
        expect(JSON.stringify(error.toProblem()) + error.stack + String(error.cause)).not.toContain('s3cret')
      }
      expect((await toTip(chain, cursor, watch(address))).transfers).toHaveLength(1)
    })

    it('moves on to the next endpoint when one is dead', async () => {
      const address = fresh()
      const both = world.open({ urls: [DEAD, world.url] })
      await both.verify()
      const cursor = await both.start()
      await world.pay([{ address, amount: 1_000n }])
      await world.mine()
      expect((await toTip(both, cursor, watch(address))).transfers).toHaveLength(1)
    })

    it('vouches for many payments in a block with the requests of one', async () => {
      const addresses = Array.from({ length: 8 }, () => fresh())
      const cursor = await chain.start()
      await world.pay(addresses.map((address) => ({ address, amount: 20_000n })))
      await world.mine()
      const { transfers } = await toTip(chain, cursor, watch(...addresses))
      expect(transfers).toHaveLength(8)
      const both = world.open({ urls: [world.url, proxy.url] })
      const requests = async (some: readonly Transfer[]) => {
        proxy.count = 0
        expect(await both.vouch(some)).toEqual(new Set(keysOf(some)))
        return proxy.count
      }
      // The first time an endpoint is also asked who it is.
      await requests(transfers)
      expect(await requests(transfers)).toBe(await requests(transfers.slice(0, 1)))
    })

    it('shows through two endpoints what it shows through one, and vouches for it', async () => {
      const address = fresh()
      const both = world.open({ urls: [proxy.url, world.url] })
      const cursor = await both.start()
      await world.pay([{ address, amount: 1_000n }])
      await world.mine(3)
      const found = await toTip(both, cursor, watch(address))
      expect(found.transfers).toEqual((await toTip(chain, cursor, watch(address))).transfers)
      expect(found.transfers).toHaveLength(1)
      expect(await both.vouch(found.transfers)).toEqual(new Set(keysOf(found.transfers)))
      const more = found.transfers.map((transfer) => ({ ...transfer, amount: 1_001n }))
      expect(await both.vouch(more)).toEqual(new Set())
      const height = await world.height()
      expect(await both.blockAt(height)).toMatchObject({ height, hash: await world.hashAt(height) })
      expect(await both.blockAt(height + 1)).toBeNull()
      expect(await both.endpoints()).toMatchObject([{ height }, { height }])
      await world.fork(3)
      expect(await both.vouch(found.transfers)).toEqual(new Set())
      const forked = await toTip(both, found.cursor, watch(address))
      expect(forked.forkedAt).toBe(height - 3)
    })

    it('loses nothing, whichever request fails', async () => {
      const [a, b] = [fresh(), fresh()]
      const watched = watch(a, b)
      const cursor = await chain.start()
      await world.pay([{ address: a, amount: 1_000n }])
      await world.mine(2)
      await world.pay([{ address: b, amount: 2_000n }])
      await world.mine()
      const expected = await toTip(chain, cursor, watched)
      const through = world.open({ urls: [proxy.url] })
      await through.verify()
      const verdicts = ['drop', 503, 429] as const
      let failures = 0
      for (let at = 1; ; at += 1) {
        proxy.count = 0
        proxy.decide = ({ number }) => (number === at ? (verdicts[at % 3] ?? 'drop') : 'pass')
        const outcome = await through.follow(cursor, watched).catch((error: unknown) => error)
        proxy.decide = () => 'pass'
        if (!(outcome instanceof Error)) {
          expect(outcome).toEqual(withoutSteps(expected))
          break
        }
        failures += 1
        expect(outcome).toMatchObject({ code: 'chain_unavailable' })
        expect(withoutSteps(await toTip(through, cursor, watched))).toEqual(withoutSteps(expected))
      }
      expect(failures).toBeGreaterThan(4)
    })

    it('refuses a node of another chain, before it believes anything that node says', async () => {
      const wrong = world.open({ wrong: true })
      for (const attempt of [() => wrong.verify(), () => wrong.start()]) {
        const error = await rejectionOf(attempt())
        expect(error.code).toBe('invalid_config')
        expect(error.message).toContain(`chains.${chain.id}.rpc`)
      }
    })

    it('is not put off by a node that is behind', async () => {
      const address = fresh()
      const cursor = await chain.start()
      await world.pay([{ address, amount: 1_000n }])
      await world.mine(3)
      const before = await toTip(chain, cursor, watch(address))
      await world.shorten(1)
      const behind = await chain.follow(before.cursor, watch(address))
      expect(behind).toMatchObject({ cursor: before.cursor, forkedAt: null, transfers: [] })
      expect(behind.tip.height).toBe(before.tip.height - 1)
      await world.mine(2)
      const after = await toTip(chain, before.cursor, watch(address))
      expect(after.forkedAt).toBe(before.tip.height - 1)
      expect(after.cursor.height).toBe(await world.height())
    })

    it('follows a fork down to the finality depth and stops below it', async () => {
      const shallow = world.open({ finalityBlocks: 3 })
      await world.mine(6)
      const cursor = await shallow.start()
      await world.fork(3)
      const followed = await toTip(shallow, cursor, watch())
      expect(followed.forkedAt).toBe(cursor.height - 3)
      await world.mine(2)
      const ahead = await toTip(shallow, followed.cursor, watch())
      await world.fork(4)
      const error = await rejectionOf(shallow.follow(ahead.cursor, watch()))
      expect(error.code).toBe('conflict')
      expect(error.message).toMatch(/more than 3 blocks/)
    })

    it('stops when it is told to', async () => {
      const cursor = await chain.start()
      const stopped = AbortSignal.abort(new Error('shutting down'))
      await world.mine()
      await expect(chain.follow(cursor, watch(), stopped)).rejects.toThrow('shutting down')
      proxy.decide = () => new Promise(() => undefined)
      const hanging = world.open({ urls: [proxy.url] })
      const stop = new AbortController()
      const following = hanging.follow(cursor, watch(), stop.signal)
      stop.abort(new Error('shutting down'))
      await expect(following).rejects.toThrow('shutting down')
      proxy.decide = () => 'pass'
    })
  })
}

function withoutSteps(step: Step & { steps?: number }): Step {
  const { steps: _steps, ...rest } = step
  return rest
}
