/**
 * The seller's extended public keys (BIP-32), from which every invoice gets an address of its own. Only public
 * keys are taken: whatever could be a private one is refused before it is looked at closely, and never repeated
 * in an error.
 */
import { createHash } from 'node:crypto'
import { createBase58check, hex } from '@scure/base'
import { HDKey } from '@scure/bip32'
import { invalid, invalidConfig } from '../errors.ts'
import { isWellKnownKey } from './well-known-keys.ts'

/** What the key is for: each kind reads it at another place of the tree and writes other addresses. */
export type KeyKind = 'evm' | 'p2wpkh' | 'p2tr'

export interface ReceiveKey {
  /**
   * Names the chain of addresses: the same for every way of writing one key (xpub or zpub, the account or its
   * receiving branch), different for any other key. 40 hex digits.
   */
  readonly fingerprint: string
  /**
   * The compressed public key of address number `index`.
   * @throws {BursarError} invalid_request: not an integer from 0 to 2^31 - 1
   */
  publicKey(index: number): Uint8Array
  /** Where that is below the extended key as it was given: `0/7` below an account, `7` below its receiving branch. */
  path(index: number): string
}

export interface ParseKey {
  readonly text: string
  /** Where the key stands in the configuration, for errors: `keys.evm`. */
  readonly field: string
  readonly kind: KeyKind
  /** Real money: test networks' keys and well-known ones are refused. A main network's key is fine for tests. */
  readonly main: boolean
}

type Script = 'any' | 'p2wpkh' | 'p2sh-p2wpkh' | 'multisig'

interface Version {
  readonly name: string
  readonly main: boolean
  readonly script: Script
}

/** Version bytes of extended public keys: BIP-32, BIP-49, BIP-84 and SLIP-132. */
const PUBLIC: ReadonlyMap<number, Version> = new Map([
  [0x0488b21e, { name: 'xpub', main: true, script: 'any' }],
  [0x049d7cb2, { name: 'ypub', main: true, script: 'p2sh-p2wpkh' }],
  [0x04b24746, { name: 'zpub', main: true, script: 'p2wpkh' }],
  [0x043587cf, { name: 'tpub', main: false, script: 'any' }],
  [0x044a5262, { name: 'upub', main: false, script: 'p2sh-p2wpkh' }],
  [0x045f1cf6, { name: 'vpub', main: false, script: 'p2wpkh' }],
  [0x0295b43f, { name: 'Ypub', main: true, script: 'multisig' }],
  [0x02aa7ed3, { name: 'Zpub', main: true, script: 'multisig' }],
  [0x024289ef, { name: 'Upub', main: false, script: 'multisig' }],
  [0x02575483, { name: 'Vpub', main: false, script: 'multisig' }],
])

const HARDENED = 0x8000_0000
const base58check = createBase58check((bytes: Uint8Array) => sha256(bytes))

/**
 * Reads an account's extended public key. EVM: m/44'/60'/x' or its receiving branch m/44'/60'/x'/0. Bitcoin:
 * m/84'/0'/x' (p2wpkh) or m/86'/0'/x' (p2tr).
 *
 * @throws {BursarError} invalid_config, saying what was expected; the key itself is never part of the error
 */
export function parseAccountKey({ text, field, kind, main }: ParseKey): ReceiveKey {
  const key = text.trim()
  refusePrivate(key, field)
  const { node, version } = decode(key, field)
  refuseVersion(version, { field, kind, main })
  const prefix = branchPrefix(node, { field, kind })
  const branch = prefix === '' ? node : node.deriveChild(0)
  const fingerprint = fingerprintOf(branch, kind)
  if (main && isWellKnownKey(fingerprint)) {
    throw invalidConfig(
      `${field} belongs to a well-known test mnemonic: anyone could take what is paid to it.`,
      'Use the extended public key of a wallet of your own; test keys are for test networks.',
    )
  }
  return {
    fingerprint,
    publicKey: (index) => publicKeyAt(branch, index),
    path: (index) => `${prefix}${index}`,
  }
}

/**
 * The fingerprint of a receiving branch: public key and chain code, because BIP-32's own four bytes collide, and
 * the kind, because the same key gives other addresses as another kind.
 */
export function fingerprintOf(branch: HDKey, kind: KeyKind): string {
  const { publicKey, chainCode } = branch
  if (!publicKey || !chainCode) throw new TypeError('an extended key has a public key and a chain code')
  return hex.encode(sha256(Buffer.concat([Buffer.from(`${kind}:`), publicKey, chainCode]))).slice(0, 40)
}

function publicKeyAt(branch: HDKey, index: number): Uint8Array {
  if (!Number.isInteger(index) || index < 0 || index >= HARDENED) {
    throw invalid(`An address index is an integer from 0 to ${HARDENED - 1}, got ${index}.`)
  }
  const { publicKey } = branch.deriveChild(index)
  if (!publicKey) throw new TypeError('a derived key has a public key')
  return publicKey
}

