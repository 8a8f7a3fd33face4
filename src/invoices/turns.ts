/** Lets tasks of one process that would only get in each other's way run one after the other. */
const lines = new WeakMap<object, Map<string, Promise<unknown>>>()

/** Runs `task` after all earlier tasks of the same scope and name have ended, however they ended. */
export async function inTurn<T>(scope: object, name: string, task: () => Promise<T>): Promise<T> {
  const line = lines.get(scope) ?? new Map<string, Promise<unknown>>()
  lines.set(scope, line)
  const before = line.get(name) ?? Promise.resolve()
  const mine = before.then(task, task)
  line.set(name, mine)
  try {
    return await mine
  } finally {
    if (line.get(name) === mine) line.delete(name)
  }
}
