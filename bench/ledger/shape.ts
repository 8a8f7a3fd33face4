/** What is measured: the words that the driver of the benchmark and its child processes share. */

export type System = 'bursar' | 'grouped' | 'single'

export interface Job {
  readonly system: System
  /** Path of the database. */
  readonly file: string
  readonly callers: number
  /** 1: all callers use the same account. */
  readonly accounts: number
  readonly warmMs: number
  readonly measureMs: number
}

export interface Measured {
  /** Hold + capture pairs per second. */
  readonly pairs: number
  /** Of all threads, in the kernel too, microseconds a pair. */
  readonly cpu: number
  /** How much later than due the event loop ran a timer, milliseconds. */
  readonly lagP99: number
  readonly lagMax: number
}

/** One way to keep a ledger. Each call is durable when it resolves. */
export interface Engine {
  /** Holds the worst case of a call, then captures its cost. */
  pair(call: Call): Promise<void>
  close(): Promise<void>
}

export interface Call {
  readonly account: string
  readonly amount: bigint
  readonly cost: bigint
  /** Random, 32 hex digits. */
  readonly key: string
}

export const ACCOUNTS = 10_000
export const LOTS = 4
export const ROUTE = '/v1/chat/completions'
export const BODY_HASH = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'
export const LIFETIME_MS = 600_000
export const MODEL = 'gpt-5-mini'
export const UPSTREAM = 'openai'
export const PRICE = '{"input":"2.5","output":"20","version":"2026-11-01"}'
export const USAGE = '{"input":812,"output":96,"source":"upstream"}'
export const RESPONSE = '{"status":200,"type":"application/json","body":"eyJpZCI6ImNoYXRjbXBsLTEifQ=="}'

export function accountId(index: number): string {
  return `acc_${String(index).padStart(26, '0')}`
}
