/**
 * A database as one file, taken while others write to it, and put back in its place. A backup is marked as one inside:
 * a till that starts on it is frozen until it has been reconciled (src/invoices/reconcile.ts).
 */
import { constants } from 'node:fs'
import { access, chmod, copyFile, link, open, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Client, LibsqlError } from '@libsql/client'
import { BursarError } from '../errors.ts'
import { fileUrl, makeFolder, pathOf } from '../files.ts'
import type { Runtime } from '../runtime.ts'
import { shellWord } from '../shell-word.ts'
import { connect, openDb } from './client.ts'
import { damaged, unavailable } from './failure.ts'
import { isMaze, problemsIn } from './pages.ts'

export interface Copy {
  /** Of the till's database. */
  readonly url: string
  /** Path of the backup. */
  readonly backup: string
  readonly runtime: Runtime
  /** Looks at the finished file before it is put in its place, and throws if it must not be. */
  readonly check: (url: string) => Promise<void>
  /** What to do where there is no database; by default for a till's. */
  readonly missing?: string
}

const BUSY_MS = 5_000

/**
 * Copies what is committed at this moment, without the log beside it. It reads: whoever writes goes on. The file appears
 * whole or not at all, readable by its owner only.
 *
 * @throws {BursarError} conflict: there is a file of that name; not_found: no database; invalid_config: the database is
 *   on a server, or older than this version; database_unavailable: it cannot be read, or the backup not be written
 */
export async function backupDatabase({ url, backup, runtime, check }: Copy): Promise<void> {
  // Before the copy: what happens while it is made may be missing from it.
  const at = runtime.now()
  await copyDatabase({
    url,
    backup,
    runtime,
    async check(copy) {
      await mark(pathOf(copy), runtime, at)
      await check(copy)
    },
  })
}

/** The same for a database that is no till's: nothing in it says that it is a backup. @throws as `backupDatabase` */
export async function copyDatabase({
  url,
  backup,
  runtime,
  check,
  missing = 'Name it with BURSAR_DB, or start the till once to make it.',
}: Copy): Promise<void> {
  const database = localPath(url)
  if (!(await exists(database))) {
    throw new BursarError('not_found', `There is no database at ${database}.`, {
      remedy: missing,
    })
  }
  await refuseExisting(backup)
  await inPartialFile(backup, runtime, async (partial) => {
    // SQLite fills an empty file, so that it is never readable by others.
    await writeFile(partial, '', { mode: 0o600, flag: 'wx' })
    await onConnection(url, runtime, async (client) => {
      await refuseMaze(client)
      await client.execute({ sql: 'VACUUM INTO ?', args: [partial] })
    })
    await check(fileUrl(partial))
  })
}

/**
 * Puts a backup where the database belongs, brought to the newest schema. The till that starts on it is frozen.
 *
 * @throws {BursarError} conflict: there is a database already, or the backup has a log beside it; not_found: no such
 *   backup; invalid_config: the file is no database of Bursar, or a newer one's; database_unavailable
 */
export async function restoreDatabase({ url, backup, runtime, check }: Copy): Promise<void> {
  const database = localPath(url)
  if (!(await exists(backup))) {
    throw new BursarError('not_found', `There is no backup at ${backup}.`, {
      remedy: 'Give the path that bursar backup wrote.',
    })
  }
  await refuseWithLog(backup)
  for (const file of [database, `${database}-wal`, `${database}-shm`]) await refuseExisting(file)
  makeFolder(dirname(database))
  await inPartialFile(database, runtime, async (partial) => {
    await copyFile(backup, partial, constants.COPYFILE_EXCL)
    await chmod(partial, 0o600)
    await onConnection(fileUrl(partial), runtime, async (client) => {
      await refuseMaze(client)
      await refuseEmpty(client, backup)
    })
    const db = await openDb({ url: fileUrl(partial), runtime })
    const [marked] = await db.query('SELECT 1 FROM restore WHERE confirmed_at IS NULL')
    const [newest] = await db.query<{ at: bigint }>('SELECT coalesce(max(at), 0) AS at FROM posting')
    await db.close()
    // A copy that was made in another way.
    if (!marked) await mark(partial, runtime, Number(newest?.at ?? 0n))
    await check(fileUrl(partial))
    // What is put in its place is one file, without a log.
    await onConnection(fileUrl(partial), runtime, emptyLog)
  })
}

async function mark(file: string, runtime: Runtime, at: number): Promise<void> {
  const args = [runtime.id('backup'), BigInt(at)]
  const row = { sql: 'INSERT INTO restore (id, backup_at) VALUES (?, ?)', args }
  await onConnection(fileUrl(file), runtime, (client) => client.batch([row], 'write'))
}

