import { copyFile, mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { statement } from '../../src/db/db.ts'
import { type Migration, splitStatements } from '../../src/db/migrate.ts'
import { type TestDb, testDb } from '../support/database.ts'
import { items } from './items.ts'

let t: TestDb
beforeEach(async () => {
  t = await testDb({ migrations: items })
})
afterEach(() => t.close())

const open = (path: string, migrations: readonly Migration[] = items) =>
  openDb({ url: `file:${path}`, runtime: t.runtime, migrations })

const second: Migration = {
  version: 2,
  name: 'colour',
  sql: 'ALTER TABLE item ADD COLUMN colour TEXT;\nUPDATE item SET colour = id;',
}

test('makes a new database and its folder for their owner only', async () => {
  const path = join(t.folder, 'a', 'b', 'new.db')
  const db = await open(path)
  await db.commit([statement('INSERT INTO item (id) VALUES (5)')])
  for (const made of [join(t.folder, 'a', 'b'), path, `${path}-wal`, `${path}-shm`]) {
    expect((await stat(made)).mode & 0o077, made).toBe(0)
  }
  await db.close()
})

test.each([
  ['here', 1_000_000],
  ['in a thread', 0],
])('when it has been closed, the file alone has all that was written %s', async (_, threadAfter) => {
  const path = join(t.folder, 'closed.db')
  const url = `file:${path}`
  const db = await openDb({ url, runtime: t.runtime, migrations: items, threadAfter })
  // Another process that has it open is not waited for, and loses nothing.
  const other = await open(path)
  for (let id = 1n; id <= 50n; id++) await db.commit([statement('INSERT INTO item (id) VALUES (?)', [id])])
  expect(await other.query('SELECT count(*) AS n FROM item')).toEqual([{ n: 50n }])
  expect((await stat(`${path}-wal`)).size).toBeGreaterThan(0)
  await db.close()
  const copy = join(t.folder, 'copy.db')
  await copyFile(path, copy)
  const copied = await open(copy)
  expect(await copied.query('SELECT count(*) AS n FROM item')).toEqual([{ n: 50n }])
  await copied.close()
  await other.commit([statement('INSERT INTO item (id) VALUES (51)')])
  await other.close()
  const again = await open(path)
  expect(await again.query('SELECT count(*) AS n FROM item')).toEqual([{ n: 51n }])
  await again.close()
})

test('applies what is missing, once, and keeps the rows', async () => {
  await t.db.commit([statement('INSERT INTO item (id) VALUES (5)')])
  const opened = await Promise.all([1, 2, 3].map(() => open(join(t.folder, 'test.db'), [...items, second])))
  for (const db of opened) {
    expect(await db.query('SELECT id, colour FROM item')).toEqual([{ id: 5n, colour: '5' }])
    expect(await db.query('SELECT version, name FROM schema_version')).toEqual([
      { version: 1n, name: 'items' },
      { version: 2n, name: 'colour' },
    ])
    await db.close()
  }
})

test('a migration that fails leaves nothing of itself', async () => {
  const broken = {
    ...second,
    sql: 'ALTER TABLE item ADD COLUMN colour TEXT;\nINSERT INTO nothing VALUES (1);',
  }
  await expect(open(join(t.folder, 'test.db'), [...items, broken])).rejects.toMatchObject({
    code: 'database_unavailable',
  })
  const db = await open(join(t.folder, 'test.db'), [...items, second])
  expect(await db.query('SELECT version FROM schema_version')).toHaveLength(2)
  await db.close()
})

test('refuses a database of a newer version, and says what to do', async () => {
  await (await open(join(t.folder, 'test.db'), [...items, second])).close()
  await expect(open(join(t.folder, 'test.db'))).rejects.toMatchObject({
    code: 'invalid_config',
    message: 'The database has schema 2; this version of Bursar knows schemas up to 1.',
    remedy: expect.stringContaining('newer version') as string,
  })
})

test('refuses what is not its own database', async () => {
  await expect(
    open(join(t.folder, 'test.db'), [{ ...items[0], name: 'purse' } as Migration]),
  ).rejects.toMatchObject({
    code: 'invalid_config',
  })
  const path = join(t.folder, 'text.db')
  await writeFile(path, 'no database, but long enough to be mistaken for one '.repeat(40))
  await expect(open(path)).rejects.toMatchObject({ code: 'database_unavailable' })
  await mkdir(join(t.folder, 'folder.db'))
  await expect(open(join(t.folder, 'folder.db'))).rejects.toMatchObject({ code: 'database_unavailable' })
  const memory = openDb({ url: 'file::memory:', runtime: t.runtime })
  await expect(memory).rejects.toMatchObject({ code: 'invalid_config' })
})

test('names a server without its token when it does not answer', async () => {
  const runtime = { ...t.runtime, sleep: () => Promise.resolve() }
  const failing = openDb({ url: 'http://127.0.0.1:9/?authToken=secret', runtime })
  await expect(failing).rejects.toMatchObject({ code: 'database_unavailable' })
  await expect(failing).rejects.not.toThrow(/secret/)
})

test('cuts migrations into statements, triggers whole', () => {
  const sql = `
-- a comment; with a semicolon;
CREATE TABLE a (
  -- inside;
  x TEXT
);
CREATE TRIGGER t AFTER INSERT ON a
BEGIN
  DELETE FROM a WHERE x = NEW.x;
END;
CREATE TRIGGER u BEFORE UPDATE ON a BEGIN SELECT 1; END;
`
  expect(splitStatements(sql).map((each) => each.split('\n')[0])).toEqual([
    'CREATE TABLE a (',
    'CREATE TRIGGER t AFTER INSERT ON a',
    'CREATE TRIGGER u BEFORE UPDATE ON a BEGIN SELECT 1; END;',
  ])
  expect(() => splitStatements('CREATE TABLE a (x)')).toThrow(/does not end/)
})
