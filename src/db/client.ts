/** Opens a database: an embedded libSQL file, or a libSQL server. */
import { open as openFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Client, createClient } from '@libsql/client'
import { fetch, Response } from 'undici'
import { BursarError } from '../errors.ts'
import { makeFolder, pathOf } from '../files.ts'
import type { Runtime } from '../runtime.ts'
import { createWriter } from './commit.ts'
import type { Db, Row, Statement } from './db.ts'
import { broken, DeclinedRequest, failureOf, isDeclining, unavailable } from './failure.ts'
import { openFileWriter } from './file-writer.ts'
import { clearLog, fileAt, type LocalOptions, openLocal } from './local.ts'
import { type Migration, migrate } from './migrate.ts'
import { migrations as tillMigrations } from './migrations/index.ts'
import { createPatience } from './patience.ts'
import { createReader, READS_AT_ONCE } from './read.ts'

export interface OpenDb {
  /** `file:/absolute/path.db`, or `http(s)://` or `libsql://` of a libSQL server. */
  readonly url: string
  readonly runtime: Runtime
  /** For a server. */
  readonly authToken?: string
  /** The till's by default. */
  readonly migrations?: readonly Migration[]
  /**
   * How long one attempt to write waits for another process; attempts are made for half a minute. The driver blocks
   * the whole process while it waits, until there is a thread for that (file-writer.ts), so this is short.
   */
  readonly busyTimeoutMs?: number
  /** Commits to a file after which they are made in a thread of their own (file-writer.ts). */
  readonly threadAfter?: number
  /** How long a commit relies on the file being where it was (local.ts). */
  readonly placeMs?: number
}

/**
 * How long a server may take to answer, before the connection counts as lost. Where the network forgets packets without a
 * word nothing else ends a request for five minutes, and every write waits behind it.
 */
export const ANSWER_MS = 10_000

/**
 * Opens and migrates a database, making the file and its folder where there is none.
 *
 * @throws {BursarError} invalid_config (not a database of this program, or a newer one's),
 *   database_unavailable (unreachable, unreadable, locked)
 */
export async function openDb({
  url,
  runtime,
  authToken,
  migrations,
  busyTimeoutMs = 1_000,
  threadAfter,
  placeMs,
}: OpenDb): Promise<Db> {
  const remote = !url.startsWith('file:')
  if (/:memory:|[?&]mode=memory/.test(url)) {
    throw new BursarError('invalid_config', 'A database in memory would lose what it acknowledged.', {
      remedy: 'Give the path of a file.',
    })
  }
  if (!remote) await makeFile(pathOf(url))
  let migrated = false
  const opened: { close(): unknown }[] = []
  function opening<T extends { close(): unknown }>(what: T): T {
    opened.push(what)
    return what
  }
  const server = (concurrency: number): Client =>
    opening(
      connect({
        url,
        runtime,
        concurrency,
        busyTimeoutMs,
        // A migration of a large database takes as long as it takes; it would be begun again for ever.
        answerMs: () => (migrated ? ANSWER_MS : undefined),
        ...(authToken === undefined ? {} : { authToken }),
      }),
    )
  try {
    const file = remote ? { path: '', busyTimeoutMs } : await useFile(pathOf(url), busyTimeoutMs, runtime)
    const reader = createReader(
      remote ? server(READS_AT_ONCE) : opening(openLocal({ ...file, use: 'read' })),
      runtime,
    )
    const writer = createWriter({
      runtime,
      to: remote
        ? { client: server(1) }
        : opening(openFileWriter({ ...file, threadAfter, ...(placeMs === undefined ? {} : { placeMs }) })),
    })
    const db: Db = {
      query: (sql, args) => reader.query(sql, args),
      typed: reader.typed,
      overlaps: !remote,
      commit: (statements) => writer.commit(statements),
      unwritable: writer.unwritable,
      async close() {
        await writer.close()
        reader.close()
        if (!remote) clearLog(file)
      },
    }
    const commit = (statements: readonly Statement[]): Promise<Row[][]> => writer.commitKeyed(statements)
    await migrate({ query: db.query, commit }, migrations ?? tillMigrations, runtime)
    migrated = true
    return db
  } catch (thrown) {
    for (const each of opened) await each.close()
    if (thrown instanceof BursarError) throw thrown
    if (failureOf(thrown, remote) === 'broken')
      throw broken('The database cannot be opened', thrown, nameOf(url))
    throw unavailable(`The database ${nameOf(url)} cannot be opened.`, thrown)
  }
}

