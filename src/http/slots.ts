/**
 * Who is here, of those that come and go thousands of times a second. Not a Set: as things come and go, V8 puts its
 * contents into a new table again and again, and what an old table held stays alive until a full collection. With calls
 * in it, that doubled the slowest answers.
 */
export interface Slots<T> {
  /** Returns its slot. */
  add(item: T): number
  remove(slot: number): void
  all(): T[]
  /** Resolves when nobody is here. */
  empty(): Promise<void>
}

export function createSlots<T>(): Slots<T> {
  const slots: (T | undefined)[] = []
  const free: number[] = []
  const onEmpty: (() => void)[] = []
  const isEmpty = (): boolean => free.length === slots.length
  return {
    add(item) {
      const slot = free.pop() ?? slots.length
      slots[slot] = item
      return slot
    },
    remove(slot) {
      slots[slot] = undefined
      free.push(slot)
      if (isEmpty()) for (const resolve of onEmpty.splice(0)) resolve()
    },
    all: () => slots.filter((item) => item !== undefined),
    empty: () => (isEmpty() ? Promise.resolve() : new Promise((resolve) => onEmpty.push(resolve))),
  }
}
