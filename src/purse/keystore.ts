/**
 * An EVM key in a file, encrypted with a password: Web3 Secret Storage, version 3 (the format of geth, MetaMask
 * exports, ethers and foundry). Only the purse's process imports this module.
 */
import { scrypt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import * as Keystore from 'ox/Keystore'
import type { Hex } from 'viem'
import { z } from 'zod'
import { BursarError, invalidConfig } from '../errors.ts'
import { makeFolder } from '../files.ts'

const hex = (bytes?: number) =>
  z
    .string()
    .regex(/^(0x)?([0-9a-fA-F]{2})+$/, 'expected hex')
    .transform((text) => text.replace(/^0x/, '').toLowerCase())
    .refine((text) => bytes === undefined || text.length === 2 * bytes, `expected ${bytes} bytes`)

const kdf = z.discriminatedUnion('kdf', [
  z.object({
    kdf: z.literal('scrypt'),
    // The upper limits bound the memory (128 * n * r bytes) that somebody else's file can ask for: 1 GB.
    kdfparams: z
      .object({
        dklen: z.literal(32),
        n: z
          .int()
          .min(2)
          .max(2 ** 22),
        r: z.int().min(1).max(64),
        p: z.int().min(1).max(64),
        salt: hex(),
      })
      .refine((k) => 128 * k.n * k.r <= 2 ** 30 && (k.n & (k.n - 1)) === 0, 'expected usual scrypt costs'),
  }),
  z.object({
    kdf: z.literal('pbkdf2'),
    kdfparams: z.object({
      dklen: z.literal(32),
      c: z.int().min(1).max(10_000_000),
      prf: z.literal('hmac-sha256'),
      salt: hex(),
    }),
  }),
])

const keystoreSchema = z.object({
  version: z.literal(3),
  address: hex(20).optional(),
  id: z.string().default(''),
  crypto: z
    .object({
      cipher: z.literal('aes-128-ctr'),
      ciphertext: hex(),
      cipherparams: z.object({ iv: hex(16) }),
      mac: hex(32),
    })
    .and(kdf),
})

type KeystoreFile = z.output<typeof keystoreSchema>

/** geth's "standard" cost: about half a second and 256 MB. */
const SCRYPT = { n: 2 ** 18, r: 8, p: 1 }
const MIN_PASSWORD = 8

export interface NewKeystore {
  readonly path: string
  readonly password: string
  readonly privateKey: Hex
  /** Written in clear, as is usual, so that the address can be shown without the password. */
  readonly address: string
  /** Cryptographically secure bytes. */
  readonly random: (bytes: number) => Uint8Array
}

/**
 * Encrypts a key into a new file that only its owner can read (0600).
 *
 * @throws {BursarError} invalid_request: the password is too short; conflict: the file exists, it is never overwritten.
 */
export async function writeKeystore(fresh: NewKeystore): Promise<void> {
  if (fresh.password.length < MIN_PASSWORD) {
    throw new BursarError(
      'invalid_request',
      `The password has fewer than ${MIN_PASSWORD} characters: whoever copies the file could guess it.`,
      { remedy: `Choose a password of at least ${MIN_PASSWORD} characters.` },
    )
  }
  const salt = fresh.random(32)
  const kdfparams = { dklen: 32, ...SCRYPT, salt: Buffer.from(salt).toString('hex') }
  const key = await derive(fresh.password, salt, SCRYPT)
  const encrypted = Keystore.encrypt(fresh.privateKey, key, {
    kdf: 'scrypt',
    kdfparams,
    iv: fresh.random(16),
    id: uuid(fresh.random(16)),
  })
  const text = JSON.stringify({ address: fresh.address.toLowerCase().replace(/^0x/, ''), ...encrypted })
  makeFolder(dirname(fresh.path))
  const file = await open(fresh.path, 'wx', 0o600).catch((cause: NodeJS.ErrnoException) => {
    throw cause.code === 'EEXIST' ? occupied(fresh.path, cause) : unwritable(fresh.path, cause)
  })
  try {
    await file.writeFile(`${text}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
}

/**
 * The key in a keystore file.
 *
 * @throws {BursarError} invalid_config: no such file, not a keystore, a wrong password, or not a 32-byte key.
 *   Nothing of the file or the password is repeated in the error.
 */
export async function readKeystore(path: string, password: string): Promise<Hex> {
  const keystore = parseKeystore(path)
  let privateKey: Hex
  try {
    privateKey = Keystore.decrypt(keystore, await keyOf(keystore, password))
  } catch {
    // Not passed on as a cause: the library's error may hold what it worked on.
    throw invalidConfig(
      `The password does not open the keystore ${path}, or the file is damaged.`,
      'Check the password in purse.wallet; restore the file from a backup if it is right.',
    )
  }
  if (privateKey.length !== 66) {
    throw invalidConfig(
      `The keystore ${path} holds ${(privateKey.length - 2) / 2} bytes, an EVM key has 32.`,
      'Export the key again from the wallet that made the file.',
    )
  }
  return privateKey
}

/** The address that a keystore names in clear, or null where it names none. @throws {BursarError} invalid_config */
export function keystoreAddress(path: string): string | null {
  const { address } = parseKeystore(path)
  return address === undefined ? null : `0x${address}`
}

function parseKeystore(path: string): KeystoreFile {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw invalidConfig(
      `Cannot read the keystore ${path} (${(cause as NodeJS.ErrnoException).code ?? 'unknown reason'}).`,
      'Give the path of a readable file in purse.wallet.keystore, or make one: bursar wallet create.',
    )
  }
  const parsed = keystoreSchema.safeParse(safeJson(text))
  if (!parsed.success) {
    const where = parsed.error.issues[0]?.path.join('.') || 'the file'
    throw invalidConfig(
      `${path} is not a Web3 Secret Storage v3 keystore: ${where} is missing or has an unexpected form.`,
      'Use the JSON file that geth, MetaMask, foundry or `bursar wallet create` wrote.',
    )
  }
  return parsed.data
}

/**
 * The key that encrypts a file. By OpenSSL, off the main thread, four times as fast as the library, whose own
 * asynchronous derivation ignores the file's r and p. OpenSSL keeps to N < 2^(16 r) (RFC 7914, section 2), which
 * files in use do not (r = 1, the library's default): those, and PBKDF2, are left to the library.
 */
async function keyOf(keystore: KeystoreFile, password: string): Promise<Keystore.Key> {
  const { crypto } = keystore
  if (crypto.kdf === 'scrypt' && Math.log2(crypto.kdfparams.n) < 16 * crypto.kdfparams.r) {
    return derive(password, Buffer.from(crypto.kdfparams.salt, 'hex'), crypto.kdfparams)
  }
  return Keystore.toKey(keystore, { password })
}

function derive(password: string, salt: Uint8Array, { n, r, p }: typeof SCRYPT): Promise<Hex> {
  return new Promise((resolve, reject) => {
    // OpenSSL needs a little more than the 128 * n * r bytes of the definition.
    scrypt(password, salt, 32, { N: n, r, p, maxmem: 2 ** 31 - 1 }, (error, key) => {
      if (error) reject(error)
      else resolve(`0x${key.toString('hex')}`)
    })
  })
}

/** A version 4 UUID (RFC 9562, section 5.4) of 16 random bytes. */
function uuid(bytes: Uint8Array): string {
  const id = Buffer.from(bytes)
  id.writeUInt8((id.readUInt8(6) & 0x0f) | 0x40, 6)
  id.writeUInt8((id.readUInt8(8) & 0x3f) | 0x80, 8)
  return id.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function occupied(path: string, cause: Error): BursarError {
  return new BursarError('conflict', `${path} exists already; a keystore is never overwritten.`, {
    remedy: 'Choose another path, or move the old file to a safe place first: it may hold money.',
    cause,
  })
}

function unwritable(path: string, cause: NodeJS.ErrnoException): BursarError {
  return new BursarError(
    'invalid_request',
    `Cannot write the keystore ${path} (${cause.code ?? 'unknown reason'}).`,
    {
      remedy: 'Choose a path in a folder that you may write to.',
      cause,
    },
  )
}
