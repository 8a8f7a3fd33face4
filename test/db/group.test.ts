import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createGroup, type GroupOptions } from '../../src/db/group.ts'

type Options = Partial<GroupOptions<string, string>> & {
  readonly commit?: (items: readonly string[]) => Promise<readonly (string | Error)[]>
}

/** A group of words that records what was committed together. */
function words({ commit, ...options }: Options = {}) {
  const groups: string[][] = []
  const group = createGroup<string, string>({
    limit: 4,
    schedule: (flush) => void setImmediate(flush),
    conflict: () => undefined,
    splittable: () => true,
    prepare: (items) => () => {
      groups.push([...items])
      return commit ? commit(items) : Promise.resolve(items.map((item) => item.toUpperCase()))
    },
    ...options,
  })
  return {
    group,
    groups,
    add: (...items: string[]) => Promise.allSettled(items.map((item) => group.add(item))),
  }
}

const value = (of: string) => ({ status: 'fulfilled', value: of })

test('what is asked for at once is committed together, up to the limit, in order', async () => {
  const { add, groups } = words()
  expect(await add('a', 'b', 'c', 'd', 'e')).toEqual(['A', 'B', 'C', 'D', 'E'].map(value))
  expect(groups).toEqual([['a', 'b', 'c', 'd'], ['e']])
})

test('the next group starts when the one before is committed', async () => {
  let under = 0
  const { group, groups, add } = words({
    async commit(items) {
      expect(++under).toBe(1)
      await new Promise((resolve) => setImmediate(resolve))
      under--
      return items
    },
  })
  const first = add('a')
  await new Promise((resolve) => setImmediate(resolve))
  const second = add('b', 'c')
  await Promise.all([first, second])
  expect(groups).toEqual([['a'], ['b', 'c']])
  await group.idle()
})

test('items that depend on each other never share a group, and keep their order', async () => {
  const { add, groups } = words({ conflict: (item) => item[0] })
  await add('a1', 'a2', 'b1', 'a3', 'b2')
  expect(groups).toEqual([['a1', 'b1'], ['a2', 'b2'], ['a3']])
})

test('an error among the results refuses its item only', async () => {
  const refused = new Error('no')
  const { add } = words({
    commit: (items) => Promise.resolve(items.map((item) => (item === 'b' ? refused : item))),
  })
  expect(await add('a', 'b', 'c')).toEqual([value('a'), { status: 'rejected', reason: refused }, value('c')])
})

test('the item that breaks its group is found by splitting', async () => {
  const broken = new Error('broken')
  const { add } = words({
    limit: 8,
    commit: (items) => (items.includes('f') ? Promise.reject(broken) : Promise.resolve(items)),
  })
  expect(await add('a', 'b', 'c', 'd', 'e', 'f', 'g')).toEqual([
    ...['a', 'b', 'c', 'd', 'e'].map(value),
    { status: 'rejected', reason: broken },
    value('g'),
  ])
})

test('a failure that concerns all is told to all, and the next group goes on', async () => {
  const gone = new Error('gone')
  let up = false
  const { add, groups } = words({
    splittable: () => false,
    commit: (items) => (up ? Promise.resolve(items) : Promise.reject(gone)),
  })
  expect(await add('a', 'b')).toEqual([gone, gone].map((reason) => ({ status: 'rejected', reason })))
  up = true
  expect(await add('c')).toEqual([value('c')])
  expect(groups).toEqual([['a', 'b'], ['c']])
})

/** Commits that end when they are told to. */
function stepwise(overlap: boolean) {
  const seen: string[] = []
  const underWay = new Map<string, (thrown?: Error) => void>()
  const { group } = words({
    limit: 3,
    overlap,
    prepare: (items) => {
      const name = items.join('')
      seen.push(`prepare ${name}`)
      return () => {
        seen.push(`commit ${name}`)
        return new Promise((resolve, reject) =>
          underWay.set(name, (thrown) => (thrown ? reject(thrown) : resolve(items))),
        )
      }
    },
  })
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  return {
    seen,
    async add(...items: string[]) {
      for (const item of items) {
        group.add(item).then(
          () => seen.push(`answer ${item}`),
          () => seen.push(`refuse ${item}`),
        )
      }
      await turn()
      return seen.splice(0)
    },
    async end(name: string, thrown?: Error) {
      underWay.get(name)?.(thrown)
      await turn()
      await turn()
      return seen.splice(0)
    },
    idle: () => group.idle(),
  }
}

test('a next group that is as large as the one under way follows it at once, and no third one', async () => {
  const { add, end, idle } = stepwise(true)
  expect(await add('a', 'b')).toEqual(['prepare ab', 'commit ab'])
  expect(await add('c')).toEqual([])
  expect(await add('d')).toEqual(['prepare cd', 'commit cd'])
  expect(await add('e', 'f', 'g', 'h')).toEqual([])
  expect(await end('ab')).toEqual(['answer a', 'answer b', 'prepare efg', 'commit efg'])
  expect(await end('cd')).toEqual(['answer c', 'answer d'])
  expect(await end('efg')).toEqual(['answer e', 'answer f', 'answer g', 'prepare h', 'commit h'])
  expect(await end('h')).toEqual(['answer h'])
  await idle()
})

