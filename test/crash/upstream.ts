/**
 * An upstream that counts how often each call reaches it. The text of a call is its idempotency key, and the answer
 * depends on nothing else, so that a driver can tell what a call must cost.
 */
import { completes, cutsAfterHeaders, refuses, startScriptedUpstream } from '../support/upstream.ts'
import type { Dice } from './dice.ts'

export interface Reply {
  readonly kind: 'answers' | 'refuses' | 'cuts'
  readonly inputTokens: number
  readonly outputTokens: number
}

export interface CountingUpstream {
  readonly baseUrl: string
  /** Times that the call with this key arrived. */
  readonly hits: ReadonlyMap<string, number>
  /** Told of each call before it is answered. */
  onHit(told: (key: string) => void): void
  stop(): Promise<void>
}

/** What the upstream does with a call. */
export function replyTo(key: string): Reply {
  const number = Number(/\d+$/.exec(key)?.[0] ?? 0)
  const kind = number % 11 === 5 ? 'refuses' : number % 17 === 9 ? 'cuts' : 'answers'
  return { kind, inputTokens: 1 + (number % 7), outputTokens: 1 + (number % 19) }
}

export function answerTo(key: string): string {
  return `The answer to ${key}.`
}

const FAILS = refuses(500, 'server_error')

export async function startCountingUpstream(dice: Dice): Promise<CountingUpstream> {
  const hits = new Map<string, number>()
  let told: (key: string) => void = () => undefined
  const server = await startScriptedUpstream((response, received) => {
    const [message] = received.body['messages'] as { content: string }[]
    const key = message?.content ?? ''
    hits.set(key, (hits.get(key) ?? 0) + 1)
    told(key)
    const { kind, inputTokens, outputTokens } = replyTo(key)
    const usage = { prompt_tokens: inputTokens, completion_tokens: outputTokens }
    const behave = {
      answers: completes({ text: answerTo(key), usage }),
      refuses: FAILS,
      cuts: cutsAfterHeaders,
    }
    setTimeout(
      () => {
        if (!response.destroyed) behave[kind](response, received)
      },
      dice.between(0, 60),
    )
  })
  return {
    baseUrl: server.baseUrl,
    hits,
    onHit(next) {
      told = next
    },
    stop: () => server.stop(),
  }
}
