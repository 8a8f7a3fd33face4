/** What a seller sees of models: `bursar prices`, and the doctor's look at their upstreams. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { answerOf, type Environment, run } from '../support/program.ts'

let folder: string
let env: Environment

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bursar-prices-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function configure(config: object): Promise<void> {
  const path = join(folder, 'bursar.config.json')
  await writeFile(path, JSON.stringify(config))
  env = {
    HOME: folder,
    PATH: process.env['PATH'] ?? '',
    BURSAR_CONFIG: path,
    BURSAR_DATA: folder,
    BURSAR_DB: join(folder, 'till.db'),
  }
}

interface Prices {
  readonly models: readonly {
    readonly model: string
    readonly upstreams: readonly Readonly<Record<string, unknown>>[]
  }[]
}

describe('bursar prices', () => {
  beforeAll(() =>
    configure({
      upstreams: {
        openai: { base_url: 'https://api.openai.com/v1' },
        openrouter: { base_url: 'https://openrouter.ai/api/v1' },
        local: { base_url: 'http://127.0.0.1:11434/v1' },
      },
      calls: { margin_percent: '20' },
      models: {
        'gpt-5.4': { upstreams: ['openai', { upstream: 'openrouter', upstream_model: 'openai/gpt-5.4' }] },
        llama: { upstream: 'local', usd_per_million_input: '0.055', usd_per_million_output: '0.11' },
        fixed: { upstream: 'local', credits_per_call: '0.25' },
        unknown: { upstream: 'local' },
      },
    }),
  )

  test('shows every model with its upstreams, tiers, margin and source', async () => {
    const { models } = await answerOf<Prices>(['prices'], env)
    expect(models.map(({ model, upstreams }) => [model, upstreams.length])).toEqual([
      ['gpt-5.4', 2],
      ['llama', 1],
      ['fixed', 1],
      ['unknown', 0],
    ])
    expect(models[0]?.upstreams[0]).toMatchObject({
      upstream: 'openai',
      upstream_model: 'gpt-5.4',
      source: expect.stringMatching(/^openai, @pydantic\/genai-prices [\d.]+ of \d{4}-\d\d-\d\d$/),
      margin_percent: '20',
      from: null,
      rates: [
        {
          above_input_tokens: 0,
          credits_per_million: {
            input: '30.000000',
            output: '180.000000',
            cached_input: '3.000000',
            cache_write: null,
          },
          usd_per_million: { input: '2.50', output: '15.00', cached_input: '0.25' },
        },
        { above_input_tokens: 271_999, credits_per_million: { input: '60.000000', output: '270.000000' } },
      ],
    })
    expect(models[1]?.upstreams[0]).toMatchObject({
      source: 'configuration',
      rates: [{ credits_per_million: { input: '0.660000' }, usd_per_million: { input: '0.055' } }],
    })
    expect(models[2]?.upstreams[0]).toMatchObject({ credits_per_call: '0.250000' })
  })

  test('prints a table, of one model too', async () => {
    const { stdout } = await run(['prices'], env)
    expect(stdout).toMatch(/^MODEL +UPSTREAM +INPUT +OUTPUT +CACHED +MARGIN +PRICE$/m)
    expect(stdout).toMatch(
      /^gpt-5\.4 +openai +30 \(\$2\.50\) +180 \(\$15\.00\) +3 \(\$0\.25\) +20% +openai, /m,
    )
    expect(stdout).toMatch(/60 \(\$5\.00\).* above 271999 input tokens$/m)
    expect(stdout).toMatch(/^fixed +local +0\.25 a call/m)
    expect(stdout).toContain('Not sold, for lack of a price: unknown.')
    const one = await run(['prices', 'llama'], env)
    expect(one.stdout).not.toContain('gpt-5.4')
    const none = await run(['prices', 'nope'], env)
    expect([none.status, none.stderr]).toEqual([1, expect.stringContaining('no model called "nope"')])
    expect((await run(['prices', '--lists'], env)).stdout).toContain('openrouter\n')
  })
})

describe('bursar doctor', () => {
  test('says of each upstream whether it answers, takes the key and has the models, and never the key', async () => {
    const secret = 'sk-this-is-the-upstreams-key'
    const asked: Record<string, unknown> = {}
    const server = createServer((incoming, response) => {
      const { url = '', headers } = incoming
      const json = (status: number, body: unknown) =>
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
      asked[url] = headers['x-api-key'] ?? headers.authorization
      if (url.startsWith('/denied')) json(401, { error: { message: `wrong key ${secret}` } })
      else if (url.startsWith('/page')) response.writeHead(200).end('<html></html>')
      else if (url.startsWith('/bare')) json(404, { error: { code: 'not_found' } })
      else json(200, { object: 'list', data: [{ id: 'listed' }, { id: 'tagged:latest' }] })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const price = { credits_per_call: '1' }
    await configure({
      upstreams: {
        fine: { base_url: `${base}/v1`, api_key: secret },
        claude: { base_url: `${base}/claude/v1`, api_key: secret, format: 'anthropic' },
        denied: { base_url: `${base}/denied`, api_key: secret },
        page: { base_url: `${base}/page`, api_key: secret },
        bare: { base_url: `${base}/bare` },
        gone: { base_url: 'http://127.0.0.1:9/v1' },
      },
      models: {
        listed: { upstream: 'fine', ...price },
        tagged: { upstream: 'fine', ...price },
        other: { upstreams: ['claude'], ...price },
        unpriced: { upstream: 'fine' },
      },
    })
    const { status, stdout } = await run(['doctor', '--json'], env)
    server.close()
    expect(status).toBe(1)
    expect(stdout).not.toContain(secret)
    const { findings } = JSON.parse(stdout) as { findings: { name: string; ok: boolean; detail: string }[] }
    const about = (name: string) => {
      const found = findings.find((each) => each.name === name)
      return found && [found.ok, found.detail.replaceAll(base, '')]
    }
    expect(about('upstream fine')).toEqual([true, '/v1 answers, with 2 models'])
    expect(about('upstream claude')).toEqual([false, '/claude/v1 answers, and does not list other.'])
    expect(about('upstream denied')).toEqual([false, '/denied refuses the key (401).'])
    expect(about('upstream page')).toEqual([false, '/page answers something that is no list of models.'])
    expect(about('upstream bare')).toEqual([
      true,
      '/bare answers, and has no list of models (404, not_found)',
    ])
    expect(about('upstream gone')).toEqual([false, 'http://127.0.0.1:9/v1 does not answer.'])
    expect(about('models')).toEqual([false, 'No price is known for unpriced: not sold.'])
    expect(asked).toMatchObject({
      '/v1/models': `Bearer ${secret}`,
      '/claude/v1/models?limit=1000': secret,
      '/bare/models': undefined,
    })
  })
})
