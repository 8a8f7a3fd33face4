/**
 * Group commit: small writes of many callers become one commit. Items that arrive while a group is being committed
 * form the next one, so groups grow with the load, and a lone caller waits for nobody. Where commits may overlap, the
 * next one leaves as soon as it is as large as the one under way, so that whoever commits never waits for this side.
 */
import { createLine } from './line.ts'

export interface GroupOptions<Item, Result> {
  /** Most items in one commit. */
  readonly limit: number
  /** Starts a flush soon, after the callers that are ready to run have added their items. */
  readonly schedule: (flush: () => void) => void
  /**
   * Two items of one group must differ in this, if they have it; the later one waits for the next group.
   * For items whose outcome depends on each other.
   */
  readonly conflict: (item: Item) => string | undefined
  /**
   * Makes a group ready; what is returned commits it. One result for each item, in order; an Error among them refuses
   * just that item. Each group is made ready, and its commit begun, after the one before.
   */
  readonly prepare: (items: readonly Item[]) => () => Promise<readonly (Result | Error)[]>
  /** Whether a second group may be committed while one is under way; default false. */
  readonly overlap?: boolean
  /** Refuses what has not got its turn in time: the commits before it cannot be made, or are far too many. */
  readonly patience?: { readonly ms: number; readonly now: () => number; readonly over: () => Error }
  /** Whether a failed group is worth splitting, to find the one item that broke it. */
  readonly splittable: (thrown: unknown) => boolean
}

export interface Group<Item, Result> {
  /** @throws what refused this item, or what made its commit fail */
  add(item: Item): Promise<Result>
  /** Resolves when nothing is waiting or under way. */
  idle(): Promise<void>
}

interface Entry<Item, Result> {
  readonly item: Item
  readonly conflict: string | undefined
  readonly since: number
  readonly resolve: (result: Result) => void
  readonly reject: (reason: unknown) => void
}

type Outcome<Result> = { readonly results: readonly (Result | Error)[] } | { readonly thrown: unknown }

/** Made ready to be committed. */
interface Ready<Item, Result> {
  readonly entries: readonly Entry<Item, Result>[]
  /** Never rejects. */
  readonly commit: () => Promise<Outcome<Result>>
}

export function createGroup<Item, Result>(options: GroupOptions<Item, Result>): Group<Item, Result> {
  const { limit, overlap = false, patience, conflict } = options
  const line = createLine<Entry<Item, Result>>((entry) => entry.conflict)
  const underWay = new Set<readonly Entry<Item, Result>[]>()
  let scheduled = false
  const onIdle: (() => void)[] = []
  const isIdle = (): boolean => line.length() === 0 && underWay.size === 0 && !scheduled

  function isDue(): boolean {
    if (line.length() === 0 || underWay.size > 1) return false
    const [first] = underWay
    return first === undefined || (overlap && line.length() >= Math.min(first.length, limit))
  }

  function schedule(): void {
    if (scheduled || !isDue()) return
    scheduled = true
    options.schedule(() => {
      scheduled = false
      if (isDue()) void commitNext()
      // One a turn: to make two large ones ready in a row would hold the event loop up.
      schedule()
    })
  }

  function refuseLate(): void {
    if (!patience) return
    const before = patience.now() - patience.ms
    for (const { reject } of line.takeIf(({ since }) => since <= before)) reject(patience.over())
  }

  async function commitNext(): Promise<void> {
    refuseLate()
    const entries = line.take(limit)
    if (entries.length > 0) await commitGroup(entries)
    // Never from here at once: commits that take no time would keep the event loop from turning.
    schedule()
    if (isIdle()) for (const resolve of onIdle.splice(0)) resolve()
  }

  async function commitGroup(entries: readonly Entry<Item, Result>[]): Promise<void> {
    underWay.add(entries)
    const outcome = await makeReady(entries, options).commit()
    const again = 'thrown' in outcome && entries.length > 1 && options.splittable(outcome.thrown)
    if (again) await commitHalves(entries, options)
    underWay.delete(entries)
    if (!again) settle(entries, outcome)
  }

  return {
    add: (item) =>
      new Promise((resolve, reject) => {
        line.join({ item, conflict: conflict(item), since: patience?.now() ?? 0, resolve, reject })
        schedule()
      }),
    idle: () =>
      new Promise((resolve) => {
        if (isIdle()) resolve()
        else onIdle.push(resolve)
      }),
  }
}

function makeReady<Item, Result>(
  entries: readonly Entry<Item, Result>[],
  options: GroupOptions<Item, Result>,
): Ready<Item, Result> {
  try {
    const commit = options.prepare(entries.map(({ item }) => item))
    return {
      entries,
      commit: () =>
        commit().then(
          (results) => ({ results }),
          (thrown: unknown) => ({ thrown }),
        ),
    }
  } catch (thrown) {
    return { entries, commit: () => Promise.resolve({ thrown }) }
  }
}

/** Finds the item that breaks its group. */
async function commitHalves<Item, Result>(
  entries: readonly Entry<Item, Result>[],
  options: GroupOptions<Item, Result>,
): Promise<void> {
  const middle = Math.ceil(entries.length / 2)
  for (const half of [entries.slice(0, middle), entries.slice(middle)]) {
    const outcome = await makeReady(half, options).commit()
    if ('thrown' in outcome && half.length > 1 && options.splittable(outcome.thrown)) {
      await commitHalves(half, options)
    } else settle(half, outcome)
  }
}

function settle<Item, Result>(entries: readonly Entry<Item, Result>[], outcome: Outcome<Result>): void {
  for (const [index, entry] of entries.entries()) {
    const result =
      'thrown' in outcome
        ? outcome.thrown
        : (outcome.results[index] ?? new Error('A group returned no result for one of its items.'))
    if ('thrown' in outcome || result instanceof Error) entry.reject(result)
    else entry.resolve(result as Result)
  }
}
