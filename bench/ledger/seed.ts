/** A database with a history: made once by bulk SQL, kept in the temporary folder. */
import { existsSync } from 'node:fs'
import { copyFile, mkdir, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openDb } from '../../src/db/client.ts'
import { migrations } from '../../src/db/migrations/index.ts'
import { systemRuntime } from '../../src/runtime.ts'
import { openSqlite, type Sqlite } from './better-sqlite3.ts'
import { ACCOUNTS, BODY_HASH, LOTS, MODEL, PRICE, RESPONSE, ROUTE, UPSTREAM, USAGE } from './shape.ts'

const folder = join(tmpdir(), 'bursar-bench')

/** What one lot grants, micro-credits: small, so that captures cross from one lot to the next, except for the last. */
const SMALL_LOT = 50_000n
const LARGE_LOT = 10n ** 15n

/** A copy of the seed for one system to work on. */
export async function workingCopy(rows: number, name: string): Promise<string> {
  const seed = await seedOf(rows)
  const file = join(folder, `work-${process.pid}-${name}-${rows}.db`)
  await copyFile(seed, file)
  return file
}

export async function removeCopy(file: string): Promise<void> {
  for (const suffix of ['', '-wal', '-shm']) await rm(`${file}${suffix}`, { force: true })
}

async function seedOf(rows: number): Promise<string> {
  const version = migrations.at(-1)?.version
  const seed = join(folder, `seed-v${version}-${rows}.db`)
  if (existsSync(seed)) return seed
  console.error(`Making a database with ${rows} journal rows (${seed}) ...`)
  await mkdir(folder, { recursive: true })
  const partial = `${seed}.${process.pid}`
  const runtime = systemRuntime('warn')
  await (await openDb({ url: `file:${partial}`, runtime })).close()
  const db = await openSqlite(partial)
  fill(db, rows)
  db.close()
  await rename(partial, seed)
  return seed
}

/** Accounts with lots, and pairs of hold and capture up to `rows`: the books balance. */
function fill(db: Sqlite, rows: number): void {
  const pairs = Math.max(0, Math.floor((rows - ACCOUNTS * LOTS) / 2))
  const triggers = db.prepare(`SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'`).all() as {
    name: string
    sql: string
  }[]
  // Out of WAL first, which does not go OFF at once.
  db.pragma('journal_mode = DELETE')
  db.pragma('journal_mode = OFF')
  db.pragma('synchronous = OFF')
  db.pragma('foreign_keys = OFF')
  db.pragma('cache_size = -1000000')
  db.exec('BEGIN')
  for (const { name } of triggers) db.exec(`DROP TRIGGER ${name}`)
  const account = `'acc_' || printf('%026d', i % ${ACCOUNTS})`
  const ref = `'hold_' || printf('%026d', i)`
  const at = Date.now() - 86_400_000
  const counted = (n: number) =>
    `WITH RECURSIVE c(i) AS (SELECT 0 WHERE ${n} > 0 UNION ALL SELECT i + 1 FROM c WHERE i + 1 < ${n})`
  const never = 253_402_300_799_999n
  const granted = `iif(i / ${ACCOUNTS} < ${LOTS - 1}, ${SMALL_LOT}, ${LARGE_LOT})`
  const expiry = `iif(i / ${ACCOUNTS} < ${LOTS - 1}, ${at} + (366 + i / ${ACCOUNTS}) * 86400000, ${never})`
  db.exec(`${counted(ACCOUNTS)} INSERT INTO account (id, created_at) SELECT ${account}, ${at} FROM c`)
  db.exec(`${counted(ACCOUNTS * LOTS)} INSERT INTO posting (ref, phase, kind, account, available, held, book, counter, at)
    SELECT 'grant_' || printf('%026d', i), 0, 'grant', ${account}, ${granted}, 0, 'payments', -${granted}, ${at} FROM c`)
  db.exec(`${counted(ACCOUNTS * LOTS)} INSERT INTO lot (ref, account, granted, remaining, expires_at, at)
    SELECT 'grant_' || printf('%026d', i), ${account}, ${granted}, ${granted}, ${expiry}, ${at} FROM c`)
  // Charged from the large lot only: a history need not have been spent in order to weigh the same.
  db.exec(`${counted(pairs * 2)} INSERT INTO posting (ref, phase, kind, account, available, held, book, counter, at)
    SELECT 'hold_' || printf('%026d', i / 2), i % 2, iif(i % 2, 'capture', 'hold'), 'acc_' || printf('%026d', (i / 2) % ${ACCOUNTS}),
      iif(i % 2, 900, -1000), iif(i % 2, -1000, 1000), iif(i % 2, 'revenue', NULL), iif(i % 2, 100, 0), ${at} FROM c`)
  db.exec(`${counted(pairs)} INSERT INTO receipt (account, id, route, model, upstream, price, state, usage, held, charged, started_at, finished_at)
    SELECT account, id, '${ROUTE}', '${MODEL}', '${UPSTREAM}', '${PRICE}', 'charged', '${USAGE}', 1000, 100, ${at}, ${at}
    FROM (SELECT ${account} AS account, ${ref} AS id FROM c) ORDER BY 1, 2`)
  db.exec(`${counted(pairs)} INSERT INTO idempotency (account, route, key, body_hash, ref, response, at)
    SELECT account, '${ROUTE}', key, '${BODY_HASH}', ref, '${RESPONSE}', ${at}
    FROM (SELECT ${account} AS account, lower(hex(randomblob(16))) AS key, ${ref} AS ref FROM c) ORDER BY 1, 3`)
  db.exec(`WITH s AS MATERIALIZED (SELECT account, sum(available) AS available, sum(counter) FILTER (WHERE kind = 'capture') AS spent FROM posting GROUP BY account)
    UPDATE account SET available = s.available FROM s WHERE s.account = account.id`)
  db.exec(`WITH l AS MATERIALIZED (SELECT account, min(expires_at) AS first FROM lot GROUP BY account)
    UPDATE account SET next_expiry = l.first FROM l WHERE l.account = account.id`)
  db.exec(`WITH l AS MATERIALIZED (SELECT account, sum(remaining) AS total FROM lot GROUP BY account)
    UPDATE lot SET remaining = remaining - l.total + a.available FROM l JOIN account a ON a.id = l.account
    WHERE l.account = lot.account AND lot.expires_at = ${never}`)
  db.exec(
    `INSERT INTO spend (account, hour, charged) SELECT account, at - at % 3600000, sum(counter) FROM posting WHERE kind = 'capture' GROUP BY 1, 2`,
  )
  for (const { sql } of triggers) db.exec(sql)
  db.exec('COMMIT')
  db.pragma('journal_mode = WAL')
}
