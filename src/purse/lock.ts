/**
 * One purse for each wallet: `purse-<address>.lock` in the data folder is locked by the operating system for as long
 * as the purse's process lives. kill -9 and a power cut release it; a stopped or hung process keeps it.
 *
 * The file is a SQLite file held in an exclusive transaction, because SQLite takes the file lock of each platform
 * (fcntl, LockFileEx), for which Node has no call of its own. It holds no data and is not the purse's database.
 */
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { BursarError } from '../errors.ts'
import { makeFolder } from '../files.ts'
import { readNotice } from './notice.ts'

export interface PurseLock {
  /** Gives the wallet free. */
  release(): void
}

/**
 * Takes the wallet for this process.
 *
 * @throws {BursarError} conflict: another purse has it; with its URL and process id where it has announced them.
 */
export function lockWallet(dataDir: string, address: string): PurseLock {
  makeFolder(dataDir)
  const held = tryLock(join(dataDir, `purse-${address}.lock`))
  if (!held) throw taken(dataDir, address)
  return { release: () => held.close() }
}

/** Null: another process has it. */
function tryLock(path: string): DatabaseSync | null {
  // Made by us first, and not for others to open: whoever can open it can lock it.
  closeSync(openSync(path, 'a', 0o600))
  const file = new DatabaseSync(path)
  try {
    file.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
    return file
  } catch (error) {
    file.close()
    if ((error as { errcode?: unknown }).errcode === SQLITE_BUSY) return null
    throw error
  }
}

const SQLITE_BUSY = 5

function taken(dataDir: string, address: string): BursarError {
  const notice = readNotice(dataDir, address)
  const where = notice ? ` at ${notice.url} (process ${notice.pid})` : ''
  return new BursarError('conflict', `A purse for the wallet ${address} runs already${where}.`, {
    remedy: 'Use the one that runs; it is found by itself. To start another, end that one first.',
    details: { address, ...(notice ? { url: notice.url, pid: notice.pid } : {}) },
  })
}
