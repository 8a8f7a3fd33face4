import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { parseTransaction, recoverTransactionAddress } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createWallet, openWallet, refuseTestKey, walletAddress } from '../../src/purse/wallet.ts'
import { anvilAccounts } from '../support/anvil.ts'
import { drawWalletKey, seededRuntime } from '../support/chance.ts'
import { type Folder, makeFolder } from './support/fixture.ts'

const runtime = seededRuntime()
const password = 'correct horse battery staple'
let folder: Folder
let made: { address: string; path: string }

beforeAll(async () => {
  folder = makeFolder()
  made = await createWallet(runtime, { path: join(folder.path, 'deep', 'wallet.json'), password })
})
afterAll(() => folder.remove())

const opening = (path: string, secret = password) => openWallet({ keystore: path, password: secret })

describe('a new wallet', () => {
  it('is a keystore that only its owner reads, without the key in clear', () => {
    expect(statSync(made.path).mode & 0o777).toBe(0o600)
    const file = JSON.parse(readFileSync(made.path, 'utf8')) as {
      version: number
      crypto: { kdf: string; cipher: string }
    }
    expect(file).toMatchObject({
      version: 3,
      address: made.address.slice(2).toLowerCase(),
      crypto: { kdf: 'scrypt', cipher: 'aes-128-ctr', kdfparams: { n: 262_144, r: 8, p: 1 } },
    })
  })
  it('opens with its password and signs as its address', async () => {
    const wallet = await opening(made.path)
    expect(wallet.address).toBe(made.address)
    const raw = await wallet.sign({
      type: 'eip1559',
      chainId: 7,
      nonce: 3,
      to: made.address as never,
      gas: 21_000n,
      maxFeePerGas: 9n,
      maxPriorityFeePerGas: 1n,
      value: 5n,
    })
    expect(await recoverTransactionAddress({ serializedTransaction: raw as never })).toBe(made.address)
    expect(parseTransaction(raw)).toMatchObject({ chainId: 7, nonce: 3, value: 5n })
  })
  it('is never written over another file', async () => {
    const before = readFileSync(made.path)
    await expect(createWallet(runtime, { path: made.path, password })).rejects.toMatchObject({
      code: 'conflict',
    })
    expect(readFileSync(made.path)).toEqual(before)
  })
  it('wants a password that cannot be guessed at once', async () => {
    const path = join(folder.path, 'short.json')
    await expect(createWallet(runtime, { path, password: 'seven77' })).rejects.toMatchObject({
      code: 'invalid_request',
    })
    expect(() => statSync(path)).toThrow()
  })
  it('shows its address without a password', async () => {
    expect(await walletAddress({ keystore: made.path, password: 'not asked' })).toBe(made.address)
  })
})

/** The two examples of the Web3 Secret Storage definition (Ethereum wiki), one for each key derivation. */
const VECTORS = {
  pbkdf2: {
    crypto: {
      cipher: 'aes-128-ctr',
      cipherparams: { iv: '6087dab2f9fdbbfaddc31a909735c1e6' },
      ciphertext: '5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46',
      kdf: 'pbkdf2',
      kdfparams: {
        c: 262144,
        dklen: 32,
        prf: 'hmac-sha256',
        salt: 'ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd',
      },
      mac: '517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2',
    },
    id: '3198bc9c-6672-5ab3-d995-4942343ae5b6',
    version: 3,
  },
  scrypt: {
    crypto: {
      cipher: 'aes-128-ctr',
      cipherparams: { iv: '83dbcc02d8ccb40e466191a123791e0e' },
      ciphertext: 'd172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c',
      kdf: 'scrypt',
      kdfparams: {
        dklen: 32,
        n: 262144,
        p: 8,
        r: 1,
        salt: 'ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19',
      },
      mac: '2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097',
    },
    id: '3198bc9c-6672-5ab3-d995-4942343ae5b6',
    version: 3,
  },
}

describe('a keystore of another wallet', () => {
  it.each(Object.entries(VECTORS))('opens: %s', async (name, vector) => {
    const path = join(folder.path, `${name}.json`)
    writeFileSync(path, JSON.stringify(vector))
    const { address } = privateKeyToAccount(
      '0x7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d',
    )
    expect((await opening(path, 'testpassword')).address).toBe(address)
    expect(await walletAddress({ keystore: path, password: 'testpassword' })).toBe(address)
  })
  it('says what is wrong, and repeats nothing', async () => {
    const secret = 'hunter2-hunter2'
    const broken = (name: string, text: string) => {
      const path = join(folder.path, name)
      writeFileSync(path, text)
      return path
    }
    const { pbkdf2 } = VECTORS
    const cases: [string, string][] = [
      [made.path, 'password does not open'],
      [join(folder.path, 'absent.json'), 'ENOENT'],
      [broken('text.json', 'not json'), 'not a Web3 Secret Storage'],
      [
        broken('version.json', JSON.stringify({ ...pbkdf2, version: 1 })),
        'version is missing or has an unexpected form',
      ],
      [
        broken(
          'costly.json',
          JSON.stringify({
            ...VECTORS.scrypt,
            crypto: {
              ...VECTORS.scrypt.crypto,
              kdfparams: { ...VECTORS.scrypt.crypto.kdfparams, n: 2 ** 22, r: 64 },
            },
          }),
        ),
        'crypto.kdfparams',
      ],
    ]
    for (const [path, text] of cases) {
      const error: unknown = await opening(path, secret).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'invalid_config', message: expect.stringContaining(text) })
      expect(inspect(error, { depth: 9 })).not.toContain(secret)
    }
  })
  it('is refused when the address beside the key was changed', async () => {
    const path = join(folder.path, 'moved.json')
    const file = JSON.parse(readFileSync(made.path, 'utf8')) as object
    writeFileSync(path, JSON.stringify({ ...file, address: '00'.repeat(20) }))
    await expect(opening(path)).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining('names the address'),
    })
  })
})

describe('a key from the environment', () => {
  it('opens with and without 0x', async () => {
    const key = drawWalletKey()
    const { address } = privateKeyToAccount(key)
    expect((await openWallet({ private_key: key })).address).toBe(address)
    expect((await openWallet({ private_key: key.slice(2) })).address).toBe(address)
  })
  it.each([
    ['too short', `0x${'ab'.repeat(31)}`],
    ['too long', `0x${'ab'.repeat(33)}`],
    ['no hex', `0x${'zz'.repeat(32)}`],
    ['zero', `0x${'00'.repeat(32)}`],
    ['above the order of the curve', `0x${'ff'.repeat(32)}`],
    ['a mnemonic', 'test test test test test test test test test test test junk'],
  ])('is refused when it is %s, without being repeated', async (_name, key) => {
    const error: unknown = await openWallet({ private_key: key }).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'invalid_config' })
    expect(inspect(error, { depth: 9 })).not.toContain(key.replace(/^0x/, ''))
  })
  it('stays inside the wallet: nothing that prints or serialises it shows it', async () => {
    const key = drawWalletKey()
    const wallet = await openWallet({ private_key: key })
    const shown = inspect(wallet, { depth: 9, showHidden: true }) + JSON.stringify(wallet)
    expect(shown).not.toContain(key.slice(2))
  })
})

describe('a published key', () => {
  it('is refused beside a main network only', () => {
    for (const { address } of anvilAccounts()) {
      expect(() => refuseTestKey(address, ['ethereum'])).toThrow(
        expect.objectContaining({ code: 'invalid_config' }),
      )
      expect(() => refuseTestKey(address, [])).not.toThrow()
    }
    expect(() => refuseTestKey(made.address as never, ['ethereum'])).not.toThrow()
  })
})