/** Made here and not by the driver, so that only this user can read it; its journal files take the same mode. */
async function makeFile(path: string): Promise<void> {
  const folder = dirname(path)
  try {
    makeFolder(folder)
  } catch (cause) {
    throw new BursarError('invalid_config', `The folder of the database, ${folder}, cannot be made.`, {
      remedy: 'Make its parent writable, or name another place with BURSAR_DATA or BURSAR_DB.',
      cause,
    })
  }
  try {
    await (await openFile(path, 'wx', 0o600)).close()
  } catch {
    // It is there already, or the driver will say what is wrong with it.
  }
}

export interface Connect extends Pick<OpenDb, 'url' | 'runtime' | 'authToken'> {
  readonly concurrency: number
  readonly busyTimeoutMs: number
  /** Of a server; without it, as long as it takes: whoever examines a whole database asks for much at once. */
  readonly answerMs?: () => number | undefined
}

/** A client of the driver, whose requests leave through the runtime's network. */
export function connect({ url, runtime, authToken, concurrency, busyTimeoutMs, answerMs }: Connect): Client {
  return createClient({
    url,
    intMode: 'bigint',
    concurrency,
    timeout: busyTimeoutMs,
    fetch: (request: Request) => fetchThrough(runtime, request, answerMs?.()),
    ...(authToken === undefined ? {} : { authToken }),
  })
}

type File = Pick<LocalOptions, 'path' | 'busyTimeoutMs' | 'file'>

async function useFile(path: string, busyTimeoutMs: number, runtime: Runtime): Promise<File> {
  await useWriteAheadLog({ path, busyTimeoutMs }, runtime)
  const file = fileAt(path)
  return { path, busyTimeoutMs, ...(file === undefined ? {} : { file }) }
}

/** Readers go on while one writes. The setting stays in the file; only the first open has to win the lock for it. */
async function useWriteAheadLog(file: File, runtime: Runtime): Promise<void> {
  const patience = createPatience(runtime)
  const local = openLocal({ ...file, use: 'write' })
  try {
    for (;;) {
      try {
        local.exec('PRAGMA journal_mode = WAL')
        return
      } catch (thrown) {
        if (failureOf(thrown, false) !== 'busy' || !(await patience.wait())) throw thrown
      }
    }
  } finally {
    local.close()
  }
}

/** The driver makes requests of the global kind; they leave through the runtime's network like all others. */
async function fetchThrough(
  runtime: Runtime,
  request: Request,
  answerMs: number | undefined,
): Promise<Response> {
  const body = request.method === 'GET' ? null : await request.arrayBuffer()
  const headers = Object.fromEntries(request.headers)
  const late = new AbortController()
  const answered = answerMs === undefined ? () => {} : runtime.after(answerMs, () => late.abort())
  try {
    const { method } = request
    const response = await fetch(request.url, {
      method,
      headers,
      body,
      dispatcher: runtime.network,
      signal: late.signal,
      // Another server is not the one that was named, and a POST becomes a GET on the way to it.
      redirect: 'manual',
    })
    // The driver asks with GET which encodings a server has; no is an answer there.
    if (method !== 'GET' && isDeclining(response.status)) {
      await response.body?.cancel()
      throw new DeclinedRequest(response.status)
    }
    // Read here, so that the time is also that of the last byte.
    const bytes = await response.arrayBuffer()
    return new Response(bytes, { status: response.status, headers: response.headers })
  } finally {
    answered()
  }
}

/** For messages: a server's URL may carry its token. */
export function nameOf(url: string): string {
  if (url.startsWith('file:')) return pathOf(url)
  return URL.canParse(url) ? new URL(url).host : 'of the configuration'
}
