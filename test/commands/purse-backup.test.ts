/** `bursar purse backup`: one whole file, without the till's mark and without a key. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { statement } from '../../src/db/db.ts'
import { openPurseDatabase } from '../../src/purse/database.ts'
import { seededRuntime } from '../support/chance.ts'
import { NOWHERE } from '../support/nowhere.ts'
import { answerOf, run } from '../support/program.ts'

const runtime = seededRuntime()
let folder: string
let env: Record<string, string>

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bursar-purse-backup-'))
  const config = join(folder, 'bursar.config.json')
  const purse = {
    wallet: { keystore: 'wallet.json', password: '${NOT_SET}' },
    budget: { per_payment: '1', per_day: '2', per_month: '3' },
  }
  writeFileSync(config, JSON.stringify({ purse }))
  env = { PATH: process.env['PATH'] ?? '', BURSAR_CONFIG: config, BURSAR_DATA: folder }
  const db = await openPurseDatabase(`file:${join(folder, 'purse.db')}`, runtime)
  await db.commit([statement("INSERT INTO operation (id, at) VALUES ('op_marker', 1)")])
  await db.close()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('copies the database whole, needs no password, and overwrites nothing', async () => {
  const copy = join(folder, 'copy.db')
  expect(await answerOf(['purse', 'backup', copy], env)).toEqual({ path: copy, bytes: statSync(copy).size })
  expect(statSync(copy).mode & 0o077).toBe(0)
  const db = await openPurseDatabase(`file:${copy}`, runtime)
  expect(await db.query('SELECT id FROM operation')).toEqual([{ id: 'op_marker' }])
  await db.close()
  const again = await run(['purse', 'backup', copy], env)
  expect([again.status, again.stderr]).toEqual([1, expect.stringContaining('There is a file at')])
})

test('refuses to keep a copy of a damaged database', async () => {
  const bytes = readFileSync(join(folder, 'copy.db'))
  // In a folder of its own: what this process has opened stays so until it is collected, and is then saved whole.
  const damaged = mkdtempSync(join(folder, 'damaged-'))
  writeFileSync(join(damaged, 'purse.db'), bytes.fill(255, 4096 * 3))
  const copy = join(folder, 'second.db')
  const { status, stderr } = await run(['purse', 'backup', copy], { ...env, BURSAR_DATA: damaged })
  expect(status).toBe(1)
  expect(stderr).toMatch(/damaged|cannot be copied/)
  expect(() => statSync(copy)).toThrow()
})

test('has nothing to copy of a purse that another user runs', async () => {
  const config = join(folder, 'agent.config.json')
  writeFileSync(config, JSON.stringify({ purse: { url: NOWHERE, token: 'a token of another user' } }))
  const { status, stderr } = await run(['purse', 'backup', join(folder, 'third.db')], {
    ...env,
    BURSAR_CONFIG: config,
  })
  expect([status, stderr]).toEqual([1, expect.stringContaining('in a configuration of its own')])
})
