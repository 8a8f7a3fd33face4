/** A database with something of everything is right; whatever is done to a copy of it is found, and called by its name. */
import { access, open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createClient } from '@libsql/client'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { migrations } from '../../src/db/migrations/index.ts'
import { hold } from '../../src/ledger/hold.ts'
import { createSealer } from '../../src/ledger/sealer.ts'
import type { FindingKind } from '../../src/ledger/verify/finding.ts'
import { type Verified, type Verify, verifyDatabase } from '../../src/ledger/verify/verify.ts'
import { type Story, tellStory } from '../support/story.ts'
import { copy, type Edit, tamper } from '../support/tamper.ts'
import { tamperings } from './tamperings.ts'

let story: Story
let copies = 0
beforeAll(async () => {
  story = await tellStory()
})
afterAll(() => story.close())

const verify = (url: string, over: Partial<Verify> = {}): Promise<Verified> =>
  verifyDatabase({ url, runtime: story.till.ctx.runtime, ...over })

const kindsIn = ({ findings }: Verified): FindingKind[] =>
  [...new Set(findings.map(({ kind }) => kind))].sort()

/** Verifies a copy to which this was done. Every statement must have changed something. */
async function verifyAfter(
  statements: readonly (string | Edit)[],
  over: Partial<Verify> = {},
): Promise<Verified> {
  const path = join(story.till.dir, `copy-${copies++}.db`)
  const url = await copy(story.till.url, path)
  try {
    const { changed } = await tamper(url, statements)
    expect(Math.min(...changed), 'the test changes nothing').toBeGreaterThan(0)
    return await verify(url, over)
  } finally {
    await rm(path)
  }
}

describe('a database that nobody touched', () => {
  test('is right, in place and as a copy', async () => {
    const inPlace = await verify(story.till.url)
    expect(inPlace.findings).toEqual([])
    expect(inPlace).toMatchObject({
      ok: true,
      head: { seal: 4, hash: story.seals[3]?.hash },
      counts: {
        accounts: 2,
        postings: 29,
        sealed_postings: 26,
        seals: 4,
        open_holds: 1,
        payments: 4,
        invoices: 4,
      },
    })
    const path = join(story.till.dir, 'whole.db')
    expect(await verify(await copy(story.till.url, path))).toEqual(inPlace)
  })

  test('has postings of every kind', async () => {
    const kinds = await story.till.db.query<{ kind: string }>(
      'SELECT DISTINCT kind FROM posting ORDER BY kind',
    )
    expect(kinds.map(({ kind }) => kind)).toEqual([
      'capture',
      'discount',
      'expire',
      'grant',
      'hold',
      'release',
      'reverse',
    ])
  })

  test('says where it is, and stops when asked to', async () => {
    const steps = new Set<string>()
    await verify(story.till.url, { onProgress: ({ step }) => steps.add(step) })
    expect([...steps]).toEqual(['file', 'journal', 'invoices', 'books'])
    const stop = new AbortController()
    const stopped = verify(story.till.url, { signal: stop.signal, onProgress: () => stop.abort() })
    await expect(stopped).rejects.toThrow(/abort/i)
  })

  test('stays right while others write: all of it is read as of one moment', async () => {
    const { ledger, account } = story
    const done = { yet: false }
    const writing = (async () => {
      const runtime = { ...ledger.runtime }
      while (!done.yet) {
        const result = await hold({ ...ledger, runtime }, { account, amount: 1_000n, lifetimeMs: 60_000 })
        if (result.kind === 'held') await result.hold.release()
        await runtime.sleep(1)
      }
    })()
    let pages = 0
    for (let i = 0; i < 5; i++) {
      const verified = await verify(story.till.url, { onProgress: () => pages++ })
      expect(verified.findings).toEqual([])
    }
    done.yet = true
    await writing
    const { counts } = await verify(story.till.url)
    expect(counts?.postings).toBeGreaterThan(29)
    expect(pages).toBeGreaterThan(0)
  })
})

