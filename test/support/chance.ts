/**
 * The real runtime, but for chance: in a test, bytes and identifiers are drawn from the seed, so that keys, signatures
 * and ids have in each run the values that they had in the last. Processes that a test starts draw by real chance:
 * two that draw from one seed would make the same ids.
 */
import { createHash, createPrivateKey, type KeyObject, randomBytes } from 'node:crypto'
import { monotonicFactory } from 'ulid'
import { type Runtime, systemRuntime } from '../../src/runtime.ts'

let drawn: Generator<number, never> | undefined

/** From here on, this process draws from the seed: all runtimes in it from one row, so that no two get the same. */
export function seedChance(seed: number): void {
  drawn = draw(seed)
}

/** SHA-256 of the seed and a counter, block after block. */
function* draw(seed: number): Generator<number, never> {
  for (let block = 0; ; block++) yield* createHash('sha256').update(`${seed}:${block}`).digest()
}

export function random(bytes: number): Uint8Array {
  const row = drawn
  if (!row) return new Uint8Array(randomBytes(bytes))
  return Uint8Array.from({ length: bytes }, () => row.next().value)
}

export const fraction = (): number => (random(1)[0] ?? 0) / 256

export function seededRuntime(level = 'silent'): Runtime {
  const ulid = monotonicFactory(fraction)
  return { ...systemRuntime(level), random, id: (prefix) => `${prefix}_${ulid()}` }
}

/** The fixed start of an Ed25519 private key in PKCS#8 (RFC 8410, section 7). */
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex')

/** The next Ed25519 key of the row. */
export function drawKey(): KeyObject {
  const key = Buffer.concat([PKCS8_ED25519, random(32)])
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' })
}

/** The next private key of a wallet: any 32 bytes, but for one draw in 2^128. */
export function drawWalletKey(): `0x${string}` {
  return `0x${Buffer.from(random(32)).toString('hex')}`
}
