/**
 * Group commit: small writes of many callers become one commit. Items that arrive while a group is being committed
 * form the next one, so groups grow with the load, and a lone caller waits for nobody.
 */
export interface GroupOptions<Item, Result> {
  /** Most items in one commit. */
  readonly limit: number
  /** Starts a flush soon, after the callers that are ready to run have added their items. */
  readonly schedule: (flush: () => void) => void
  /**
   * Two items of one group must differ in each of these; the later one waits for the next group.
   * For items whose outcome depends on each other.
   */
  readonly conflicts: (item: Item) => readonly string[]
  /** Commits a group; one result for each item, in order. An Error among them refuses just that item. */
  readonly commit: (items: readonly Item[]) => Promise<readonly (Result | Error)[]>
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
  readonly resolve: (result: Result) => void
  readonly reject: (reason: unknown) => void
}

export function createGroup<Item, Result>(options: GroupOptions<Item, Result>): Group<Item, Result> {
  let waiting: Entry<Item, Result>[] = []
  let running = false
  let scheduled = false
  const onIdle: (() => void)[] = []
  const isIdle = (): boolean => waiting.length === 0 && !running && !scheduled

  function schedule(): void {
    if (scheduled || running || waiting.length === 0) return
    scheduled = true
    options.schedule(() => void run())
  }

  async function run(): Promise<void> {
    const [group, rest] = takeGroup(waiting, options)
    waiting = rest
    scheduled = false
    running = true
    await flush(group, options)
    running = false
    schedule()
    if (isIdle()) for (const resolve of onIdle.splice(0)) resolve()
  }

  return {
    add: (item) =>
      new Promise((resolve, reject) => {
        waiting.push({ item, resolve, reject })
        schedule()
      }),
    idle: () =>
      new Promise((resolve) => {
        if (isIdle()) resolve()
        else onIdle.push(resolve)
      }),
  }
}

function takeGroup<Item, Result>(
  waiting: readonly Entry<Item, Result>[],
  { limit, conflicts }: GroupOptions<Item, Result>,
): [Entry<Item, Result>[], Entry<Item, Result>[]] {
  const group: Entry<Item, Result>[] = []
  const later: Entry<Item, Result>[] = []
  const seen = new Set<string>()
  let looked = 0
  for (const entry of waiting) {
    if (group.length === limit) break
    looked++
    const keys = conflicts(entry.item)
    if (keys.some((key) => seen.has(key))) later.push(entry)
    else group.push(entry)
    for (const key of keys) seen.add(key)
  }
  return [group, [...later, ...waiting.slice(looked)]]
}

/** Never rejects: each entry gets its own outcome. */
async function flush<Item, Result>(
  group: readonly Entry<Item, Result>[],
  options: GroupOptions<Item, Result>,
): Promise<void> {
  try {
    const results = await options.commit(group.map(({ item }) => item))
    for (const [index, entry] of group.entries()) {
      const result = results[index] ?? new Error('A group returned no result for one of its items.')
      if (result instanceof Error) entry.reject(result)
      else entry.resolve(result)
    }
  } catch (thrown) {
    if (group.length === 1 || !options.splittable(thrown)) {
      for (const { reject } of group) reject(thrown)
      return
    }
    const middle = Math.ceil(group.length / 2)
    await flush(group.slice(0, middle), options)
    await flush(group.slice(middle), options)
  }
}