describe('is found, and nothing else', () => {
  test.each(tamperings)('%s', async (_, kinds, statements) => {
    const verified = await verifyAfter(statements)
    expect(verified.ok).toBe(false)
    expect(kindsIn(verified)).toEqual([...kinds].sort())
    for (const { message } of verified.findings) expect(message).toMatch(/^[A-Z].*\.$/s)
  })

  test('which rows it is: a gap, a place, a seal', async () => {
    const rows = async (statements: readonly string[], kind: FindingKind) => {
      const { findings } = await verifyAfter(statements)
      return findings
        .filter((each) => each.kind === kind)
        .map(({ table, row, message }) => [table, row, message])
    }
    expect(await rows(['DELETE FROM posting WHERE id BETWEEN 11 AND 14'], 'posting_missing')).toEqual([
      ['posting', '11-14', 'Postings 11 to 14 are missing.'],
    ])
    expect(await rows(['DELETE FROM posting WHERE id > 20'], 'journal_truncated')).toEqual([
      ['posting', '21-26', 'The journal ends at posting 20, but seal 4 covers it up to 26.'],
    ])
    expect(await rows(['UPDATE posting SET at = at + 1 WHERE id = 6'], 'posting_altered')).toEqual([
      ['posting', '3-8', 'Of postings 3 to 8 at least one was changed after seal 2.'],
    ])
    expect(await rows(['DELETE FROM seal WHERE number > 2'], 'seal_missing')).toEqual([
      ['seal', '3-4', 'Seals 3 to 4 are missing.'],
    ])
    expect(
      await rows(["UPDATE account SET available = 7 WHERE id = 'acc_other'"], 'balance_mismatch'),
    ).toEqual([
      [
        'account',
        'acc_other',
        'Account acc_other says 7 available and 0 held; its postings add up to 0 and 0 micro-credits.',
      ],
    ])
  })

  test('a trigger dropped, changed or added', async () => {
    const trigger = 'CREATE TRIGGER posting_is_kept BEFORE DELETE ON posting BEGIN SELECT 1; END'
    for (const statements of [
      ['DROP TRIGGER posting_is_kept'],
      ['DROP TRIGGER posting_is_kept', trigger],
      ['CREATE TRIGGER gift AFTER INSERT ON hold BEGIN UPDATE account SET available = available + 1; END'],
    ]) {
      const url = await copy(story.till.url, join(story.till.dir, `copy-${copies++}.db`))
      const client = createClient({ url, concurrency: 1 })
      await client.batch(statements, 'write')
      client.close()
      expect(kindsIn(await verify(url))).toEqual(['schema_changed'])
    }
  })

  test('a damaged page, without failing over it', async () => {
    const path = join(story.till.dir, 'damaged.db')
    const url = await copy(story.till.url, path)
    const [root] = await story.till.db.query<{ page: bigint; size: bigint }>(
      "SELECT rootpage AS page, page_size AS size FROM sqlite_schema, pragma_page_size WHERE name = 'posting'",
    )
    if (!root) throw new Error('there is no posting')
    const file = await open(path, 'r+')
    await file.write(Buffer.alloc(64, 0xa5), 0, 64, Number((root.page - 1n) * root.size))
    await file.close()
    const verified = await verify(url)
    expect(kindsIn(verified)).toContain('file_corrupt')
  })

  test('however many rows are wrong, with a few of them named', async () => {
    const rows = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
      INSERT INTO spend SELECT 'acc_other', i, 1 FROM n`
    const verified = await verifyAfter([rows])
    expect(verified.findings).toHaveLength(50)
    expect(verified.more).toBe(true)
  })
})

describe('any single cell of a sealed posting', () => {
  const columns = [
    'id',
    'ref',
    'phase',
    'kind',
    'account',
    'agent',
    'available',
    'held',
    'book',
    'counter',
    'at',
  ]
  const value = fc.oneof(
    fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
    fc.bigInt(-30n, 30n),
    fc.constantFrom(null, '', '\0', 'hold', 'release', 'grant', 'revenue', 'acc_other', 'acc_story'),
    fc.string(),
    fc.string().map((text) => ({ suffix: text })),
    fc.constant({ suffix: '\0' }),
  )

  test('cannot be changed without being found', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 26 }),
        fc.constantFrom(...columns),
        value,
        async (id, column, change) => {
          const path = join(story.till.dir, 'cell.db')
          await rm(path, { force: true })
          const url = await copy(story.till.url, path)
          const isSuffix = typeof change === 'object' && change !== null
          const set = isSuffix ? `${column} || ?1` : '?1'
          const sql = `UPDATE posting SET ${column} = ${set} WHERE id = ?2 AND ${column} IS NOT ${set}`
          const args = [isSuffix ? change.suffix : change, BigInt(id)]
          // What SQLite itself does not let into the table cannot have been put there this way.
          const tampered = await tamper(url, [{ sql, args }]).catch(() => null)
          fc.pre(tampered !== null && tampered.changed[0] === 1)
          const kinds = kindsIn(await verify(url))
          const named = [
            'posting_altered',
            'posting_missing',
            'posting_reordered',
            'journal_truncated',
            'unreadable',
          ]
          expect(
            kinds.some((kind) => named.includes(kind)),
            kinds.join(', '),
          ).toBe(true)
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe('a published head', () => {
  const published = (seal: number) => ({ seal: BigInt(seal), hash: story.seals[seal - 1]?.hash ?? '' })

  test('is in the chain for ever after', async () => {
    for (const seal of [1, 2, 3, 4]) {
      expect(await verify(story.till.url, { published: published(seal) })).toMatchObject({ findings: [] })
    }
  })

  test('shows a history that was rewritten throughout, seals and all', async () => {
    const path = join(story.till.dir, 'rewritten.db')
    const url = await copy(story.till.url, path)
    await tamper(url, [
      'UPDATE posting SET at = at + 1 WHERE id = 6',
      'UPDATE receipt SET finished_at = finished_at + 1 WHERE id = (SELECT ref FROM posting WHERE id = 6)',
      'DELETE FROM seal',
      "DELETE FROM sqlite_sequence WHERE name = 'seal'",
      'DELETE FROM lease',
    ])
    const { runtime } = story.till.ctx
    const db = await openDb({ url, runtime })
    await createSealer({ db, runtime }).step()
    await db.close()
    expect(await verify(url)).toMatchObject({ findings: [] })
    expect(kindsIn(await verify(url, { published: published(4) }))).toEqual(['head_missing'])
  })

  test('that the chain never had is missed', async () => {
    const unknown = { seal: 9n, hash: 'ab'.repeat(32) }
    expect(kindsIn(await verify(story.till.url, { published: unknown }))).toEqual(['head_missing'])
  })
})

describe('what is no database to verify', () => {
  test('a file that is not there is not made', async () => {
    const path = join(story.till.dir, 'nowhere.db')
    await expect(verify(`file:${path}`)).rejects.toMatchObject({ code: 'not_found' })
    await expect(access(path)).rejects.toThrow()
  })

  test('an older schema is left as it is', async () => {
    const url = `file:${join(story.till.dir, 'old.db')}`
    const runtime = story.till.ctx.runtime
    const old = await openDb({ url, runtime, migrations: migrations.slice(0, 1) })
    await expect(verify(url)).rejects.toMatchObject({
      code: 'invalid_config',
      message: `The database has schema 1; this version of Bursar verifies schema ${migrations.at(-1)?.version}.`,
    })
    expect(await old.query('SELECT max(version) AS version FROM schema_version')).toEqual([{ version: 1n }])
    await old.close()
  })

  test('a database of something else, and what is no database at all', async () => {
    const path = join(story.till.dir, 'other.db')
    const client = createClient({ url: `file:${path}`, concurrency: 1 })
    await client.batch(['CREATE TABLE thing (id)'], 'write')
    client.close()
    await expect(verify(`file:${path}`)).rejects.toMatchObject({ code: 'invalid_config' })
    const text = join(story.till.dir, 'text.db')
    await writeFile(text, 'no database, but long enough to be mistaken for one '.repeat(40))
    await expect(verify(`file:${text}`)).rejects.toMatchObject({ code: 'database_unavailable' })
  })
})
