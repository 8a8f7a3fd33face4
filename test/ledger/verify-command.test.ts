/** `bursar verify` as an operator runs it. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Verified } from '../../src/ledger/verify/verify.ts'
import { makeMaze } from '../support/maze.ts'
import { run } from '../support/program.ts'
import { type Story, tellStory } from '../support/story.ts'
import { copy, tamper } from '../support/tamper.ts'

let story: Story
beforeAll(async () => {
  story = await tellStory()
})
afterAll(() => story.close())

async function bursar(url: string, ...args: string[]) {
  const config = join(story.till.dir, 'bursar.config.json')
  await writeFile(config, '{}')
  const env = {
    PATH: process.env['PATH'] ?? '',
    BURSAR_CONFIG: config,
    BURSAR_DB: url,
    BURSAR_DATA: story.till.dir,
  }
  const { stdout: out, stderr: err, status: code } = await run(args, env, story.till.dir)
  return { out, err, code }
}

test('prints counts and the head, and exits with 0, while the till has the database open', async () => {
  const { out, err, code } = await bursar(story.till.url, 'verify')
  expect({ err, code }).toEqual({ err: '', code: 0 })
  expect(out).toContain('29 postings (3 not sealed yet)')
  expect(out).toContain(`head 4:${story.seals[3]?.hash}`)
  expect(out).toContain('The ledger is right.')
})

test('answers as one JSON object, and exits with 1 when something is wrong', async () => {
  const path = join(story.till.dir, 'tampered.db')
  const url = await copy(story.till.url, path)
  const right = await bursar(url, 'verify', '--json', '--head', `2:${story.seals[1]?.hash}`)
  expect(right.code).toBe(0)
  expect(JSON.parse(right.out)).toMatchObject({ ok: true, head: { seal: 4, hash: story.seals[3]?.hash } })
  await tamper(url, ["UPDATE account SET available = available + 1 WHERE id = 'acc_other'"])
  const { out, code } = await bursar(url, 'verify', '--json')
  expect(code).toBe(1)
  expect(JSON.parse(out) as Verified).toMatchObject({
    ok: false,
    findings: [{ kind: 'balance_mismatch', table: 'account', row: 'acc_other' }],
  })
  expect((await bursar(url, 'verify')).out).toMatch(/^balance_mismatch: Account acc_other says 1 available/)
})

test('ends in a damaged file in which a query would not, and says what is wrong with it', async () => {
  const path = join(story.till.dir, 'maze.db')
  const url = await copy(story.till.url, path)
  await makeMaze(path, 'posting')
  const { out, err, code } = await bursar(url, 'verify', '--json')
  expect({ err, code }).toEqual({ err: '', code: 1 })
  expect(JSON.parse(out)).toEqual({
    ok: false,
    head: null,
    counts: null,
    findings: [
      {
        kind: 'file_corrupt',
        table: 'posting',
        row: '',
        message: expect.stringMatching(
          /^The database file is damaged in the table posting; SQLite says: .+\.$/,
        ),
      },
    ],
    more: true,
  })
  const told = await bursar(url, 'verify')
  expect(told).toMatchObject({ err: '', code: 1 })
  expect(told.out).toMatch(/^file_corrupt: The database file is damaged in .+\n.+ bursar restore\.\n$/)
})

test('refuses a head that is none, and a database that is not there', async () => {
  const { err, code } = await bursar(story.till.url, 'verify', '--head', '4')
  expect(code).toBe(1)
  expect(err).toContain('--head must be a seal and its hash')
  const missing = await bursar(`file:${join(story.till.dir, 'none.db')}`, 'verify', '--json')
  expect(missing.code).toBe(1)
  expect(JSON.parse(missing.out)).toMatchObject({ code: 'not_found' })
})
