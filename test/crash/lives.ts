/** A program that is killed and started again, and callers that ask again in its next life until they are answered. */
import type { ChildProcess } from 'node:child_process'

export interface Life<Client> {
  readonly child: ChildProcess
  /** Never settles when it dies before. */
  readonly ready: Promise<Client>
  readonly ended: Promise<void>
}

export interface Lives<Client> {
  /** Starts the next life. */
  start(): Life<Client>
  readonly current: Life<Client>
  /**
   * Asks whichever life there is, again in each next one, until one of them answers or refuses. `ask` must be safe to
   * repeat. The second argument tells how many lives were asked before.
   */
  ask<Answer>(ask: (client: Client, earlier: number) => Promise<Answer>): Promise<Answer>
  /** Kills with SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
}

const DIED = Symbol('died')

export function createLives<Client>(spawn: () => Life<Client>): Lives<Client> {
  let current = spawn()
  let next = Promise.withResolvers<void>()
  const orphan = (): void => void current.child.kill('SIGKILL')
  process.once('exit', orphan)
  return {
    get current() {
      return current
    },
    start() {
      current = spawn()
      next.resolve()
      next = Promise.withResolvers()
      return current
    },
    async ask(ask) {
      for (let earlier = 0; ; earlier++) {
        const life = current
        const following = next.promise
        const died = life.ended.then((): typeof DIED => DIED)
        const asked = life.ready.then(async (client) => {
          try {
            return await ask(client, earlier)
          } catch (thrown) {
            // A connection that breaks says so before the process is seen to have ended.
            if (isLost(thrown)) return await died
            throw thrown
          }
        })
        asked.catch(() => undefined)
        const answer = await Promise.race([asked, died])
        if (answer !== DIED) return answer
        await following
      }
    },
    async kill() {
      current.child.kill('SIGKILL')
      await current.ended
    },
  }
}

/** Whether this is a broken connection, and no refusal. */
function isLost(thrown: unknown): boolean {
  for (let error = thrown; error instanceof Error; error = error.cause) {
    const { code } = error as NodeJS.ErrnoException
    if (/ECONN|EPIPE|UND_ERR/.test(`${String(code)} ${error.message}`)) return true
    if (/fetch failed|terminated|socket hang up|other side closed/i.test(error.message)) return true
  }
  return false
}
