/** Runs one job in a process of its own, so that no system inherits another's heap: prints what it measured as JSON. */
import { randomBytes } from 'node:crypto'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { openBursar } from './bursar.ts'
import { openPeer } from './peer.ts'
import { accountId, type Call, type Job, type Measured } from './shape.ts'

/** The histogram counts from one timer to the next. */
const RESOLUTION_MS = 1

let pool = Buffer.alloc(0)
let used = 0

const job = JSON.parse(process.argv[2] ?? '') as Job
process.stdout.write(JSON.stringify(await measure(job)))

async function measure({ system, file, callers, accounts, warmMs, measureMs }: Job): Promise<Measured> {
  const engine = system === 'bursar' ? await openBursar(file) : await openPeer(file, system === 'grouped')
  let done = 0
  const stopping = new AbortController()
  const stop = stopping.signal
  const work = Promise.all(
    Array.from({ length: callers }, async () => {
      while (!stop.aborted) {
        await engine.pair(nextCall(accounts))
        done++
      }
    }),
  )
  await Promise.race([work, pause(warmMs)])
  const lag = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  lag.enable()
  const before = done
  const started = performance.now()
  const cpu = process.cpuUsage()
  await Promise.race([work, pause(measureMs)])
  const seconds = (performance.now() - started) / 1000
  const { user, system: kernel } = process.cpuUsage(cpu)
  const counted = done - before
  lag.disable()
  stopping.abort()
  await work
  await engine.close()
  const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS)
  return {
    pairs: counted / seconds,
    cpu: (user + kernel) / counted,
    lagP99: late(lag.percentile(99)),
    lagMax: late(lag.max),
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function nextCall(accounts: number): Call {
  if (used === pool.length) {
    pool = randomBytes(20 * 1024)
    used = 0
  }
  const key = pool.toString('hex', used, used + 16)
  const random = pool.readUInt32LE(used + 16)
  used += 20
  const amount = 1_000n + BigInt(random & 1023)
  return { account: accountId(random % accounts), amount, cost: (amount * BigInt(random >>> 24)) >> 8n, key }
}
