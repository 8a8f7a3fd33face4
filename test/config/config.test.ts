import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { databaseUrl, type Environment, parseConfig, readSettings } from '../../src/config.ts'
import { configJsonSchema } from '../../src/config-schema.ts'
import { BursarError } from '../../src/errors.ts'
import { pathOf } from '../../src/files.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'bursar-config-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function problemOf(act: () => unknown): BursarError {
  try {
    act()
  } catch (error) {
    if (error instanceof BursarError) return error
    throw error
  }
  throw new Error('expected a refusal')
}

describe('a configuration text', () => {
  it('may have comments and trailing commas, and is filled with defaults', () => {
    const config = parseConfig('{ // the seller\n "seller": { "name": "Ada", }, }', {}, 'x')
    expect(config.seller.name).toBe('Ada')
    expect(config.credit.usd).toBe('0.10')
    expect(config.packs).toEqual([])
  })

  it('may begin with a byte order mark, and end its lines as Windows does', () => {
    const config = parseConfig('\uFEFF{\r\n  "seller": { "name": "Ada" }\r\n}\r\n', {}, 'x')
    expect(config.seller.name).toBe('Ada')
  })

  it('has each field once: of two, one would count and the other be forgotten', () => {
    const twice = '{\n  "seller": { "name": "Ada" },\n  "packs": [],\n  "seller": { "name": "Bob" }\n}'
    const problem = problemOf(() => parseConfig(twice, {}, 'my.json'))
    expect(problem.code).toBe('invalid_config')
    expect(problem.message).toMatch(/my\.json has the field "seller" twice.* in line 4/)
    const packs = [1, 2].map((credits) => `{ "id": "p${credits}", "credits": "${credits}" }`)
    expect(parseConfig(`{ "packs": [${packs.join()}] }`, {}, 'x').packs).toHaveLength(2)
  })

  it('names the line of a syntax error', () => {
    const problem = problemOf(() => parseConfig('{\n  "seller": {\n  "name" "Ada"\n}}', {}, 'my.json'))
    expect(problem.code).toBe('invalid_config')
    expect(problem.message).toMatch(/my\.json is not valid JSON: .* in line 3/)
  })

  it.each([
    ['{"seler": {}}', /seler/],
    ['{"credit": {"usd": 0.1}}', /credit\.usd: .*expected string/],
    ['{"credit": {"usd": "0"}}', /credit\.usd: expected more than zero/],
    ['{"credit": {"usd": "-1"}}', /credit\.usd: expected a plain decimal/],
    ['{"packs": [{"id": "Big Pack", "credits": "1"}]}', /packs\[0\]\.id: expected lower-case/],
    [
      '{"packs": [{"id": "a", "credits": "1", "expires": "1 year"}]}',
      /packs\[0\]\.expires: expected "never" or days/,
    ],
    ['{"chains": {"ethereum": {"rpc": [], "assets": ["ETH"]}}}', /chains\.ethereum\.rpc/],
    [
      '{"chains": {"ethereum": {"rpc": ["http://x", "http://x"], "assets": ["ETH"]}}}',
      /chains\.ethereum\.rpc: expected each endpoint once/,
    ],
    [
      '{"chains": {"ethereum": {"rpc": ["ftp://x"], "assets": ["ETH"]}}}',
      /chains\.ethereum\.rpc\[0\]: expected an http/,
    ],
    [
      '{"chains": {"b": {"family": "bitcoin", "rpc": ["http://x"], "network": "moon"}}}',
      /chains\.b\.network/,
    ],
    [
      '{"chains": {"ethereum": {"rpc": ["http://x"], "assets": ["ETH"], "confirmations": [{"blocks": 0}]}}}',
      /chains\.ethereum\.confirmations\[0\]\.blocks/,
    ],
    [
      '{"models": {"m": {"upstream": "u", "credits_per_call": "1", "usd_per_million_input": "1"}}}',
      /models\.m: expected credits_per_call, or/,
    ],
    [
      '{"models": {"m": {"upstream": "u", "usd_per_million_input": "1"}}}',
      /models\.m: expected credits_per_call, or/,
    ],
    ['{"models": {"m": {}}}', /models\.m: expected either upstream or upstreams/],
    ['{"models": {"m": {"upstream": "u", "upstreams": ["v"]}}}', /expected either upstream or upstreams/],
    [
      '{"purse": {"wallet": {"private_key": "x"}, "budget": {"per_payment": "1", "per_day": "1"}}}',
      /purse\.budget\.per_month/,
    ],
    ['{"purse": {"wallet": {"private_key": "x"}}}', /purse: expected wallet and budget, or url and token/],
    ['{"purse": {"url": "http://127.0.0.1:9"}}', /purse: expected wallet and budget, or url and token/],
  ])('%s is refused with the path and what is expected', (text, expected) => {
    const problem = problemOf(() => parseConfig(text, {}, 'x'))
    expect(problem.code).toBe('invalid_config')
    expect(problem.message).toMatch(expected)
    expect(problem.remedy).toBeTruthy()
  })

  it('names every wrong field at once', () => {
    const problem = problemOf(() =>
      parseConfig('{"credit": {"usd": "x"}, "packs": [{"id": "a"}], "upstreams": 3}', {}, 'x'),
    )
    expect(problem.message).toMatch(/3 problems: .*credit\.usd.*packs\[0\]\.credits.*upstreams/)
  })

  it('never echoes a value, which may be a secret', () => {
    const problem = problemOf(() =>
      parseConfig(
        '{"purse": {"wallet": {"private_key": 7777123}, "token": "s3cr3t", "budget": {}}}',
        {},
        'x',
      ),
    )
    expect(problem.message).not.toMatch(/7777123|s3cr3t/)
  })
})

