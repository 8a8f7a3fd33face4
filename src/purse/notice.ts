/** How a running purse is found: a file in the data folder, `purse-<address>.json`, readable by its owner only. */
import { createHash } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import type { Settings } from '../config.ts'
import type { PurseConfig } from '../config-schema.ts'
import { fileUrl, pathOf, realPath } from '../files.ts'
import { budgetOf } from './budget.ts'
import { purseConfig, purseDatabase } from './settings.ts'

const noticeSchema = z.object({
  address: z.string(),
  url: z.url(),
  token: z.string().min(16),
  pid: z.int().positive(),
  /** Which configuration it serves: its database, and where its key comes from (never the key). */
  database: z.string(),
  wallet: z.string(),
  /** Budget and payees that it was started with, as `termsOf` has them; purses before this one did not say. */
  terms: z.string().optional(),
})

export type Notice = z.output<typeof noticeSchema>

/**
 * What a purse of these settings serves. Its database and keystore by one name each, whatever path they are given by.
 *
 * @throws {BursarError} invalid_config
 */
export function servedBy(settings: Settings): Required<Pick<Notice, 'database' | 'wallet' | 'terms'>> {
  const config = purseConfig(settings)
  const url = purseDatabase(settings)
  const database = url.startsWith('file:') ? fileUrl(realPath(pathOf(url))) : url
  return { database, wallet: walletSource(config.wallet), terms: termsOf(config) }
}

/** Names where a wallet's key comes from, without reading it. */
function walletSource(wallet: PurseConfig['wallet']): string {
  return 'keystore' in wallet ? `keystore:${realPath(wallet.keystore)}` : 'environment'
}

/**
 * What a human allows, as one word that tells a changed configuration from the one that a purse was started with. The
 * same in other words (`5` and `5.00`, payees in another order or under other names) is the same.
 */
function termsOf({ budget, payees }: PurseConfig): string {
  const { perPayment, perDay, perMonth } = budgetOf(budget)
  const keys = [...new Set(payees.map(({ key }) => key))].sort()
  return createHash('sha256')
    .update([perPayment, perDay, perMonth, ...keys].join('\n'))
    .digest('base64url')
}

/** Written beside and moved into place, so that nobody reads half of it. */
export function writeNotice(dataDir: string, notice: Notice): void {
  const path = noticePath(dataDir, notice.address)
  const draft = `${path}.new`
  rmSync(draft, { force: true })
  const file = openSync(draft, 'wx', 0o600)
  try {
    writeSync(file, JSON.stringify(notice))
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(draft, path)
}

/** Null: none has been written, or by another version. */
export function readNotice(dataDir: string, address: string): Notice | null {
  try {
    return noticeSchema.parse(JSON.parse(readFileSync(noticePath(dataDir, address), 'utf8')))
  } catch {
    return null
  }
}

/** What the purses of this folder have announced; one that was killed leaves its notice behind. */
export function readNotices(dataDir: string): Notice[] {
  let names: string[]
  try {
    names = readdirSync(dataDir)
  } catch {
    // No folder yet: no purse has ever run.
    return []
  }
  return names.flatMap((name) => {
    const address = /^purse-(0x[0-9a-fA-F]{40})\.json$/.exec(name)?.[1]
    const notice = address === undefined ? null : readNotice(dataDir, address)
    return notice ? [notice] : []
  })
}

export function removeNotice(dataDir: string, address: string): void {
  rmSync(noticePath(dataDir, address), { force: true })
}

function noticePath(dataDir: string, address: string): string {
  return join(dataDir, `purse-${address}.json`)
}
