/** API keys that are made here, so that a till learns nothing but their hash. */
import type { KeyPrint } from '../accounts.ts'
import { sha256 } from './hash.ts'

const PREFIX_LENGTH = 11

export async function makeKey(): Promise<{ readonly key: string; readonly print: KeyPrint }> {
  const random = String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32)))
  const key = `bk_${btoa(random).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`
  return { key, print: { key_hash: await sha256(key), key_prefix: key.slice(0, PREFIX_LENGTH) } }
}
