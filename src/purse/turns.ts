/** One at a time for each name: payments of one wallet on one chain take their nonces in turn. */
export interface Turns {
  /** Runs `task` when everything that asked before it under this name has ended. */
  take<T>(name: string, task: () => Promise<T>): Promise<T>
  /** Resolves when nothing runs or waits. */
  idle(): Promise<void>
}

export function createTurns(): Turns {
  const last = new Map<string, Promise<unknown>>()
  return {
    take(name, task) {
      const turn = (last.get(name) ?? Promise.resolve()).then(task, task)
      // A failure is its caller's to handle; the next in line only waits for the end.
      const ended = turn.then(
        () => undefined,
        () => undefined,
      )
      last.set(name, ended)
      return turn
    },
    async idle() {
      await Promise.all(last.values())
    },
  }
}