describe('variables', () => {
  const text = '{"upstreams": {"u": {"base_url": "http://x/v1", "api_key": "${KEY}"}}}'

  it('are filled from the environment', () => {
    expect(parseConfig(text, { KEY: 'abc' }, 'x').upstreams.u?.api_key).toBe('abc')
  })

  it('may have a default', () => {
    expect(parseConfig(text.replace('${KEY}', '${KEY:-none}'), {}, 'x').upstreams.u?.api_key).toBe('none')
  })

  it.each([{}, { KEY: '' }])('that are not set are an error with their place', (env) => {
    expect(problemOf(() => parseConfig(text, env, 'x')).message).toMatch(/KEY \(at upstreams\.u\.api_key\)/)
  })

  it('that arrive as the literal text are an error, in the file and in the environment', () => {
    expect(problemOf(() => parseConfig(text, { KEY: '${OPENAI_API_KEY}' }, 'x')).message).toMatch(
      /KEY is the literal text/,
    )
    const read = (): unknown => readSettings({ env: { BURSAR_DB: '${BURSAR_DB}' }, cwd: folder, folders: [] })
    expect(problemOf(read).message).toMatch(/BURSAR_DB is the literal text/)
  })
})

describe('settings', () => {
  it('come from the first folder that has a configuration', () => {
    writeFileSync(join(folder, 'bursar.config.json'), '{"seller": {"name": "Ada"}}')
    const settings = readSettings({
      env: { BURSAR_DATA: folder },
      cwd: '/',
      folders: [join(folder, 'none'), folder],
    })
    expect(settings.config.seller.name).toBe('Ada')
    expect(settings.path).toBe(join(folder, 'bursar.config.json'))
    expect(settings.database).toBe(`file:${join(folder, 'bursar.db')}`)
  })

  it('are the defaults where there is none', () => {
    expect(readSettings({ env: { BURSAR_DATA: folder }, cwd: folder, folders: [folder] }).path).toBeNull()
  })

  it("leave the wallet's key and password to the purse", () => {
    const wallet = { private_key: '${KEY}' }
    const purse = { wallet, budget: { per_payment: '1', per_day: '1', per_month: '1' } }
    writeFileSync(join(folder, 'bursar.config.json'), JSON.stringify({ purse }))
    const read = (env: Record<string, string>, forPurse: boolean): unknown =>
      readSettings({ env: { BURSAR_DATA: folder, ...env }, cwd: '/', folders: [folder], wallet: forPurse })
        .config.purse
    expect(read({ KEY: 'the-key' }, true)).toMatchObject({ wallet: { private_key: 'the-key' } })
    expect(JSON.stringify(read({ KEY: 'the-key' }, false))).not.toContain('the-key')
    expect(read({}, false)).toMatchObject({ wallet: { private_key: '' } })
    expect(problemOf(() => read({}, true)).message).toMatch(/KEY \(at purse\.wallet\.private_key\)/)
  })

  it('refuse a named file that is missing', () => {
    const read = (): unknown => readSettings({ path: 'nope.json', env: {}, cwd: folder, folders: [] })
    expect(problemOf(read).message).toContain(join(folder, 'nope.json'))
  })

  it.each(['x', '-1', '70000', '80.5'])('refuse PORT=%s', (PORT) => {
    expect(problemOf(() => readSettings({ env: { PORT }, cwd: folder, folders: [] })).message).toMatch(
      /PORT must be/,
    )
  })

  it.each([
    [undefined, 'file:/data/bursar.db'],
    ['till.db', 'file:/base/till.db'],
    ['file:till.db', 'file:/base/till.db'],
    ['file:/abs/till.db', 'file:/abs/till.db'],
    ['http://127.0.0.1:8080', 'http://127.0.0.1:8080'],
    ['libsql://db.example', 'libsql://db.example'],
  ])('read the database %s as %s', (given, url) => {
    expect(databaseUrl(given, '/base', '/data/bursar.db')).toBe(url)
  })
})

