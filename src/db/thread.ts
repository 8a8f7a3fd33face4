/**
 * A thread that owns the connection which writes, so that nobody else waits for the disk. Loaded as a worker only:
 * file-writer.ts is the other side.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { LibsqlBatchError } from '@libsql/client'
import type { Arg } from './db.ts'
import { type LocalOptions, openLocal, type Result } from './local.ts'

/** One commit. A text goes over once, with its number; from then on the number stands for it. */
export interface Asked {
  readonly texts: readonly (readonly [number: number, sql: string])[]
  readonly statements: readonly (readonly [number: number, args: readonly Arg[]])[]
}

/** Not as rows yet: the names of their columns would travel with each of them. */
export type Answered = { readonly results: Result[] } | { readonly failed: Failed }

/** The driver's error, which would lose its class on the way; `index` is missing for any other. */
export interface Failed {
  readonly message: string
  readonly index?: number
  readonly code: string
  readonly extendedCode?: string | undefined
  readonly rawCode?: number | undefined
}

const port = parentPort
if (!port) throw new Error('This file is a worker.')
const local = openLocal(workerData as LocalOptions)
const texts = new Map<number, string>()

port.on('message', (asked: Asked) => port.postMessage(answer(asked)))
port.postMessage('ready')

function answer({ texts: added, statements }: Asked): Answered {
  for (const [number, sql] of added) texts.set(number, sql)
  try {
    return { results: local.commit(statements.map(([number, args]) => ({ sql: textOf(number), args }))) }
  } catch (thrown) {
    return { failed: failedOf(thrown) }
  }
}

function textOf(number: number): string {
  const sql = texts.get(number)
  if (sql === undefined) throw new Error(`Nobody said what statement ${number} is.`)
  return sql
}

function failedOf(thrown: unknown): Failed {
  if (!(thrown instanceof LibsqlBatchError)) {
    return { message: thrown instanceof Error ? thrown.message : String(thrown), code: '' }
  }
  const { statementIndex: index, code, extendedCode, rawCode, cause } = thrown
  // Its own message begins with the code, which the other side would put before it again.
  return {
    message: cause instanceof Error ? cause.message : thrown.message,
    index,
    code,
    extendedCode,
    rawCode,
  }
}
