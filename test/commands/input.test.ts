/**
 * What a stranger gets wrong: each mistake is one clear paragraph on stderr that says what to do, exit status 1, and
 * with --json a problem on stdout. No secret is repeated, nothing is written.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BIN, type Environment, run } from '../support/program.ts'

/** BIP-32's test vector 1, chain m: a private key that everybody knows, and looks like anybody's. */
const XPRV =
  'xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi'
const SECRETS = [XPRV, 'hunter2-hunter2', 'sk-live-0123456789abcdef0123456789']

let folder: string
let count = 0

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bursar-input-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** A data folder of its own, and the environment that names it. */
async function fresh(config?: unknown): Promise<{ data: string; env: Environment }> {
  count += 1
  const data = join(folder, String(count))
  await mkdir(data)
  const path = join(data, 'bursar.config.json')
  await writeFile(path, typeof config === 'string' ? config : JSON.stringify(config ?? {}))
  return {
    data,
    env: { PATH: process.env['PATH'] ?? '', BURSAR_CONFIG: path, BURSAR_DATA: data, PORT: '0' },
  }
}

interface Problem {
  readonly code: string
  readonly detail: string
  readonly remedy: string
  readonly status: number
}

/** What it says to programs. */
async function refusedFor(args: readonly string[], env: Environment): Promise<Problem> {
  const { status, stdout, stderr } = await run([...args, '--json'], env)
  expect({ status, stderr }).toEqual({ status: 1, stderr: '' })
  expectNoSecrets(stdout)
  const problem = JSON.parse(stdout) as Problem
  expect(problem).toMatchObject({ detail: expect.any(String), remedy: expect.any(String) })
  return problem
}

/** What it says to programs, which must be what it says to people. */
async function refusedForAll(args: readonly string[], env: Environment): Promise<Problem> {
  const [plain, problem] = await Promise.all([run(args, env), refusedFor(args, env)])
  expect(plain).toEqual({ status: 1, stdout: '', stderr: `bursar: ${problem.detail}\n${problem.remedy}\n` })
  return problem
}

function expectNoSecrets(text: string): void {
  for (const secret of SECRETS) expect(text).not.toContain(secret)
}

const chains = { ethereum: { chain_id: 31337, rpc: ['http://127.0.0.1:1'], assets: ['ETH'] } }

describe('a configuration', () => {
  test('that is no JSON is named with its line', async () => {
    const { env } = await fresh('{\n  "seller": { "name": "A" },\n  "packs": [,]\n}')
    const problem = await refusedFor(['payee'], env)
    expect(problem).toMatchObject({ code: 'invalid_config', detail: expect.stringContaining('line 3') })
    expect(problem.detail).toContain(env['BURSAR_CONFIG'])
  })

  test('has every wrong field named, with what was expected, and no value repeated', async () => {
    const { env } = await fresh({
      seler: {},
      credit: { usd: '0' },
      chains: { ethereum: { rpc: ['sk-live-0123456789abcdef0123456789'], assets: ['usdc'] } },
      packs: [{ id: 'Starter Pack', credits: '-5' }],
      models: { m: { upstream: 'main', credits_per_call: 'hunter2-hunter2' } },
    })
    const { detail, code } = await refusedForAll(['payee'], env)
    expect(code).toBe('invalid_config')
    for (const field of [
      'seler',
      'credit.usd: expected more than zero',
      'chains.ethereum.rpc[0]: expected an http:// or https:// URL',
      'chains.ethereum.assets[0]',
      'packs[0].id: expected lower-case letters',
      'packs[0].credits: expected a plain decimal',
      'models.m.credits_per_call',
    ]) {
      expect(detail).toContain(field)
    }
  })

  test('that names variables which are not set says which, and where', async () => {
    const { env } = await fresh({ keys: { evm: '${BURSAR_EVM_XPUB}' }, chains })
    const { detail } = await refusedFor(['serve'], env)
    expect(detail).toContain('BURSAR_EVM_XPUB (at keys.evm)')
  })

  test('that is not there is named', async () => {
    const { env, data } = await fresh()
    const { detail } = await refusedFor(['payee', '--config', join(data, 'other.json')], env)
    expect(detail).toContain(join(data, 'other.json'))
  })

  test.each(['serve', 'doctor'])(
    'with a private key where a public one belongs is refused by %s, without the key',
    async (command) => {
      const { env, data } = await fresh({ keys: { evm: XPRV }, chains })
      if (command === 'doctor') {
        const { status, stdout, stderr } = await run(['doctor'], env)
        expect(status).toBe(1)
        expect(stdout).toMatch(/FAIL\s+keys\s+keys\.evm looks like an extended private key/)
        expect(stdout + stderr).not.toContain(XPRV)
        return
      }
      const problem = await refusedForAll([command], env)
      expect(problem).toMatchObject({ code: 'invalid_config', detail: expect.stringContaining('keys.evm') })
      expect(problem.remedy).toContain('xpub')
      expect(existsSync(join(data, 'bursar.db'))).toBe(false)
    },
  )

  test('with a malformed wallet key is refused, without the key', async () => {
    const budget = { per_payment: '1', per_day: '1', per_month: '1' }
    const { env } = await fresh({ purse: { wallet: { private_key: '${BURSAR_WALLET_KEY}' }, budget } })
    for (const key of ['hunter2-hunter2', XPRV]) {
      const problem = await refusedFor(['wallet', 'address'], { ...env, BURSAR_WALLET_KEY: key })
      expect(problem).toMatchObject({
        code: 'invalid_config',
        detail: expect.stringContaining('private_key'),
      })
    }
  })
})

