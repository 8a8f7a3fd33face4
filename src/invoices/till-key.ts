/**
 * The till's own Ed25519 key. It signs invoices and can move no money; whoever has it can promise payments to
 * other addresses in the till's name, so it is kept like a password.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto'
import { linkSync, readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { invalidConfig } from '../errors.ts'
import { makeFolder } from '../files.ts'
import type { Runtime } from '../runtime.ts'
import { payeeOf } from '../signed-invoice.ts'

export interface TillKey {
  readonly key: KeyObject
  /** `ed25519:` + base64url of the public key: what a purse pins. */
  readonly payee: string
}

export interface OpenTillKey {
  readonly dataDir: string
  readonly runtime: Pick<Runtime, 'random' | 'id'>
  /** A PKCS#8 PEM file that the operator provides, for tills that share one key; never created here. */
  readonly path?: string
}

/** Where the key is, unless the operator provides one. */
export function tillKeyPath(dataDir: string): string {
  return join(dataDir, 'till-key.pem')
}

/**
 * Reads the key, or creates it as `till-key.pem` (PKCS#8, mode 0600) in the data folder on the first start. Of
 * several processes that start at once, one creates it and all use that one.
 *
 * @throws {BursarError} invalid_config: unreadable, not an Ed25519 private key, or readable by other users.
 */
export function openTillKey({ dataDir, path, runtime }: OpenTillKey): TillKey {
  const file = path ?? tillKeyPath(dataDir)
  const pem = readText(file) ?? (path === undefined ? create(dataDir, file, runtime) : null)
  if (pem === null)
    throw invalidConfig(`There is no till key at ${file}.`, 'Give the path of a PKCS#8 PEM file.')
  if (path === undefined) refuseOpenMode(file)
  return parse(pem, file)
}

function parse(pem: string, file: string): TillKey {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch {
    // The parser's own words could repeat a part of the key.
    throw invalidConfig(
      `${file} holds no readable private key.`,
      'Restore the file from a backup (PKCS#8, PEM).',
    )
  }
  if (key.asymmetricKeyType !== 'ed25519') {
    throw invalidConfig(
      `${file} holds another kind of key.`,
      'The till signs with an Ed25519 key (PKCS#8, PEM).',
    )
  }
  return { key, payee: payeeOf(key) }
}

/** The fixed start of an Ed25519 private key in PKCS#8 (RFC 8410, section 7); the 32-byte seed follows. */
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex')

function create(dataDir: string, file: string, runtime: OpenTillKey['runtime']): string {
  const der = Buffer.concat([PKCS8_ED25519, runtime.random(32)])
  const pem = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    .export({ type: 'pkcs8', format: 'pem' })
    .toString()
  const draft = `${file}.${runtime.id('draft')}`
  try {
    makeFolder(dataDir)
    writeFileSync(draft, pem, { mode: 0o600, flag: 'wx', flush: true })
    // A link never replaces: whichever process comes first has made the till's key.
    linkSync(draft, file)
  } catch (cause) {
    if (codeOf(cause) !== 'EEXIST') {
      throw invalidConfig(`Cannot create the till's key ${file}.`, 'Make the data folder writable.', cause)
    }
  } finally {
    removeIfThere(draft)
  }
  return readText(file) ?? pem
}

function readText(file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return null
    throw invalidConfig(
      `Cannot read the till's key ${file}.`,
      'Make it readable for the user that runs Bursar.',
      cause,
    )
  }
}

function refuseOpenMode(file: string): void {
  if (process.platform === 'win32' || (statSync(file).mode & 0o077) === 0) return
  throw invalidConfig(`The till's key ${file} can be read by other users.`, `Run: chmod 600 ${file}`)
}

function removeIfThere(file: string): void {
  try {
    unlinkSync(file)
  } catch (cause) {
    if (codeOf(cause) !== 'ENOENT') throw cause
  }
}

function codeOf(thrown: unknown): string | undefined {
  return (thrown as NodeJS.ErrnoException).code
}
