/** What SIGINT and SIGTERM do: the first asks, the second one ends the process there and then. */
import { constants } from 'node:os'

/**
 * A terminal sends Ctrl-C to a whole group of processes, and what started Bursar (npm, bin/bursar.js on an old Node)
 * passes it on besides: what comes so soon after the first is the first.
 */
const SAME_WITHIN_MS = 500

/**
 * Aborted by the first SIGINT or SIGTERM: the three programs end what is under way, in bounded time. `lasting` says
 * whether one of them runs. Any other command is given a moment, and is then ended: nothing it does needs more, because
 * a write is whole or is not.
 */
export function stopSignal(lasting: boolean): AbortSignal {
  const stop = new AbortController()
  let first: number | undefined
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const end = (): never => process.exit(128 + constants.signals[signal])
    process.on(signal, () => {
      if (first !== undefined) {
        if (performance.now() - first > SAME_WITHIN_MS) end()
        return
      }
      first = performance.now()
      stop.abort()
      setTimeout(lasting ? explain : end, SAME_WITHIN_MS).unref()
    })
  }
  return stop.signal
}

function explain(): void {
  if (process.stderr.isTTY)
    process.stderr.write('Ending what is under way. Ctrl-C once more stops at once.\n')
}
