/** Two processes that watch one chain through an endpoint that takes longer for a step than a lease lasts. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Runtime } from '../../src/runtime.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { type Proxy, startProxy, type Verdict } from '../support/proxy.ts'
import { openShop, type Shop } from './shop.ts'

const CREDIT = 1_000_000n
const LEASE_MS = 15_000
const dir = mkdtempSync(join(tmpdir(), 'bursar-slow-'))

let anvil: Anvil
let proxy: Proxy
const shops: Shop[] = []
beforeAll(async () => {
  anvil = await startAnvil()
  proxy = await startProxy(anvil.url)
})
afterAll(async () => {
  proxy.decide = () => 'pass'
  for (const shop of shops) await shop.close()
  await proxy.stop()
  await anvil.stop()
  rmSync(dir, { recursive: true })
})

it('leaves the chain to whoever is reading it, however long a step takes', async () => {
  // It moves by hand alone, so that no pause of this process lets the lease lapse.
  let at = Date.now()
  const now = () => at
  // Pauses of seconds pass in no time.
  const sleep: Runtime['sleep'] = async (ms, signal) => {
    signal?.throwIfAborted()
    await new Promise((resolve) => setTimeout(resolve, Math.min(ms, 10)))
    signal?.throwIfAborted()
  }
  const [reader, other] = [
    await openShop({ anvil, rpc: [proxy.url], dir, runtime: { now, sleep } }),
    await openShop({ anvil, dir, runtime: { now, sleep } }),
  ]
  shops.push(reader, other)
  await reader.watch()
  await other.watch()
  const invoice = await reader.ask()
  const lease = async () =>
    (
      await reader.till.db.query<{ fence: bigint; expires_at: bigint }>('SELECT fence, expires_at FROM lease')
    )[0]
  const before = await lease()
  const prolonged = async (since: number) => {
    while (Number((await lease())?.expires_at) < since + LEASE_MS) await sleep(10)
  }

  const slow = Promise.withResolvers<void>()
  const reading = new Promise<void>((resolve) => {
    proxy.decide = async ({ method, params }): Promise<Verdict> => {
      if (method !== 'eth_getBlockByNumber' || params[1] !== true) return 'pass'
      resolve()
      await slow.promise
      return 'pass'
    }
  })
  await anvil.send({ to: invoice.address, value: BigInt(invoice.amount) })
  await anvil.mine(2)
  await reading
  for (let waited = 0; waited < 3 * LEASE_MS; waited += 5_000) {
    at += 5_000
    await prolonged(now())
  }
  expect(await lease()).toMatchObject({ fence: before?.fence })
  slow.resolve()
  await reader.until(invoice.id, (view) => view.state === 'paid')
  expect(await reader.till.available('acc')).toBe(100n * CREDIT)
})