test.each([[[]], [['accounts']]])(
  'a command that is not complete, %j, has help for people and a problem for programs',
  async (args) => {
    const { env } = await fresh()
    const plain = await run(args, env)
    expect(plain).toEqual({ status: 1, stdout: '', stderr: expect.stringContaining('Commands:') })
    const { status, stdout } = await run([...args, '--json'], env)
    expect([status, JSON.parse(stdout)]).toEqual([
      1,
      expect.objectContaining({ code: 'invalid_request', remedy: expect.stringContaining('--help') }),
    ])
  },
)

describe('the environment', () => {
  test.each(['BURSAR_DB', 'BURSAR_DATA'])('with a literal ${...} in %s is refused', async (name) => {
    const { env } = await fresh()
    const { detail, code } = await refusedFor(['payee'], { ...env, [name]: `\${${name}}` })
    expect(code).toBe('invalid_config')
    expect(detail).toContain(name)
  })

  test.each(['eighty', '65536'])('with PORT=%s is refused', async (PORT) => {
    const { env } = await fresh()
    expect((await refusedFor(['payee'], { ...env, PORT })).detail).toContain(PORT)
  })

  test('with a log level that is none is refused', async () => {
    const { env } = await fresh()
    const { code, detail } = await refusedForAll(['payee'], { ...env, BURSAR_LOG: 'loud' })
    expect([code, detail]).toEqual(['invalid_config', expect.stringContaining('warn')])
  })

  test('with a port that is in use is refused, and the till lets go of its database', async () => {
    const other = createServer()
    other.listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    const { env } = await fresh()
    const problem = await refusedForAll(['serve'], { ...env, PORT: String(port) })
    expect(problem).toMatchObject({ code: 'conflict', detail: expect.stringContaining(String(port)) })
    expect(problem.remedy).toContain('PORT')
    other.close()
  })
})

describe('the data folder', () => {
  test.each(['', 'somewhere'])('is not made in the current one when HOME is "%s"', async (HOME) => {
    const problem = await refusedForAll(['payee'], { PATH: process.env['PATH'] ?? '', HOME })
    expect(problem).toMatchObject({
      code: 'invalid_config',
      remedy: expect.stringContaining('BURSAR_DATA'),
    })
  })

  test.each(['serve', 'keys list'])('that cannot be written: %s', async (command) => {
    const { env, data } = await fresh()
    // Below a file nothing can be made, not even by root.
    const BURSAR_DATA = join(data, 'bursar.config.json', 'folder')
    const problem = await refusedForAll(command.split(' '), { ...env, BURSAR_DATA })
    expect(['invalid_config', 'database_unavailable']).toContain(problem.code)
    expect(problem.detail).toContain(BURSAR_DATA)
  })

  test('with a database of a newer version is left as it is', async () => {
    const { env, data } = await fresh()
    expect((await run(['keys', 'list'], env)).status).toBe(0)
    const path = join(data, 'bursar.db')
    const write = new DatabaseSync(path)
    write.exec("INSERT INTO schema_version (version, name, applied_at) VALUES (999, 'of the future', 0)")
    write.close()
    for (const command of [['serve'], ['keys', 'create', '--account', 'a']]) {
      const problem = await refusedFor(command, env)
      expect(problem).toMatchObject({ code: 'invalid_config', detail: expect.stringContaining('999') })
      expect(problem.remedy).toContain('newer version')
    }
    const read = new DatabaseSync(path, { readOnly: true })
    expect(read.prepare('SELECT count(*) AS n FROM api_key').all()).toEqual([{ n: 0 }])
    read.close()
  })

  test('with a database of another program is left as it is', async () => {
    const { env, data } = await fresh()
    const path = join(data, 'bursar.db')
    const write = new DatabaseSync(path)
    write.exec('CREATE TABLE recipe (name TEXT)')
    write.close()
    expect(await refusedFor(['keys', 'list'], env)).toMatchObject({ code: 'invalid_config' })
    const read = new DatabaseSync(path, { readOnly: true })
    expect(read.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all()).toEqual([
      { name: 'recipe' },
    ])
    read.close()
    await writeFile(path, 'no database at all, but long enough to be looked at as if it were one')
    const damaged = await refusedFor(['keys', 'list'], env)
    expect(damaged).toMatchObject({
      code: 'database_unavailable',
      detail: expect.stringContaining('damaged'),
      remedy: expect.stringContaining('bursar restore'),
    })
  })
})

