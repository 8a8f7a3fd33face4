/** The part of better-sqlite3 that the benchmark uses. It is installed by bench/install.ts, so the root has no types of it. */
import { install } from '../install.ts'

export interface Prepared {
  run(...args: unknown[]): { readonly changes: number }
  get(...args: unknown[]): unknown
  all(...args: unknown[]): unknown[]
}

export interface Sqlite {
  prepare(sql: string): Prepared
  exec(sql: string): void
  pragma(sql: string): unknown
  close(): void
}

export async function openSqlite(file: string): Promise<Sqlite> {
  const name = 'better-sqlite3'
  await install(name)
  const { default: Database } = (await import(name)) as { default: new (file: string) => Sqlite }
  return new Database(file)
}
