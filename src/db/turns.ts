/**
 * Who is next: works in the order of being asked, a few at a time. Where one has to wait, for a lock or for a server,
 * those behind it wait as well instead of each finding out for itself.
 */
export interface Turns {
  /** Begins at once if it can. Resolves as the work does. */
  take<T>(work: () => Promise<T>): Promise<T>
}

/** @param most works under way at once */
export function createTurns(most: number): Turns {
  const waiting: (() => void)[] = []
  let underWay = 0

  function ended(): void {
    underWay--
    waiting.shift()?.()
  }

  return {
    take: (work) =>
      new Promise((resolve) => {
        const begin = (): void => {
          underWay++
          const done = work()
          done.then(ended, ended)
          resolve(done)
        }
        if (underWay < most) begin()
        else waiting.push(begin)
      }),
  }
}