describe('the command line', () => {
  test.each([
    ['no command of that name', ['buy']],
    ['no command at all of a group', ['keys', 'destroy']],
    ['an unknown option', ['payee', '--loud']],
    ['an option without its value', ['keys', 'create', '--account']],
    ['a missing argument', ['keys', 'revoke']],
    ['too many arguments', ['payee', 'extra']],
  ])('%s', async (_, args) => {
    const { env } = await fresh()
    const problem = await refusedForAll(args, env)
    expect(problem.code).toBe('invalid_request')
    expect(problem.remedy).toContain('--help')
  })

  test('an unknown key id, and keys for nobody', async () => {
    const { env } = await fresh()
    expect(await refusedFor(['keys', 'revoke', 'key_00000000000000000000000000'], env)).toMatchObject({
      code: 'not_found',
    })
    expect(await refusedFor(['keys', 'revoke', 'hunter2-hunter2'], env)).toMatchObject({ code: 'not_found' })
    expect(await refusedFor(['keys', 'create'], env)).toMatchObject({ code: 'invalid_request' })
    expect(await refusedFor(['keys', 'create', '--seller', '--account', 'a'], env)).toMatchObject({
      code: 'invalid_request',
    })
    expect(await refusedFor(['keys', 'create', '--account', ' '], env)).toMatchObject({
      code: 'invalid_request',
    })
    expect(await refusedFor(['wallet', 'address'], env)).toMatchObject({ code: 'invalid_config' })
    expect(JSON.parse((await run(['keys', 'list', '--json'], env)).stdout)).toEqual({ keys: [] })
  })

  test('models that an agent may call are named, or all', async () => {
    const { env } = await fresh()
    for (const models of ['none', '', ' , ']) {
      const problem = await refusedFor(['agents', 'create', 'a', 'b', '--models', models], env)
      expect(problem).toMatchObject({ code: 'invalid_request', remedy: expect.stringContaining('all') })
    }
    const { stdout } = await run(['agents', 'create', 'ac me', 'b', '--models', 'x, y'], env)
    expect(stdout).toContain("bursar keys create --account 'ac me' --agent b\n")
  })

  test.each([
    ['payee', '--json'],
    ['accounts', 'list'],
    ['accounts', 'show', 'nobody'],
  ])('%s %s: a reader that has left is no failure', async (...args) => {
    const { env } = await fresh()
    const told = await run(args, env)
    const child = spawn(process.execPath, [BIN, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    child.stdout.destroy()
    const [stderr, [status]] = await Promise.all([text(child.stderr), once(child, 'close')])
    expect({ status, stderr }).toEqual({ status: told.status, stderr: told.stderr })
  })

  test('help is no mistake', async () => {
    const { env } = await fresh()
    const [help, version, one] = await Promise.all([
      run(['--help'], env),
      run(['--version'], env),
      run(['keys', 'create', '--help'], env),
    ])
    for (const { status, stderr } of [help, version, one])
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(help.stdout).toMatch(/serve.*mcp.*purse.*doctor/s)
    expect(version.stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
    expect(one.stdout).toContain('--account')
  })
})
