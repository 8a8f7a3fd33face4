/**
 * The real runtime, but for chance: bytes and identifiers are drawn from the tests' seed, so that keys, signatures and
 * ids have in each run the values that they had in the last. For one process: another one that draws the same would
 * make the same ids.
 */
import { createHash, createPrivateKey, type KeyObject } from 'node:crypto'
import { monotonicFactory } from 'ulid'
import { type Runtime, systemRuntime } from '../../src/runtime.ts'
import { SEED } from './seed.ts'

/** SHA-256 of the seed and a counter, block after block. */
function* draw(): Generator<number, never> {
  for (let block = 0; ; block++) {
    yield* createHash('sha256').update(`${SEED}:${block}`).digest()
  }
}

const drawn = draw()

/** All runtimes of a process draw from one row: two tills on one file never get the same. */
export const random = (bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, () => drawn.next().value)

export const fraction = (): number => drawn.next().value / 256

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
