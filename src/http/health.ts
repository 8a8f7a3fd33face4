/** Whether this process lives (`/healthz`) and whether it can do its work (`/readyz`), for whoever restarts it. */
import { Hono } from 'hono'
import { BursarError, toBursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import { problemResponse } from './problem.ts'
import { type HttpEnv, onlyMethods } from './security.ts'

/** Something this process needs: its database, each of its chains. */
export interface ReadinessCheck {
  /** Shown to anybody who asks: `database`, `chain ethereum`. */
  readonly name: string
  /** Throws what is wrong; that is logged. Of an error of ours, code and remedy are shown, never the message. */
  check(signal: AbortSignal): Promise<void>
}

/** An orchestrator's probe gives up after a second or a few. */
const CHECK_MS = 2_000

/** @param degraded what works less well, and is no reason to send nobody here. */
export function healthRoutes(
  runtime: Runtime,
  checks: readonly ReadinessCheck[],
  degraded: () => string[] = () => [],
): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()
  app.use('*', onlyMethods('GET', 'HEAD'))
  app.get('/healthz', (c) => c.json({ status: 'ok' }))
  app.get('/readyz', async (c) => {
    const results = await Promise.all(checks.map((check) => problemOf(runtime, check)))
    const reasons = checks.flatMap(({ name }, index) => {
      const error = results[index]
      return error ? [{ check: name, code: error.code, remedy: error.remedy }] : []
    })
    const failing = reasons.map(({ check }) => check)
    if (failing.length === 0) {
      const worse = degraded()
      const names = checks.map((check) => check.name)
      return c.json({ status: 'ok', checks: names, ...(worse.length > 0 ? { degraded: worse } : {}) })
    }
    const database = reasons.some(({ check, code }) => check === 'database' || code === 'frozen')
    const code = database ? 'database_unavailable' : 'chain_unavailable'
    return problemResponse(
      new BursarError(code, `Not ready: ${failing.join(', ')}.`, {
        remedy: 'The operator finds the cause in the log, or with bursar doctor.',
        details: { failing, reasons },
      }),
    )
  })
  return app
}

/** What is wrong; null: nothing. */
async function problemOf(runtime: Runtime, check: ReadinessCheck): Promise<BursarError | null> {
  const limit = new AbortController()
  const cancel = runtime.after(CHECK_MS, () => limit.abort(new Error(`no answer within ${CHECK_MS} ms`)))
  try {
    await Promise.race([check.check(limit.signal), aborted(limit.signal)])
    return null
  } catch (thrown) {
    const error = toBursarError(thrown)
    const { code, message } = error
    runtime.log.warn({ check: check.name, code, err: thrown }, `not ready: ${message}`)
    return error
  } finally {
    cancel()
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}
