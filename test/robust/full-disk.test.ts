/** A disk that fills up under a running till: it refuses, loses nothing, and goes on once there is space. */
import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Answer, openShop, type Shop, startWorld, verify, type World } from './shop.ts'

/** Mounting takes root. In CI, which is root, a test that cannot mount fails. */
const mayMount = process.getuid?.() === 0 && process.platform === 'linux'
if (!mayMount) console.warn('The full disk is skipped: mounting a small tmpfs takes root on Linux.')

let world: World
let disk: string
let database: string
let shop: Shop

beforeAll(async () => {
  if (!mayMount) return
  world = await startWorld()
  disk = join(world.folder, 'disk')
  mkdirSync(disk)
  mount(disk)
  database = join(disk, 'till.db')
  shop = await openShop(world, database)
  await shop.buy()
})
afterAll(async () => {
  await shop?.close()
  // Lazily: the driver closes its files when they are collected.
  if (disk !== undefined) spawnSync('umount', ['-l', disk])
  await world?.stop()
})

function mount(folder: string): void {
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', folder])
  if (status !== 0) throw new Error(`mount failed: ${String(stderr)}`)
}

const filler = () => join(disk, 'filler')

/** Takes every byte that is left. */
function fill(): void {
  const file = openSync(filler(), 'a')
  try {
    for (let size = 1 << 20; size > 0; ) {
      try {
        writeSync(file, Buffer.alloc(size))
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code !== 'ENOSPC') throw thrown
        size >>= 1
      }
    }
  } finally {
    closeSync(file)
  }
}

/** What the log still has room for is taken; then it is refused. */
async function untilRefused(
  ask: (key: string) => Promise<Answer>,
): Promise<{ taken: string[]; refused: string }> {
  const taken: string[] = []
  for (let n = 0; n < 3_000; n++) {
    const key = world.runtime.id('key')
    const { status, body } = await ask(key)
    if (status < 300) {
      taken.push(key)
      continue
    }
    expect([status, body['code']]).toEqual([503, 'database_unavailable'])
    expect(JSON.stringify(body)).toMatch(/disk/)
    expect(body['remedy']).toMatch(/space/)
    return { taken, refused: key }
  }
  throw new Error('the disk never became full')
}

if (process.env['CI'] && !mayMount) {
  test('a full disk is tested in CI, which takes root', () => expect.fail('CI does not run as root'))
}

describe.runIf(mayMount)('a full disk', () => {
  test('refuses calls and invoices, keeps what was acknowledged, and goes on when there is space', async () => {
    fill()
    const calls = await untilRefused((key) => shop.call(key))
    const invoices = await untilRefused((key) => shop.ask(key))
    // What can be answered by reading still is.
    expect((await shop.get('/v1/balance')).status).toBe(200)
    for (const key of calls.taken.slice(-3)) expect((await shop.call(key)).status).toBe(200)

    rmSync(filler())
    const before = world.upstream.received.length
    for (const key of calls.taken) expect((await shop.call(key)).status).toBe(200)
    expect(world.upstream.received.length, 'nothing that was acknowledged runs again').toBe(before)
    // The refused one may have run before its outcome could not be written; it is charged at most once.
    expect([200, 409]).toContain((await shop.call(calls.refused)).status)
    expect((await shop.call('fresh')).status).toBe(200)
    expect((await shop.ask(invoices.refused)).status).toBe(201)
    await shop.buy()

    const { body } = await shop.get('/v1/usage?limit=100')
    const receipts = body['calls'] as { state: string }[]
    expect(receipts.length).toBeGreaterThan(0)
    expect(await verify(world, database)).toMatchObject({ ok: true, findings: [] })
  })

  test('lets no till begin, and says why', async () => {
    const small = join(world.folder, 'small')
    mkdirSync(small)
    const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', small])
    expect(status).toBe(0)
    try {
      const opened = openShop(world, join(small, 'till.db'))
      await expect(opened).rejects.toMatchObject({ code: 'database_unavailable' })
      await expect(opened).rejects.toThrow(/disk of the database (is|fails, or is) full/)
    } finally {
      spawnSync('umount', ['-l', small])
    }
  })
})
