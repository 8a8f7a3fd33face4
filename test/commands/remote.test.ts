/** `bursar mcp` with BURSAR_URL: what it says when that, or the key, is wrong. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type FaultyProxy, startFaultyProxy } from '../support/faulty-proxy.ts'
import { refusal } from '../support/mcp-answers.ts'
import { connect } from '../support/mcp-clients.ts'
import { NOWHERE } from '../support/nowhere.ts'
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

describe('bursar doctor', () => {
  const doctor = async (more: Record<string, string>) => {
    const { status, stdout } = await run(['doctor', '--json'], env({ BURSAR_URL: till.url, ...more }))
    const { findings } = JSON.parse(stdout) as { findings: { name: string; ok: boolean; detail: string }[] }
    return { status, failed: findings.filter(({ ok }) => !ok), names: findings.map(({ name }) => name) }
  }

  test('of a buyer asks the till, and makes neither a database nor a key', async () => {
    expect(await doctor({ BURSAR_KEY: till.key })).toEqual({
      status: 0,
      failed: [],
      names: ['configuration', 'till'],
    })
    expect(await readdir(folder)).not.toContain('data')
  })

  test('says that the key is wrong', async () => {
    const { status, failed } = await doctor({ BURSAR_KEY: `bk_${'x'.repeat(43)}` })
    expect([status, failed]).toEqual([1, [expect.objectContaining({ name: 'till' })]])
  })

  test('looks at the purse, which needs no key of a seller, and at whether it may pay this till', async () => {
    const { payee } = await till.memory.forAccount(till.buyer).listOffers()
    const path = join(await mkdtemp(join(folder, 'buyer-')), 'bursar.config.json')
    const look = async (key: string) => {
      const purse = {
        wallet: { private_key: `0x${'12'.repeat(32)}` },
        budget: { per_payment: '1', per_day: '2', per_month: '3' },
        payees: [{ name: 'Seller', key }],
      }
      const chains = { local: { chain_id: 31337, rpc: ['http://127.0.0.1:1'], assets: ['ETH'] } }
      await writeFile(path, JSON.stringify({ chains, rates: { fixed: { ETH: '2500' } }, purse }))
      const { failed, names } = await doctor({ BURSAR_KEY: till.key, BURSAR_CONFIG: path })
      expect(names).toEqual(['configuration', 'till', 'chain local', 'rate ETH', 'wallet', 'budget', 'payee'])
      return failed.map(({ name }) => name)
    }
    expect(await look(payee)).toEqual(['chain local'])
    expect(await look(`ed25519:${'x'.repeat(43)}`)).toEqual(['chain local', 'payee'])
    await rm(dirname(path), { recursive: true })
  })

  test('does not say of the till that a purse elsewhere does not answer', async () => {
    const path = join(await mkdtemp(join(folder, 'buyer-')), 'bursar.config.json')
    await writeFile(path, JSON.stringify({ purse: { url: NOWHERE, token: 'a token of another user' } }))
    const { failed, names } = await doctor({ BURSAR_KEY: till.key, BURSAR_CONFIG: path })
    expect(names).toEqual(['configuration', 'till', 'purse'])
    expect(failed).toEqual([expect.objectContaining({ name: 'purse', detail: 'The purse does not answer.' })])
    await rm(dirname(path), { recursive: true })
  })
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
    const session = await connect('2026-07-28', {
      kind: 'stdio',
      command: process.execPath,
      args: [BIN, 'mcp'],
      env: env({ BURSAR_URL: NOWHERE, BURSAR_KEY: 'bk_x' }),
    })
    const refused = await refusal(session, 'till_unavailable', 'list_offers')
    expect(refused['detail']).toBe(`The till at ${NOWHERE} cannot be reached: ECONNREFUSED.`)
    await session.close()
  })
})
