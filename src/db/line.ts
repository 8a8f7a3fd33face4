/**
 * Who waits for a group: of those with one key only the first stands in line, the next behind it, so that a group never
 * has two of them, and a thousand of them cost no more than others do.
 */
export interface Line<Entry> {
  /** How many may be taken now. */
  length(): number
  join(entry: Entry): void
  /** The first ones; whoever stood behind one of them now stands at the end of the line. */
  take(most: number): Entry[]
  /** All of whom this is true, but for those who stand behind one of whom it is not. */
  takeIf(is: (entry: Entry) => boolean): Entry[]
}

export function createLine<Entry>(keyOf: (entry: Entry) => string | undefined): Line<Entry> {
  let inLine: Entry[] = []
  /** By the key of one in line. */
  const behind = new Map<string, Entry[]>()

  function join(entry: Entry): void {
    const key = keyOf(entry)
    const others = key === undefined ? undefined : behind.get(key)
    if (others) others.push(entry)
    else {
      if (key !== undefined) behind.set(key, [])
      inLine.push(entry)
    }
  }

  function left(entry: Entry): void {
    const key = keyOf(entry)
    if (key === undefined) return
    const next = behind.get(key)?.shift()
    if (next === undefined) behind.delete(key)
    else inLine.push(next)
  }

  function take(most: number): Entry[] {
    const taken = inLine.slice(0, most)
    inLine = inLine.slice(most)
    for (const entry of taken) left(entry)
    return taken
  }

  return {
    length: () => inLine.length,
    join,
    take,
    takeIf(is) {
      const taken: Entry[] = []
      while (inLine.some(is)) {
        const leaving = inLine.filter(is)
        inLine = inLine.filter((entry) => !is(entry))
        for (const entry of leaving) left(entry)
        for (const entry of leaving) taken.push(entry)
      }
      return taken
    },
  }
}
