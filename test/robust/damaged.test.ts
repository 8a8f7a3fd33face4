/** A database file that cannot be written, or whose pages are not what they were: refused, never guessed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { chmod, chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { createClient } from '@libsql/client'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BIN, run } from '../support/program.ts'
import { type Answer, openShop, type Shop, startWorld, verify, type World } from './shop.ts'

const PAGE = 4096
/** Kinds of page that point to others: of an index, of a table ("Database File Format", section 1.6). */
const INNER = [2, 5]

let world: World
/** A ledger with a history, in one file. */
let original: string
let key: string
let copies = 0

beforeAll(async () => {
  world = await startWorld()
  original = join(world.folder, 'original.db')
  const shop = await openShop(world, original)
  key = shop.key
  await shop.buy()
  for (let n = 0; n < 40; n++) expect((await shop.call(`call-${n}`)).status).toBe(200)
  await shop.close()
  const client = createClient({ url: `file:${original}` })
  // No free pages: what nobody reads may be anything.
  await client.execute('VACUUM')
  await client.execute('PRAGMA wal_checkpoint(TRUNCATE)')
  client.close()
})
afterAll(() => world?.stop())

function copy(change: (bytes: Buffer) => Buffer): string {
  const path = join(world.folder, `copy-${copies++}.db`)
  writeFileSync(path, change(readFileSync(original)))
  return path
}

const pages = (): number => readFileSync(original).length / PAGE

/** What a page is replaced by; a number is that of another page, from 0. */
type Damage = 'zeros' | 'noise' | 'the page before' | number

/** The first child of each inner page but the first, and that page; counted from 0. */
function childrenOfInner(): [page: number, by: Damage][] {
  const bytes = readFileSync(original)
  return Array.from({ length: pages() }, (_, page) => page)
    .filter((page) => page > 0 && INNER.includes(bytes[page * PAGE] ?? 0))
    .map((page) => {
      const firstCell = bytes.readUInt16BE(page * PAGE + 12)
      return [bytes.readUInt32BE(page * PAGE + firstCell) - 1, page]
    })
}

interface Seen {
  /** What opening a till said, when it did not open. */
  readonly refusal: unknown
  readonly answers: readonly Answer[]
}

async function use(database: string): Promise<Seen> {
  let shop: Shop
  try {
    shop = await openShop(world, database, key)
  } catch (refusal) {
    return { refusal, answers: [] }
  }
  try {
    const answers = [await shop.get('/v1/balance')]
    for (const name of ['call-3', 'fresh-1', 'fresh-2']) answers.push(await shop.call(name))
    answers.push(await shop.ask('invoice'), await shop.get('/v1/usage'))
    return { refusal: null, answers }
  } finally {
    await shop.close().catch(() => undefined)
  }
}

/** Whether SQLite itself finds nothing wrong. */
async function isSound(database: string): Promise<boolean> {
  const client = createClient({ url: `file:${database}` })
  try {
    const { rows } = await client.execute('PRAGMA integrity_check')
    return rows[0]?.[0] === 'ok'
  } catch {
    return false
  } finally {
    client.close()
  }
}

