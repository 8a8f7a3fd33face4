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
    conflicts: () => [],
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
  const { add, groups } = words({ conflicts: (item) => [item[0] ?? ''] })
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

test('a full group is made ready while the one before is committed, and leaves before that one is answered', async () => {
  const seen: string[] = []
  let finish = (): void => undefined
  const { group } = words({
    limit: 2,
    prepare: (items) => {
      seen.push(`prepare ${items.join('')}`)
      return async () => {
        seen.push(`commit ${items.join('')}`)
        if (items[0] === 'a') await new Promise<void>((resolve) => (finish = resolve))
        return items
      }
    },
  })
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  const answered = group.add('a').then(() => seen.push('answer a'))
  await turn()
  const rest = ['b', 'c', 'd'].map((item) => group.add(item))
  await turn()
  expect(seen).toEqual(['prepare a', 'commit a', 'prepare bc'])
  finish()
  await Promise.all([answered, ...rest])
  expect(seen).toEqual([
    'prepare a',
    'commit a',
    'prepare bc',
    'commit bc',
    'answer a',
    'prepare d',
    'commit d',
  ])
})

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
    fc.asyncProperty(arrivals, async (turns) => {
      const { group, groups } = words({ conflicts: (item) => [item[0] ?? ''] })
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
