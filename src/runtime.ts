/**
 * The outside world as values: time, timers, randomness, network, log. Core code receives one of these and
 * never reaches for the globals, so that a whole till can run on simulated ones.
 */
import { randomBytes, randomFillSync } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import pino from 'pino'
import { monotonicFactory } from 'ulid'
import { Agent, type Dispatcher } from 'undici'

export interface Log {
  debug(facts: object, message: string): void
  info(facts: object, message: string): void
  warn(facts: object, message: string): void
  error(facts: object, message: string): void
}

/** Where a call of a model ended. `passed_over`: another upstream was asked then. */
export interface CallLabels {
  readonly model: string
  readonly upstream: string
  readonly outcome: 'answered' | 'refused' | 'unreached' | 'lost' | 'passed_over'
}

/** Counts what happens, for whoever watches this process. Labels come from the configuration, never from a caller. */
export interface Metrics {
  /** The clock of one attempt to have a call answered; tell it the end. */
  startCall(): (ended: CallLabels) => void
  /** Micro-credits that a call was charged. */
  captured(micro: bigint): void
  /** The clock of one group commit of so many changes. */
  startGroup(size: number): () => void
  /** An endpoint of a chain did not answer, or not as it should. */
  endpointFailed(chain: string, endpoint: string): void
}

export interface Runtime {
  /** Unix time in milliseconds. */
  now(): number
  /** Resolves after `ms`, or rejects with the signal's reason when it is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** Runs `task` once after `ms`; the returned function cancels it. It never keeps the process alive. */
  after(ms: number, task: () => void): () => void
  /** Cryptographically secure bytes. */
  random(bytes: number): Uint8Array
  /** A time-ordered identifier, `prefix_` + ULID: recent rows lie together in the database. */
  id(prefix: string): string
  /** Every outgoing HTTP request goes through this dispatcher. */
  readonly network: Dispatcher
  readonly log: Log
  /** Absent: nobody watches, and nothing is counted. */
  readonly metrics?: Metrics
}

/** API keys, bearer tokens and extended private keys: struck out of every line, whoever logged it. */
const SECRET = /\b(?:bk_|sk-|[xyztuv]prv)[\w-]{20,}|(?<=\bBearer )[^\s"\\]+/gi

/**
 * How long an idle connection may be used again, milliseconds. A request that is on its way while the other side closes
 * the connection is lost, and nobody can tell whether it was read: it must not be sent twice, and a model call is
 * charged its input. So this side lets go first, by more than a packet takes that has to be sent a second time.
 */
const IDLE = {
  // Less than what the other side announces: Node says 5 s. Announced less than this, it is used once.
  keepAliveTimeoutThreshold: 3_000,
  // Where it announces nothing: uvicorn closes after 5 s.
  keepAliveTimeout: 3_000,
  // Whatever it announces: balancers and address translators in between forget a connection without a word.
  keepAliveMaxTimeout: 30_000,
}

/** Random numbers from 0 to below 1, drawn in bulk: an identifier takes sixteen, a system call each would show. */
function fractions(): () => number {
  const drawn = new Uint8Array(4096)
  let next = drawn.length
  return () => {
    if (next === drawn.length) {
      randomFillSync(drawn)
      next = 0
    }
    return (drawn[next++] ?? 0) / 256
  }
}

/** The real world. The log goes to stderr, because stdout belongs to the MCP stdio protocol. */
export function systemRuntime(level = 'info'): Runtime {
  const hooks = { streamWrite: (line: string) => line.replaceAll(SECRET, '[secret]') }
  const log = pino({ level, base: null, hooks }, pino.destination({ dest: 2, sync: true }))
  // Also within a millisecond each id is above the last.
  const ulid = monotonicFactory(fractions())
  return {
    now: () => Date.now(),
    sleep: (ms, signal) => delay(ms, undefined, signal ? { signal } : {}),
    after(ms, task) {
      const timer = setTimeout(task, ms)
      timer.unref()
      return () => clearTimeout(timer)
    },
    random: (bytes) => new Uint8Array(randomBytes(bytes)),
    id: (prefix) => `${prefix}_${ulid()}`,
    network: new Agent({ connect: { timeout: 10_000 }, ...IDLE }),
    log,
  }
}