test('what a split group leaves over comes after the group that followed it', async () => {
  const { add, end } = stepwise(true)
  await add('a', 'b')
  await add('c', 'd')
  expect(await end('ab', new Error('broken'))).toEqual(['prepare a', 'commit a'])
  expect(await end('a', new Error('broken'))).toEqual(['prepare b', 'commit b', 'refuse a'])
  expect(await end('cd')).toEqual(['answer c', 'answer d'])
  expect(await end('b')).toEqual(['answer b'])
})

test('where commits may not overlap, the next group waits', async () => {
  const { add, end } = stepwise(false)
  expect(await add('a')).toEqual(['prepare a', 'commit a'])
  expect(await add('b', 'c', 'd', 'e')).toEqual([])
  expect(await end('a')).toEqual(['answer a', 'prepare bcd', 'commit bcd'])
  expect(await end('bcd')).toEqual(['answer b', 'answer c', 'answer d', 'prepare e', 'commit e'])
})

test.each([true, false])(
  'commits that are done at once leave the event loop its turns (overlap: %s)',
  async (overlap) => {
    const { group } = words({ limit: 2, overlap })
    const turned = new AbortController()
    setTimeout(() => turned.abort())
    const MOST = 10_000
    const callers = Array.from({ length: 5 }, async () => {
      let asked = 0
      while (!turned.signal.aborted && asked < MOST) {
        asked++
        await group.add('a')
      }
      return asked
    })
    for (const asked of await Promise.all(callers)) expect(asked).toBeLessThan(MOST)
  },
)

test('a group that cannot be made ready is told so, after whatever was split out of the one before', async () => {
  const broken = new Error('broken')
  const { add } = words({
    limit: 2,
    prepare: (items) => {
      if (items.includes('x')) throw broken
      return () => Promise.resolve(items)
    },
  })
  expect(await add('a', 'x', 'b', 'c')).toEqual([
    value('a'),
    { status: 'rejected', reason: broken },
    value('b'),
    value('c'),
  ])
})

test('idle waits for what waits and what is under way', async () => {
  const { group, groups } = words()
  await group.idle()
  const added = ['a', 'b', 'c', 'd', 'e'].map((item) => group.add(item))
  await group.idle()
  expect(groups.flat()).toHaveLength(5)
  await Promise.all(added)
})

test('whatever arrives whenever: each item is committed once, in order among those that conflict', async () => {
  const arrivals = fc.array(fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 12 }), { maxLength: 6 })
  await fc.assert(
    fc.asyncProperty(arrivals, fc.boolean(), async (turns, overlap) => {
      const { group, groups } = words({
        overlap,
        conflict: (item) => item[0],
        async commit(items) {
          for (let turn = 0; turn < items.length % 3; turn++) await new Promise((go) => setImmediate(go))
          return items
        },
      })
      const asked: string[] = []
      const all: Promise<string>[] = []
      for (const turn of turns) {
        for (const letter of turn) {
          const item = `${letter}${asked.length}`
          asked.push(item)
          all.push(group.add(item))
        }
        await new Promise((resolve) => setImmediate(resolve))
      }
      await Promise.all(all)
      for (const letter of ['a', 'b', 'c']) {
        const of = (items: readonly string[]) => items.filter((item) => item.startsWith(letter))
        expect(of(groups.flat())).toEqual(of(asked))
      }
    }),
  )
})

test('what waited too long for its turn is refused without being committed; the rest goes on', async () => {
  let now = 0
  const { promise: committed, resolve: commitNow } = Promise.withResolvers<void>()
  const { add, group, groups } = words({
    patience: { ms: 10, now: () => now, over: () => new Error('too late') },
    commit: async (items) => {
      await committed
      return items
    },
  })
  const first = add('a')
  await new Promise((resolve) => setImmediate(resolve))
  const late = add('b', 'c')
  now = 9
  const inTime = add('d')
  now = 11
  commitNow()
  const refused = { status: 'rejected', reason: new Error('too late') }
  expect(await Promise.all([first, late, inTime])).toEqual([[value('a')], [refused, refused], [value('d')]])
  expect(groups).toEqual([['a'], ['d']])
  const last = add('e')
  now = 30
  expect(await last).toEqual([refused])
  await group.idle()
})

test('those that wait for each other are not looked at again for every group', async () => {
  let looked = 0
  const { add } = words({
    limit: 64,
    conflict: (item) => {
      looked++
      return item
    },
  })
  const items = Array<string>(2_000).fill('same')
  const all = await add(...items)
  expect(all.every(({ status }) => status === 'fulfilled')).toBe(true)
  expect(looked).toBe(2_000)
})

test('those behind one that waited too long are refused with it, unless they came later', async () => {
  let now = 0
  const { promise: committed, resolve: commitNow } = Promise.withResolvers<void>()
  const { add, group, groups } = words({
    conflict: (item) => item[0],
    patience: { ms: 10, now: () => now, over: () => new Error('too late') },
    commit: async (items) => {
      await committed
      return items
    },
  })
  const first = add('x')
  await new Promise((resolve) => setImmediate(resolve))
  const late = add('a1', 'a2', 'b1')
  now = 9
  const inTime = add('a3', 'b2', 'a4')
  now = 11
  commitNow()
  const refused = { status: 'rejected', reason: new Error('too late') }
  expect(await first).toEqual([value('x')])
  expect(await late).toEqual([refused, refused, refused])
  expect(await inTime).toEqual(['a3', 'b2', 'a4'].map(value))
  expect(groups).toEqual([['x'], ['b2', 'a3'], ['a4']])
  await group.idle()
})
