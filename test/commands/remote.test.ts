/** `bursar mcp` with BURSAR_URL: what it says when that, or the key, is wrong. */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type FaultyProxy, startFaultyProxy } from '../support/faulty-proxy.ts'
import { refusal } from '../support/mcp-answers.ts'
import { connect } from '../support/mcp-clients.ts'
import { BIN, run } from '../support/program.ts'
import { type HttpTill, httpTill } from '../support/till-http.ts'

let folder: string
let till: HttpTill
let proxy: FaultyProxy
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bursar-remote-'))
  till = await httpTill({ openai: 'http://127.0.0.1:1/v1' })
  proxy = await startFaultyProxy(till.url)
})
afterAll(async () => {
  await proxy.stop()
  await till.close()
  await rm(folder, { recursive: true })
})

const env = (more: Record<string, string>) => ({
  PATH: process.env['PATH'] ?? '',
  HOME: folder,
  BURSAR_DATA: join(folder, 'data'),
  ...more,
})

describe('what cannot work is said before anything is served', () => {
  test.each<[string, Record<string, string>, RegExp]>([
    ['no key', { BURSAR_URL: 'http://127.0.0.1:8402' }, /no key for it\.\nSet BURSAR_KEY/],
    ['no URL', { BURSAR_URL: 'till', BURSAR_KEY: 'bk_x' }, /must be an http or https URL/],
    [
      'a URL nobody filled in',
      { BURSAR_URL: '${BURSAR_URL}', BURSAR_KEY: 'bk_x' },
      /BURSAR_URL is the literal/,
    ],
    [
      'a key nobody filled in',
      { BURSAR_URL: 'http://a', BURSAR_KEY: '${MY_KEY}' },
      /BURSAR_KEY is the literal/,
    ],
    ['an account', { BURSAR_URL: 'http://a', BURSAR_KEY: 'bk_x', ACCOUNT: 'alice' }, /the key decides/],
  ])('%s', async (_, { ACCOUNT, ...given }, message) => {
    const account = ACCOUNT === undefined ? [] : ['--account', ACCOUNT]
    const { status, stdout, stderr } = await run(['mcp', ...account], env(given))
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toMatch(message)
    expect(stderr.trim().split('\n')).toHaveLength(2)
  })
})

describe('what turns out wrong is the answer of every tool, and one line of the log', () => {
  test('a key that is not in force', async () => {
    const endpoint = {
      kind: 'stdio',
      command: process.execPath,
      args: [BIN, 'mcp'],
      env: env({ BURSAR_URL: proxy.url, BURSAR_KEY: 'bk_nobody' }),
    } as const
    const session = await connect('2026-07-28', endpoint)
    expect(await session.listTools()).not.toEqual([])
    const refused = await refusal(session, 'unauthorized', 'get_balance')
    expect(refused['remedy']).toMatch(/bursar keys create/)
    await session.close()
    expect(proxy.passed.map(({ headers }) => headers.authorization)).toContain('Bearer bk_nobody')
    // No till of its own was opened.
    expect(await readdir(folder)).toEqual([])
  })

  test('nothing that listens there', async () => {
    const closed = await startFaultyProxy(till.url)
    await closed.stop()
    const session = await connect('2026-07-28', {
      kind: 'stdio',
      command: process.execPath,
      args: [BIN, 'mcp'],
      env: env({ BURSAR_URL: closed.url, BURSAR_KEY: 'bk_x' }),
    })
    const refused = await refusal(session, 'till_unavailable', 'list_offers')
    expect(refused['detail']).toBe(`The till at ${closed.url} cannot be reached: ECONNREFUSED.`)
    await session.close()
  })
})