/** Before anything is copied: it would go on until the disk is full. */
async function refuseMaze(client: Client): Promise<void> {
  const { rows } = await client.execute('PRAGMA quick_check(1)')
  const [first] = problemsIn(
    rows.flatMap(({ quick_check: told }) => (typeof told === 'string' ? [told] : [])),
  )
  if (first === undefined || !isMaze(first)) return
  throw damaged(new Error(first))
}

/** A file without a byte is a database to SQLite: a new one. A copy that failed leaves such a file. */
async function refuseEmpty(client: Client, backup: string): Promise<void> {
  const { rows } = await client.execute('SELECT 1 FROM sqlite_schema LIMIT 1')
  if (rows.length > 0) return
  throw new BursarError('invalid_config', `There is nothing in ${backup}: it is no backup.`, {
    remedy: 'Give the path of a file that bursar backup wrote; see whether copying this one went wrong.',
  })
}

/** Of a database that was copied with its log, the newest commits are in the log. */
async function refuseWithLog(backup: string): Promise<void> {
  const log = `${backup}-wal`
  if (!(await exists(log)) || (await stat(log)).size === 0) return
  throw new BursarError(
    'conflict',
    `${backup} has a log beside it, ${log}: what was last written is in there.`,
    {
      remedy: `Make one file of both: BURSAR_DB=${shellWord(backup)} bursar backup NEW_FILE. Then restore that.`,
    },
  )
}

async function emptyLog(client: Client): Promise<void> {
  const { rows } = await client.execute('PRAGMA wal_checkpoint(TRUNCATE)')
  if (rows[0]?.['busy'] !== 0n) throw new Error('the log of the new file is in use')
}

async function onConnection(
  url: string,
  runtime: Runtime,
  work: (client: Client) => Promise<unknown>,
): Promise<void> {
  const client = connect({ url, runtime, concurrency: 1, busyTimeoutMs: BUSY_MS })
  try {
    await work(client)
  } catch (thrown) {
    if (thrown instanceof BursarError) throw thrown
    if (thrown instanceof LibsqlError && /no such table: restore/.test(thrown.message)) {
      throw new BursarError('invalid_config', 'The database is older than this version of Bursar.', {
        remedy: 'Start this version on it once, or take the backup with the version that runs.',
        cause: thrown,
      })
    }
    throw unavailable('The database cannot be copied.', thrown)
  } finally {
    client.close()
  }
}

function unwritable(path: string, cause: unknown): BursarError {
  const { code, syscall } = cause as NodeJS.ErrnoException
  if (syscall === undefined) return unavailable(`${path} cannot be written.`, cause)
  return new BursarError('database_unavailable', `${path} cannot be written (${code}).`, {
    remedy: 'Name a file in a folder that exists, that you may write to, and that has room.',
    cause,
  })
}

/** Runs `make` on a new file beside `path`; then that file becomes `path`, if nothing stands there, and is on the disk. */
async function inPartialFile(
  path: string,
  runtime: Runtime,
  make: (partial: string) => Promise<void>,
): Promise<void> {
  const partial = `${path}.${runtime.id('partial')}`
  try {
    await make(partial)
    await sync(partial)
    await place(partial, path)
    await sync(dirname(path))
  } catch (thrown) {
    if (thrown instanceof BursarError) throw thrown
    throw unwritable(path, thrown)
  } finally {
    for (const end of ['', '-wal', '-shm', '-journal']) await rm(partial + end, { force: true })
  }
}

/** A link refuses what exists, atomically; some file systems have none. */
async function place(partial: string, path: string): Promise<void> {
  try {
    await link(partial, path)
  } catch (thrown) {
    await refuseExisting(path)
    if (!['EPERM', 'ENOTSUP', 'ENOSYS', 'EOPNOTSUPP'].includes(codeOf(thrown))) throw thrown
    await rename(partial, path)
  }
}

async function sync(path: string): Promise<void> {
  const file = await open(path, 'r')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}

async function refuseExisting(path: string): Promise<void> {
  if (!(await exists(path))) return
  throw new BursarError('conflict', `There is a file at ${path} already.`, {
    remedy: 'Nothing is overwritten: give another name, or stop the till and move the file away first.',
  })
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return false
    throw unavailable(`${path} cannot be looked at.`, thrown)
  }
}

function codeOf(thrown: unknown): string {
  return String((thrown as NodeJS.ErrnoException).code)
}

function localPath(url: string): string {
  if (url.startsWith('file:')) return pathOf(url)
  throw new BursarError('invalid_config', 'The database is on a server.', {
    remedy: 'Back it up and restore it there: a copy over the network would not be one moment of it.',
  })
}
