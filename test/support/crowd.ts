/** Very many buyers with one key, at several tills: their calls are all on the wire at once. */
import { setTimeout as delay } from 'node:timers/promises'
import { Pool } from 'undici'

export interface Answer {
  readonly status: number
  /** Of a refusal. */
  readonly code: string | null
  /** Of a refusal for lack of credits: `held` by running calls, or gone. */
  readonly reason: string | null
  /** Which till gave it. */
  readonly till: number
}

export interface Crowd {
  /** So many calls at once, in turn at each till. */
  ask(count: number, body: object, headers?: Headers): Promise<Answer[]>
  /** So many buyers, each asking again and again until it is told that the credits are gone. */
  askUntilRefused(buyers: number, body: object, headers?: Headers): Promise<Answer[]>
  /** Looks again and again, until it is stopped. */
  watch<T>(look: () => Promise<T>): { stop(): Promise<readonly T[]> }
  disperse(): Promise<void>
}

type Headers = Readonly<Record<string, string>>

/** Ten calls follow each other on a connection without waiting for answers: 500 connections carry 5,000. */
const CONNECTIONS = 500
const PIPELINED = 10

export function gatherCrowd(urls: readonly string[], key: string): Crowd {
  const options = {
    connections: CONNECTIONS,
    pipelining: PIPELINED,
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: { timeout: 0 },
    // Far less than a till keeps an idle connection: none is used while it is being closed.
    keepAliveTimeoutThreshold: 30_000,
  }
  const pools = urls.map((url) => new Pool(url, options))
  const running = new Set<Promise<Answer>>()

  async function send(till: number, body: object, headers: Headers): Promise<Answer> {
    const pool = pools[till]
    if (!pool) throw new Error(`there is no till ${till}`)
    for (;;) {
      const response = await pool.request({
        method: 'POST',
        path: '/v1/chat/completions',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
        // What undici wants to hear before it sends one call behind another.
        idempotent: true,
        blocking: false,
      })
      const { code, reason } = (await response.body.json()) as { code?: string; reason?: string }
      // On a slow machine some wait in line for longer than a till lets them. Nothing was held: asked again.
      if (code === 'database_unavailable') continue
      return { status: response.statusCode, code: code ?? null, reason: reason ?? null, till }
    }
  }

  function ask(till: number, body: object, headers: Headers): Promise<Answer> {
    const asked = send(till, body, headers)
    running.add(asked)
    return asked.finally(() => running.delete(asked))
  }

  async function buyer(till: number, body: object, headers: Headers): Promise<Answer[]> {
    const answers: Answer[] = []
    for (;;) {
      const answer = await ask(till, body, headers)
      answers.push(answer)
      if (answer.status !== 200 && answer.reason !== 'held') return answers
      // What is held comes back when another call has ended; with none left, it is there.
      if (answer.reason === 'held' && running.size > 0) await Promise.race(running)
    }
  }

  return {
    ask: (count, body, headers = {}) =>
      Promise.all(Array.from({ length: count }, (_, n) => ask(n % pools.length, body, headers))),
    async askUntilRefused(buyers, body, headers = {}) {
      const each = Array.from({ length: buyers }, (_, n) => buyer(n % pools.length, body, headers))
      return (await Promise.all(each)).flat()
    },
    watch(look) {
      const over = new AbortController()
      const seen: Awaited<ReturnType<typeof look>>[] = []
      const looking = (async () => {
        for (; !over.signal.aborted; await delay(2)) seen.push(await look())
      })()
      return {
        async stop() {
          over.abort()
          await looking
          return seen
        },
      }
    },
    async disperse() {
      await Promise.all(pools.map((pool) => pool.close()))
    },
  }
}
