import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createSlots } from '../../src/http/slots.ts'

test('whoever comes is there until it goes, whatever the order', () => {
  const moves = fc.array(fc.oneof(fc.constant('come'), fc.nat({ max: 20 })), { maxLength: 100 })
  fc.assert(
    fc.property(moves, (all) => {
      const slots = createSlots<{ readonly n: number }>()
      const here = new Map<{ readonly n: number }, number>()
      for (const [n, move] of all.entries()) {
        const leaving = typeof move === 'number' ? [...here.keys()][move % Math.max(1, here.size)] : undefined
        if (leaving) {
          slots.remove(here.get(leaving) ?? -1)
          here.delete(leaving)
        } else {
          const item = { n }
          here.set(item, slots.add(item))
        }
        expect(new Set(slots.all())).toEqual(new Set(here.keys()))
      }
    }),
  )
})

test('whoever waits until nobody is here hears of it when the last one has gone', async () => {
  const slots = createSlots<string>()
  await slots.empty()
  const [one, two] = [slots.add('one'), slots.add('two')]
  let empty = false
  const wait = async (): Promise<void> => {
    await slots.empty()
    empty = true
  }
  const waited = wait()
  slots.remove(one)
  await Promise.resolve()
  expect(empty).toBe(false)
  slots.remove(two)
  await waited
  expect(empty).toBe(true)
})
