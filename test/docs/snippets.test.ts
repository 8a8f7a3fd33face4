/** What the documentation shows in TypeScript compiles as it stands there, and does what it says. */
import { glob } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test } from 'vitest'
import { createClient } from '../../src/sdk/client.ts'
import {
  compile,
  runSnippet,
  type Snippet,
  snippetsIn,
  snippetsOf,
  snippetWith,
} from '../support/snippets.ts'
import { httpTill } from '../support/till-http.ts'

const documents = await Array.fromAsync(
  glob(['*.md', 'docs/**/*.md', 'examples/**/*.md', 'src/**/*.md'], {
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
  }),
)
const snippets = (await Promise.all(documents.toSorted().map(snippetsOf))).flat()
const compiled = snippets.filter(({ skip }) => skip === null)

/** Such as a reader could be shown by mistake. */
const wrong = snippetsIn(
  [
    '```ts',
    "import { createClient } from 'bursar'",
    '',
    "createClient({ url: 'https://till.example' }).noSuchMethod()",
    '```',
    '<!-- ts given: declare const answer: number -->',
    '',
    '```ts',
    'const text: string = answer',
    '```',
    '<!-- ts skip: it is only an outline -->',
    '```ts',
    'till. ...',
    '```',
    '```sh',
    'no TypeScript',
    '```',
  ].join('\n'),
  'wrong.md',
)

describe('the TypeScript of the documentation', () => {
  let told: ReadonlyMap<Snippet, string[]>

  beforeAll(async () => {
    told = await compile([...compiled, ...wrong.slice(0, 2)])
  })

  test('is found where it is', () => {
    expect(documents).toEqual(expect.arrayContaining(['README.md', 'docs/sdk.md']))
    expect(snippets.filter(({ name }) => name.startsWith('README.md'))).not.toEqual([])
    expect(snippets.filter(({ name }) => name.startsWith('docs/sdk.md'))).not.toEqual([])
    expect(wrong).toMatchObject([
      { name: 'wrong.md:2', given: '', skip: null },
      { name: 'wrong.md:9', given: 'declare const answer: number', skip: null },
      { name: 'wrong.md:13', code: 'till. ...\n', skip: 'it is only an outline' },
    ])
  })

  test('is compiled against the types of the package, so that a mistake is noticed', () => {
    expect(wrong.slice(0, 2).map((snippet) => told.get(snippet))).toEqual([
      [expect.stringMatching(/\(4,\d+\): error TS\d+: Property 'noSuchMethod' does not exist/)],
      [expect.stringMatching(/\(9,\d+\): error TS\d+: Type 'number' is not assignable to type 'string'/)],
    ])
  })

  test.each(compiled.map((snippet) => [snippet.name, snippet] as const))('%s compiles', (_, snippet) => {
    expect(told.get(snippet)).toEqual([])
  })

  for (const { name, skip } of snippets)
    if (skip !== null) test.skip(`${name} is not compiled: ${skip}`, () => undefined)
})

test("docs/sdk.md: a seller's backend opens an account, adds an agent, freezes it, and lists", async () => {
  const till = await httpTill({ openai: 'http://127.0.0.1:1/v1' })
  try {
    const SELLER_KEY = await till.sellerKey()
    const snippet = await snippetWith('docs/sdk.md', 'accounts.create(')
    for (let time = 1; time <= 2; time++) {
      const { status, stdout, stderr } = await runSnippet(snippet, { BURSAR_URL: till.url, SELLER_KEY })
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
      const [said, first, second, ...rest] = stdout.trimEnd().split('\n')
      const key = /bk_[\w-]{43}/.exec(said ?? '')?.[0]
      expect([first, second, rest]).toEqual(['null 1.000000 0.000000', 'user-42 0.000000 0.000000', []])
      // Revoked again, at the end.
      const agent = createClient({ url: till.url, key })
      await expect(agent.balance()).rejects.toMatchObject({ code: 'unauthorized' })

      const seller = createClient({ url: till.url, key: SELLER_KEY })
      const [account] = (await seller.accounts.list({ external_id: 'user-42' }).page()).accounts
      const { agents } = await seller.agents.list(account?.id ?? '').page()
      expect(agents).toMatchObject([
        {
          name: 'assistant',
          frozen: false,
          allowance: { per_call: '0.500000', per_day: '8.000000', per_month: null },
        },
      ])
      const { keys } = await seller.keys.list(account ? { account: account.id } : {}).page()
      expect(keys).toHaveLength(time)
      expect(keys.at(-1)).toMatchObject({ agent: agents[0]?.id, revoked_at: expect.any(String) })
    }
  } finally {
    await till.close()
  }
})
