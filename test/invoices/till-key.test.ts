import { generateKeyPairSync } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openTillKey } from '../../src/invoices/till-key.ts'
import { payeeOf, signInvoice, verifyInvoice } from '../../src/signed-invoice.ts'
import { seededRuntime } from '../support/chance.ts'

let parent: string
let dataDir: string
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'bursar-key-'))
  dataDir = join(parent, 'data')
})
afterEach(() => rmSync(parent, { recursive: true, force: true }))

const runtime = seededRuntime()
const open = (path?: string) => openTillKey({ dataDir, runtime, ...(path === undefined ? {} : { path }) })

describe("the till's key", () => {
  it('is created once, readable by its user alone, and then stays', () => {
    const first = open()
    const file = join(dataDir, 'till-key.pem')
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(statSync(dataDir).mode & 0o777).toBe(0o700)
    expect(readFileSync(file, 'utf8')).toMatch(/^-----BEGIN PRIVATE KEY-----/)
    expect(readdirSync(dataDir)).toEqual(['till-key.pem'])
    expect(first.payee).toMatch(/^ed25519:[A-Za-z0-9_-]{43}$/)
    expect(open().payee).toBe(first.payee)
  })

  it('signs what its public key verifies', () => {
    const { key, payee } = open()
    expect(payeeOf(key)).toBe(payee)
    const payload = {
      v: 1 as const,
      payee,
      invoice: 'inv_1',
      rail: 'local:ETH',
      network: 'eip155:31337',
      contract: null,
      recipient: '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266',
      amount: '1',
      expires_at: 1,
    }
    expect(verifyInvoice(signInvoice(payload, key))).toEqual(payload)
  })

  it('comes from the randomness it is given', () => {
    // RFC 8032, section 7.1, test 1.
    const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex')
    const { payee } = openTillKey({ dataDir, runtime: { ...runtime, random: () => seed } })
    const public32 = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex')
    expect(payee).toBe(`ed25519:${public32.toString('base64url')}`)
  })

  it('can be provided, and is then never created', () => {
    const path = join(parent, 'mine.pem')
    expect(() => open(path)).toThrow(expect.objectContaining({ code: 'invalid_config' }))
    const { privateKey } = generateKeyPairSync('ed25519')
    writeFileSync(path, privateKey.export({ type: 'pkcs8', format: 'pem' }))
    expect(open(path).payee).toBe(payeeOf(privateKey))
    expect(readdirSync(parent)).toEqual(['mine.pem'])
  })

  it('is refused when it is another kind of key, broken, or open to others - without a word of it', () => {
    const file = join(dataDir, 'till-key.pem')
    open()
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const secret = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    for (const content of [secret, secret.slice(0, 90), 'c2VjcmV0']) {
      writeFileSync(file, content)
      let thrown: unknown
      try {
        open()
      } catch (error) {
        thrown = error
      }
      expect(thrown).toMatchObject({ code: 'invalid_config' })
      expect(JSON.stringify([thrown, String(thrown), (thrown as Error).cause])).not.toContain(
        secret.split('\n')[1]?.slice(0, 12),
      )
    }
    rmSync(file)
    open()
    chmodSync(file, 0o644)
    expect(() => open()).toThrow(/other users/)
  })
})
