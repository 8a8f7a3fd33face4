/**
 * Tells waiters in this process that an invoice may look different now. A hint, not a queue: whoever waits looks
 * at the database afterwards, and also without a hint from time to time, because another process may be watching.
 */
export interface Changes {
  notify(invoice: string): void
  /** Resolves at the next change of this invoice; rejects with the signal's reason. */
  wait(invoice: string, signal: AbortSignal): Promise<void>
}

export function createChanges(): Changes {
  const waiting = new Map<string, Set<() => void>>()
  return {
    notify(invoice) {
      const wakers = waiting.get(invoice)
      waiting.delete(invoice)
      for (const wake of wakers ?? []) wake()
    },
    wait(invoice, signal) {
      return new Promise((resolve, reject) => {
        if (signal.aborted) {
          reject(reasonOf(signal))
          return
        }
        const wakers = waiting.get(invoice) ?? new Set()
        waiting.set(invoice, wakers)
        const abort = (): void => {
          wakers.delete(wake)
          if (wakers.size === 0 && waiting.get(invoice) === wakers) waiting.delete(invoice)
          reject(reasonOf(signal))
        }
        const wake = (): void => {
          signal.removeEventListener('abort', abort)
          resolve()
        }
        wakers.add(wake)
        signal.addEventListener('abort', abort, { once: true })
      })
    },
  }
}

function reasonOf(signal: AbortSignal): Error {
  const reason: unknown = signal.reason
  return reason instanceof Error ? reason : new Error('aborted', { cause: reason })
}
