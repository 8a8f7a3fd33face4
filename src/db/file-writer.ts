/**
 * Commits to a database file: at first here, where a lone commit is soonest done; in a thread of its own as soon as the
 * process turns out to write a lot, or has to wait for a lock. Then commits and their waits for the disk hold nobody else up, and the next group
 * is put together while one is being committed. Never in both: one connection writes.
 */
import { Worker } from 'node:worker_threads'
import { LibsqlBatchError } from '@libsql/client'
import type { Row, Statement } from './db.ts'
import { failureOf, unavailable } from './failure.ts'
import { type LocalOptions, openLocal, type Result, rowsOf } from './local.ts'
import type { Answered, Asked, Failed } from './thread.ts'

export interface FileWriter {
  /** One after the other, in the order of being asked. @throws {LibsqlBatchError} and as said in `Local` */
  commit(statements: readonly Statement[]): Promise<Row[][]>
  close(): Promise<void>
}

export interface FileWriterOptions extends Pick<LocalOptions, 'path' | 'busyTimeoutMs' | 'file' | 'placeMs'> {
  /**
   * Small commits after which the thread is started; a large one counts as many. Here goes on until it is ready. A
   * command, or one agent's own server, hardly ever gets there. 0: the first commit waits for it.
   */
  readonly threadAfter?: number | undefined
}

const THREAD_AFTER = 200

/** Characters of values that weigh as much as a commit does. */
const SMALL = 2_000

export function openFileWriter({ threadAfter = THREAD_AFTER, ...file }: FileWriterOptions): FileWriter {
  const options: LocalOptions = { ...file, use: 'write' }
  const here = openLocal(options)
  let made = 0
  let started: Thread | undefined
  let thread: Thread | undefined

  function start(): Thread {
    const begun = startThread(options)
    void takeOver(begun)
    return begun
  }

  async function takeOver(begun: Thread): Promise<void> {
    if (!(await begun.ready)) return
    here.close()
    thread = begun
    // Should it die, commits are made here again.
    await begun.ended
    thread = undefined
  }

  function commitHere(statements: readonly Statement[]): Result[] {
    try {
      return here.commit(statements)
    } catch (thrown) {
      // Each attempt would block the whole process for as long as it waits for the lock; in a thread it does not.
      if (failureOf(thrown, false) === 'busy') started ??= start()
      throw thrown
    }
  }

  return {
    async commit(statements) {
      if (!started && made >= threadAfter) {
        started = start()
        if (threadAfter === 0) await started.ready
      }
      made += weightOf(statements)
      const results = thread ? await thread.commit(statements) : commitHere(statements)
      return results.map(rowsOf)
    },
    async close() {
      here.close()
      await started?.close()
    },
  }
}

function weightOf(statements: readonly Statement[]): number {
  let characters = 0
  for (const { args } of statements) {
    for (const arg of args) if (typeof arg === 'string') characters += arg.length
  }
  return 1 + characters / SMALL
}

interface Thread {
  /** False: it could not be started. */
  readonly ready: Promise<boolean>
  /** It is no more, and neither is its connection. */
  readonly ended: Promise<unknown>
  commit(statements: readonly Statement[]): Promise<Result[]>
  close(): Promise<unknown>
}

interface Waiting {
  readonly resolve: (results: Result[]) => void
  readonly reject: (reason: unknown) => void
}

function startThread(options: LocalOptions): Thread {
  // The same ending as this file: .ts in a checkout, .js in the package.
  const file = new URL(`thread${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url)
  const worker = new Worker(file, { workerData: options, name: 'bursar-writer' })
  const numbers = new Map<string, number>()
  /** In the order of their commits, which is that of the answers. */
  const waiting: Waiting[] = []
  let cause: unknown
  let closing = false

  /** It keeps the process alive only while somebody waits for it: a commit, or whoever closes it. */
  function letGo(): void {
    if (!closing && waiting.length === 0) worker.unref()
  }

  function settle(): Waiting | undefined {
    const settled = waiting.shift()
    letGo()
    return settled
  }

  const ready = new Promise<boolean>((resolve) => {
    worker.once('message', () => resolve(true))
    worker.once('exit', () => resolve(false))
  })
  worker.on('message', (answered: Answered | 'ready') => {
    if (answered === 'ready') letGo()
    else if ('results' in answered) settle()?.resolve(answered.results)
    else settle()?.reject(errorOf(answered.failed))
  })
  worker.on('error', (thrown) => {
    cause = thrown
  })
  const ended = new Promise<void>((resolve) =>
    worker.once('exit', () => {
      const gone = unavailable('The thread that writes has ended; its last commit may have been made.', cause)
      for (const each of waiting.splice(0)) each.reject(gone)
      resolve()
    }),
  )

  return {
    ready,
    ended,
    commit: (statements) =>
      new Promise((resolve, reject) => {
        const asked = askedOf(statements, numbers)
        try {
          // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
          worker.postMessage(asked)
        } catch (thrown) {
          // It has not got the texts, and will not answer.
          for (const [, sql] of asked.texts) numbers.delete(sql)
          throw thrown
        }
        waiting.push({ resolve, reject })
        worker.ref()
      }),
    close() {
      closing = true
      return worker.terminate()
    },
  }
}

/** Most texts are constants; a search's own may be many, and the numbers start anew before there are too many. */
const KNOWN = 1_000

function askedOf(statements: readonly Statement[], numbers: Map<string, number>): Asked {
  const texts: [number, string][] = []
  if (numbers.size > KNOWN) numbers.clear()
  return {
    texts,
    statements: statements.map(({ sql, args }) => {
      const known = numbers.get(sql)
      if (known !== undefined) return [known, args]
      const number = numbers.size
      numbers.set(sql, number)
      texts.push([number, sql])
      return [number, args]
    }),
  }
}

function errorOf({ message, index, code, extendedCode, rawCode }: Failed): Error {
  if (index === undefined) return new Error(message)
  return new LibsqlBatchError(message, index, code, extendedCode, rawCode)
}