/** Anything that may be a secret, told by its looks alone: a mistyped private key is a private key all the same. */
function refusePrivate(key: string, field: string): void {
  const what = privateLooks(key)
  if (what === null) return
  throw invalidConfig(
    `${field} looks like ${what}. Bursar takes public keys only and has not kept it.`,
    'Export the extended PUBLIC key (xpub) of the account from your wallet: Ledger Live under Advanced, Trezor ' +
      'Suite under Show public key, Sparrow under Settings. Remove the secret from wherever it was written.',
  )
}

function privateLooks(key: string): string | null {
  // Where a key begins: one public key in 300 spells it somewhere inside.
  if (/(?<![a-z0-9])[a-z]prv/i.test(key)) return 'an extended private key'
  if (key.split(/[\s,]+/).length >= 3) return 'a recovery phrase'
  if (/^(0x)?[0-9a-f]{64,}$/i.test(key)) return 'a raw key in hex, which may be private'
  if (/^[5KLc9][1-9A-HJ-NP-Za-km-z]{50,51}$/.test(key)) return 'a private key (WIF)'
  return null
}

function decode(key: string, field: string): { node: HDKey; version: Version } {
  const expected = 'Expected an extended public key: xpub, zpub, tpub or vpub, then about 107 characters.'
  let bytes: Uint8Array
  try {
    bytes = base58check.decode(key)
  } catch {
    throw invalidConfig(
      `${field} is not an extended public key: its characters or its checksum are wrong.`,
      `${expected} Copy it again, whole.`,
    )
  }
  if (bytes.length !== 78) throw invalidConfig(`${field} is not an extended public key.`, expected)
  // The byte before a private key is zero, whatever the version claims (BIP-32, Serialization format).
  if (bytes[45] === 0) refusePrivate('xprv', field)
  const code = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
  const version = PUBLIC.get(code)
  if (!version)
    throw invalidConfig(`${field} is an extended key of a kind that Bursar does not know.`, expected)
  try {
    // The library accepts only the version it is told, and checks that the key is a point on the curve.
    return { node: HDKey.fromExtendedKey(key, { private: 0, public: code }), version }
  } catch {
    throw invalidConfig(
      `${field} is not a valid extended public key (BIP-32).`,
      `${expected} Export it again.`,
    )
  }
}

function refuseVersion(version: Version, { field, kind, main }: Omit<ParseKey, 'text'>): void {
  const { name, script } = version
  if (main && !version.main) {
    throw invalidConfig(
      `${field} is a ${name}, a key of a test network, and this is a main network.`,
      `Export the key from a wallet on the main network: it starts with ${kind === 'p2wpkh' ? 'xpub or zpub' : 'xpub'}.`,
    )
  }
  if (script === 'multisig') {
    throw invalidConfig(
      `${field} is a ${name}, one key of several.`,
      'Use the key of a single-signature account.',
    )
  }
  if (kind === 'evm' && script !== 'any') {
    throw invalidConfig(
      `${field} is a ${name}, a Bitcoin key.`,
      "Export the xpub of an Ethereum account, m/44'/60'/0'.",
    )
  }
  if (script === 'p2sh-p2wpkh') {
    throw invalidConfig(
      `${field} is a ${name}: its wallet looks for nested segwit addresses, which Bursar does not write.`,
      "Make a native segwit account (m/84'/0'/0') and export its xpub or zpub.",
    )
  }
  if (kind === 'p2tr' && script === 'p2wpkh') {
    throw invalidConfig(
      `${field} is a ${name}, a native segwit key, and the script is p2tr.`,
      "Export the xpub of a taproot account (m/86'/0'/0'), or set the script to p2wpkh.",
    )
  }
}

/** Path from the given key to the receiving branch: `0/` below an account, empty below the branch itself. */
function branchPrefix(node: HDKey, { field, kind }: Pick<ParseKey, 'field' | 'kind'>): '0/' | '' {
  if (node.depth === 3 && node.index >= HARDENED) return '0/'
  if (kind === 'evm' && node.depth === 4 && node.index === 0) return ''
  const purpose = kind === 'p2wpkh' ? 84 : 86
  const expected =
    kind === 'evm'
      ? "the account m/44'/60'/0' (depth 3), or its receiving branch m/44'/60'/0'/0 (depth 4)"
      : `the account m/${purpose}'/0'/0' (depth 3)`
  const child = node.index >= HARDENED ? `${node.index - HARDENED}'` : String(node.index)
  throw invalidConfig(
    `${field} is a key at depth ${node.depth}, child ${child}; expected ${expected}.`,
    'Export the extended public key of the account, as wallets do by default.',
  )
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash('sha256').update(bytes).digest()
}
