/** Commits to a database file. */
import type { Row, Statement } from './db.ts'
import { type LocalOptions, openLocal } from './local.ts'

export interface FileWriter {
  commit(statements: readonly Statement[]): Promise<Row[][]>
  close(): Promise<void>
}

export function openFileWriter(file: Pick<LocalOptions, 'path' | 'busyTimeoutMs'>): FileWriter {
  const local = openLocal({ ...file, use: 'write' })
  return {
    commit: async (statements) => local.commit(statements),
    close: async () => local.close(),
  }
}