describe('a damaged page', () => {
  test('anywhere in the file is found by verify, and nothing that needs it is answered', async () => {
    let refused = 0
    const [sound] = (await use(copy((bytes) => bytes))).answers
    await fc.assert(
      fc.asyncProperty(
        fc.noBias(fc.integer({ min: 1, max: pages() - 1 })),
        fc.constantFrom<Damage[]>('zeros', 'noise', 'the page before'),
        async (page, by) => {
          const from = by === 'the page before' ? page - 1 : by
          const how = typeof by === 'number' ? `replaced by page ${by}` : by
          const damaged = copy((bytes) => {
            const at = page * PAGE
            if (typeof from === 'number') bytes.copy(bytes, at, from * PAGE, (from + 1) * PAGE)
            else for (let i = at; i < at + PAGE; i++) bytes[i] = from === 'zeros' ? 0 : (i * 197 + 89) & 255
            return bytes
          })
          // A page of another table may hold rows, or none, that fit: of a table that no money is in.
          const fits = typeof from === 'number' && (await isSound(damaged))
          const found = await verify(world, damaged).then(
            ({ ok, findings }) => ({ ok, said: findings.map(({ message }) => message).join(' ') }),
            (thrown: unknown) => ({ ok: false, said: String(thrown) }),
          )
          if (!fits)
            expect(found, `page ${page}, ${how}`).toEqual({ ok: false, said: expect.stringMatching(/\S/) })
          const { refusal, answers } = await use(damaged)
          if (found.ok) expect(answers[0], `page ${page}, ${how}`).toEqual(sound)
          if (refusal !== null) {
            expect(refusal).toMatchObject({
              code: expect.stringMatching(/^(database_unavailable|invalid_config)$/),
              remedy: expect.stringMatching(/\S/),
            })
            refused++
          }
          for (const { status, body } of answers) {
            if (status < 300) continue
            refused++
            expect(body, `page ${page}, ${how}`).toMatchObject({ remedy: expect.stringMatching(/\S/) })
            expect(body['code'], `page ${page}, ${how}`).not.toBe('internal')
          }
        },
      ),
      // An inner page in the place of its own child leads in a circle.
      { numRuns: 23, endOnFailure: true, examples: childrenOfInner() },
    )
    expect(refused).toBeGreaterThan(0)
  })

  test('says what is wrong and what to do, on the command line and over HTTP', async () => {
    const damaged = copy((bytes) => bytes.fill(255, 3 * PAGE))
    const env = { PATH: process.env['PATH'] ?? '', HOME: world.folder, BURSAR_DB: damaged }
    const verified = await run(['verify', '--json'], env)
    expect(verified.status).toBe(1)
    expect(JSON.parse(verified.stdout)).toMatchObject({
      code: 'database_unavailable',
      detail: `The database file ${damaged} is damaged.`,
      remedy: expect.stringContaining('bursar restore'),
    })
    const doctor = await run(['doctor'], env)
    expect(doctor.stdout).toMatch(/FAIL {2}database +The database file \S+ is damaged\./)
    expect(doctor.stdout).toContain('bursar restore')
  })
})

describe('a damaged header', () => {
  test.each<[string, (bytes: Buffer) => Buffer]>([
    ['overwritten', (bytes) => bytes.fill(7, 0, 100)],
    ['of a text file', () => Buffer.from('This is no database.\n'.repeat(400))],
    ['cut short', (bytes) => bytes.subarray(0, 50)],
  ])('%s is refused, and left as it is', async (_, change) => {
    const damaged = copy(change)
    const before = readFileSync(damaged)
    const { refusal } = await use(damaged)
    expect(refusal).toMatchObject({ code: 'database_unavailable', remedy: expect.stringMatching(/restore/) })
    expect(readFileSync(damaged).equals(before)).toBe(true)
    await expect(verify(world, damaged)).rejects.toMatchObject({ code: 'database_unavailable' })
  })
})

/** Root may write anywhere, so the commands run as nobody. */
const asRoot = process.getuid?.() === 0
if (!asRoot) console.warn('The read-only database is skipped: to become another user takes root.')
const NOBODY = 65_534

if (process.env['CI'] && !asRoot) {
  test('a read-only database is tested in CI, which takes root', () => expect.fail('CI does not run as root'))
}

describe.runIf(asRoot)('a database that this user cannot write', () => {
  test.each([
    ['file', 0o444, 0o777],
    ['folder', 0o666, 0o555],
  ] as const)('because of its %s is refused, and says what to change', async (what, file, directory) => {
    const folder = join(world.folder, `locked-${what}`)
    const database = join(folder, 'till.db')
    const home = join(world.folder, `home-${what}`)
    await Promise.all([mkdir(folder), mkdir(home)])
    copyFileSync(original, database)
    await chown(home, NOBODY, NOBODY)
    await chmod(world.folder, 0o755)
    await chmod(database, file)
    await chmod(folder, directory)
    const { status, output } = await asNobody(['keys', 'create', '--account', 'new'], {
      HOME: home,
      BURSAR_DATA: home,
      BURSAR_DB: database,
    })
    expect([status, output]).toEqual([
      1,
      expect.stringMatching(/The database file(?: \S+)?, or its folder, cannot be written\./),
    ])
    expect(output).toMatch(/makes both writable/)
    expect(readFileSync(database).equals(readFileSync(original))).toBe(true)
  })
})

async function asNobody(args: readonly string[], env: Record<string, string>) {
  const child = spawn(process.execPath, [BIN, ...args], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    cwd: '/',
    uid: NOBODY,
    gid: NOBODY,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = once(child, 'close') as Promise<[number | null]>
  const [out, err, [status]] = await Promise.all([text(child.stdout), text(child.stderr), ended])
  return { status, output: out + err }
}
