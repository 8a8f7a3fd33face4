/**
 * What the till has said, written down by whoever heard it: an append-only file of JSON lines. Each line carries the
 * place in the database's log at which it was heard; its commit lies there or before.
 */
import { appendFileSync, readFileSync } from 'node:fs'
import { type WalPosition, walPosition } from './wal.ts'

export type Said =
  /** An invoice, from create_invoice; a repeat must say the same. */
  | {
      readonly kind: 'invoiced'
      readonly account: string
      readonly key: string
      readonly id: string
      readonly rail: string
      readonly amount: string
      readonly credits: string
      readonly pack: boolean
      readonly address: string
    }
  /** A payment that get_invoice shows as credited. */
  | { readonly kind: 'credited'; readonly invoice: string; readonly txid: string; readonly credits: string }
  /** The upstream received a call: its hold was durable before. */
  | { readonly kind: 'dispatched'; readonly key: string }
  /** An answer or a failure of call_model that has a receipt. Keys differ between accounts here. */
  | {
      readonly kind: 'called'
      readonly account: string
      readonly key: string
      readonly receipt: string
      readonly charged: string
      /** The text, or the error's code. */
      readonly answer: string
    }
  /** A call whose process died and which the till has since charged or released without an answer. */
  | {
      readonly kind: 'lapsed'
      readonly account: string
      readonly key: string
      readonly receipt: string
      readonly charged: string
    }
  | {
      readonly kind: 'held'
      readonly account: string
      readonly key: string
      readonly ref: string
      readonly micro: string
    }
  | {
      readonly kind: 'closed'
      readonly ref: string
      readonly as: 'capture' | 'release'
      readonly micro: string
    }

export type Acknowledged = Said & { readonly at: WalPosition }

export interface Log {
  readonly path: string
  readonly count: number
  add(said: Said): void
  /** Lines that are not the teller's. */
  readonly fromTill: number
  /** Resolves when there are so many of these. */
  heardFromTill(count: number): Promise<void>
}

export function createLog(path: string, database: string): Log {
  let [count, fromTill] = [0, 0]
  let waiting: { readonly for: number; readonly resolve: () => void } | undefined
  appendFileSync(path, '')
  return {
    path,
    get count() {
      return count
    },
    add(said) {
      const line: Acknowledged = { ...said, at: walPosition(database) }
      appendFileSync(path, `${JSON.stringify(line)}\n`)
      count++
      if (said.kind !== 'held' && said.kind !== 'closed') fromTill++
      if (waiting && fromTill >= waiting.for) waiting.resolve()
    },
    get fromTill() {
      return fromTill
    },
    heardFromTill(wanted) {
      if (fromTill >= wanted) return Promise.resolve()
      return new Promise((resolve) => {
        waiting = { for: wanted, resolve }
      })
    },
  }
}

/** The first `count` lines. */
export function readLog(path: string, count: number): Acknowledged[] {
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, count)
  return lines.map((line) => JSON.parse(line) as Acknowledged)
}