it.each(['/data/50%off/a b.db', '/data/what?.db', '/data/shop #1.db', '/data/%41.db'])(
  'a database at the path %s is that file',
  (path) => {
    expect(pathOf(databaseUrl(path, '/base', '/data/bursar.db'))).toBe(path)
    expect(pathOf(databaseUrl(path.slice(1), '/', '/data/bursar.db'))).toBe(path)
    expect(pathOf(databaseUrl(undefined, '/base', path))).toBe(path)
    expect(pathOf(databaseUrl('file:x.db', path, '/data/bursar.db'))).toBe(`${path}/x.db`)
  },
)

describe('the data folder', () => {
  const dataDir = (env: Environment) => readSettings({ env, cwd: '/work', folders: [] }).dataDir

  it('is named from where Bursar is started', () => {
    expect(dataDir({ BURSAR_DATA: 'data' })).toBe('/work/data')
    expect(dataDir({ BURSAR_DATA: '/srv/data' })).toBe('/srv/data')
  })
})

it.each(['postgres://user:hunter2@db.example/x', 'mysql://db.example'])(
  'a database is not %s, and what is said does not repeat it',
  (given) => {
    const said = problemOf(() => databaseUrl(given, '/base', '/data/bursar.db'))
    expect(said).toMatchObject({ code: 'invalid_config', remedy: expect.stringContaining('libsql://') })
    expect(String(said)).not.toContain('db.example')
  },
)

it('editors complete from the schema that is checked', async () => {
  const text = await readFile(new URL('../../bursar.config.schema.json', import.meta.url), 'utf8')
  expect(JSON.parse(text), 'npm run config:schema').toEqual(JSON.parse(JSON.stringify(configJsonSchema())))
})

it('the example is valid', async () => {
  const text = await readFile(new URL('../../bursar.config.example.json', import.meta.url), 'utf8')
  const config = parseConfig(text, { BURSAR_EVM_XPUB: 'xpub', OPENAI_API_KEY: 'key' }, 'the example')
  expect(config.packs.map((pack) => pack.id)).toEqual(['starter', 'team'])
})

it('bursar.config.schema.json says of every field what it means', () => {
  const silent: string[] = []
  const look = (schema: unknown, path: string): void => {
    if (typeof schema !== 'object' || schema === null) return
    const {
      properties = {},
      items,
      additionalProperties,
      anyOf = [],
    } = schema as {
      readonly properties?: Readonly<Record<string, { readonly description?: string }>>
      readonly items?: unknown
      readonly additionalProperties?: unknown
      readonly anyOf?: readonly unknown[]
    }
    for (const [name, field] of Object.entries(properties)) {
      if (!field.description) silent.push(`${path}${name}`)
      look(field, `${path}${name}.`)
    }
    for (const inner of [items, additionalProperties, ...anyOf]) look(inner, path)
  }
  look(configJsonSchema(), '')
  expect(silent).toEqual([])
})
