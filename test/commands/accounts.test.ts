/** A seller's commands about accounts, agents and keys, and a stranger's sign-up, as they are typed. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { answerOf, type Environment, run, type Server, serve } from '../support/program.ts'

let folder: string
let env: Environment
let server: Server | undefined

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bursar-accounts-'))
  const path = join(folder, 'bursar.config.json')
  await writeFile(path, JSON.stringify({ signup: { open: true, per_hour_per_address: 2 } }))
  env = { PATH: process.env['PATH'] ?? '', BURSAR_CONFIG: path, BURSAR_DATA: folder, PORT: '0' }
})
afterAll(async () => {
  await server?.stop()
  await rm(folder, { recursive: true, force: true })
})

interface AgentAnswer {
  readonly id: string
  readonly frozen: boolean
  readonly allowance: Record<string, unknown> | null
  readonly key: string
}

const command = <T>(...args: string[]): Promise<T> => answerOf<T>(args, env)
const spoken = async (...args: string[]): Promise<string> => {
  const { status, stdout, stderr } = await run(args, env)
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return stdout
}

test("a team's agents get keys with allowances, are listed, changed and frozen", async () => {
  const created = await command<AgentAnswer>(
    'agents',
    'create',
    'acme',
    'coder',
    '--per-day',
    '5',
    '--per-call',
    '0.5',
    '--models',
    'gpt-5-mini',
    '--key',
  )
  expect(created).toMatchObject({
    allowance: { per_call: '0.500000', per_day: '5.000000', per_month: null, models: ['gpt-5-mini'] },
    key: expect.stringMatching(/^bk_/),
  })
  const account = await command<{ id: string }>('accounts', 'create', 'acme')
  expect(await spoken('agents', 'list', 'acme')).toMatch(
    /^agent +name +a call +a day \(left\).*\nagt_\w+ +coder +0\.5 +5 \(5\) +- +gpt-5-mini\n$/,
  )
  const allowed = await command<AgentAnswer>(
    'agents',
    'allow',
    'acme/coder',
    '--per-call',
    'none',
    '--per-month',
    '50',
    '--models',
    'all',
  )
  expect(allowed).toMatchObject({
    id: created.id,
    allowance: { per_call: null, per_day: '5.000000', per_month: '50.000000', models: null },
  })
  expect(await command('freeze', 'acme/coder')).toEqual({
    account: account.id,
    agent: created.id,
    frozen: true,
  })
  expect(await spoken('agents', 'list')).toContain('frozen')
  expect(await command('unfreeze', created.id)).toMatchObject({ frozen: false })
  expect(await spoken('freeze', 'acme')).toBe(
    'Account acme is frozen: it cannot spend. What it holds still settles.\n',
  )
  const shown = await command<{ frozen: boolean; agents: object[]; keys: object[] }>(
    'accounts',
    'show',
    'acme',
  )
  expect(shown).toMatchObject({ frozen: true, agents: [{ name: 'coder' }], keys: [{ scope: 'agent' }] })
  expect(await spoken('accounts', 'list')).toMatch(
    /^account .*\nacc_\w+ +acme +0\.000000 +0\.000000 +frozen\n$/,
  )
  expect(await command('accounts', 'list', '--external-id', 'acme')).toMatchObject({
    accounts: [{ id: account.id, external_id: 'acme' }],
    next_cursor: null,
  })
  expect(await spoken('accounts', 'list', '--external-id', 'nobody')).toBe('No account is called nobody.\n')
  expect(await spoken('unfreeze', account.id)).toBe('Account acme can spend again.\n')
  const key = await command<{ account: string }>('keys', 'create', '--account', account.id)
  expect(key.account).toBe(account.id)
  expect(await spoken('keys', 'list', '--account', 'acme')).toMatch(
    /^key .*\nkey_.* agent +coder +never\nkey_/,
  )
})

test.each<[string, string[], string]>([
  ['an account that is not there', ['accounts', 'show', 'nobody'], 'not_found'],
  ['an id that is not there', ['agents', 'create', 'acc_nobody', 'a'], 'not_found'],
  ['an agent that is not there', ['freeze', 'acme/nobody'], 'not_found'],
  ['a name of nobody', ['freeze', 'nobody'], 'not_found'],
  ['no limit at all', ['agents', 'allow', 'acme/coder'], 'invalid_request'],
  ['a limit that is no number', ['agents', 'allow', 'acme/coder', '--per-day', 'much'], 'invalid_request'],
  ['an address that is none', ['signup', 'localhost'], 'invalid_request'],
  ['a till that does not answer', ['signup', 'http://127.0.0.1:9'], 'upstream_error'],
])('%s is refused', async (_, args, code) => {
  await spoken('agents', 'create', 'acme', 'coder')
  const { status, stdout } = await run([...args, '--json'], env)
  expect([status, JSON.parse(stdout)]).toEqual([
    1,
    expect.objectContaining({ code, remedy: expect.any(String) }),
  ])
})

test('signing up makes a key that works, and that the till has never seen', async () => {
  server = await serve(env)
  const { url } = server
  // What the seller sees is the same, by command and over HTTP.
  const { key: seller } = await command<{ key: string }>('keys', 'create', '--seller')
  const asSeller = async (path: string): Promise<unknown> =>
    (await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${seller}` } })).json()
  const listed = await command<{ accounts: { external_id: string }[] }>('accounts', 'list', '--limit', '1')
  expect(listed).toMatchObject({ accounts: [{ external_id: 'acme' }], next_cursor: null })
  expect(await asSeller('/v1/accounts?limit=1')).toEqual(listed)
  const { keys } = await command<{ keys: object[] }>('keys', 'list', '--account', 'acme')
  const [acme] = ((await asSeller('/v1/accounts?external_id=acme')) as { accounts: { id: string }[] })
    .accounts
  expect(await asSeller(`/v1/keys?account=${acme?.id}`)).toEqual({ keys, next_cursor: null })

  const made = await command<{ account: string; key: string; mcpServers: { bursar: object } }>('signup', url)
  expect(made).toMatchObject({ mcpServers: { bursar: { env: { BURSAR_URL: url, BURSAR_KEY: made.key } } } })
  const balance = await fetch(`${url}/v1/balance`, { headers: { authorization: `Bearer ${made.key}` } })
  expect(await balance.json()).toMatchObject({
    account: made.account,
    available: '0.000000',
    allowance: null,
  })

  const file = join(folder, 'client.env')
  const written = await command<{ file: string }>('signup', `${url}/`, '--out', file)
  expect(written).not.toHaveProperty('key')
  expect(await readFile(file, 'utf8')).toMatch(
    /^BURSAR_URL=http:\/\/127\.0\.0\.1:\d+\nBURSAR_KEY=bk_[\w-]{43}\n$/,
  )
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  const twice = await run(['signup', url, '--out', file, '--json'], env)
  expect(JSON.parse(twice.stdout)).toMatchObject({ code: 'conflict' })

  const refused = await run(['signup', url, '--out', join(folder, 'third.env'), '--json'], env)
  expect(JSON.parse(refused.stdout)).toMatchObject({ code: 'rate_limited', remedy: expect.any(String) })
  await expect(stat(join(folder, 'third.env'))).rejects.toThrow('ENOENT')
})
