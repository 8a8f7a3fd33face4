import { hex } from '@scure/base'
import { HDKey } from '@scure/bip32'
import { mnemonicToSeedSync } from '@scure/bip39'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openChains } from '../../src/chains/index.ts'
import { fingerprintOf, type KeyKind, parseAccountKey } from '../../src/chains/keys.ts'
import { isWellKnownKey } from '../../src/chains/well-known-keys.ts'
import type { BitcoinChainConfig, ConfigFile, EvmChainConfig } from '../../src/config-schema.ts'
import type { BursarError } from '../../src/errors.ts'
import { systemRuntime } from '../../src/runtime.ts'
import bip32 from '../vectors/bip-32.json' with { type: 'json' }
import bip44 from '../vectors/bip-44-evm.json' with { type: 'json' }
import bip84 from '../vectors/bip-84.json' with { type: 'json' }
import bip86 from '../vectors/bip-86.json' with { type: 'json' }
import { errorOf } from './support.ts'

const VERSIONS = {
  xpub: { private: 0x0488ade4, public: 0x0488b21e },
  ypub: { private: 0x049d7878, public: 0x049d7cb2 },
  zpub: { private: 0x04b2430c, public: 0x04b24746 },
  tpub: { private: 0x04358394, public: 0x043587cf },
  upub: { private: 0x044a4e28, public: 0x044a5262 },
  vpub: { private: 0x045f18bc, public: 0x045f1cf6 },
  Zpub: { private: 0x02aa7a99, public: 0x02aa7ed3 },
} as const
type Prefix = keyof typeof VERSIONS

/** A key that nobody knows, so that it is good for a main network. */
const seed = Uint8Array.from({ length: 32 }, (_, i) => i * 7 + 1)

function account(path: string, prefix: Prefix = 'xpub', from: Uint8Array = seed): HDKey {
  return HDKey.fromMasterSeed(from, VERSIONS[prefix]).derive(path)
}

function parse(text: string, kind: KeyKind = 'evm', main = true) {
  return parseAccountKey({ text, field: 'keys.test', kind, main })
}

function refused(text: string, kind: KeyKind = 'evm', main = true): BursarError {
  const error = errorOf(() => parse(text, kind, main))
  expect(error.code).toBe('invalid_config')
  expect(error.message).toContain('keys.test')
  expect(error.remedy).toBeTruthy()
  return error
}

const evm: EvmChainConfig = {
  family: 'evm',
  chain_id: 31337,
  rpc: ['http://127.0.0.1:1'],
  assets: ['ETH'],
  tokens: {},
}
const bitcoin: BitcoinChainConfig = { family: 'bitcoin', network: 'mainnet', rpc: ['http://127.0.0.1:1'] }

function addresses(keys: ConfigFile['keys'], chain: EvmChainConfig | BitcoinChainConfig, count: number) {
  const [opened] = openChains({ config: { keys, chains: { c: chain } }, runtime: systemRuntime('silent') })
  return Array.from({ length: count }, (_, i) => opened?.recipient(i))
}

describe('derivation', () => {
  it('gives the EVM addresses that wallets show', () => {
    const xpub = HDKey.fromMasterSeed(mnemonicToSeedSync(bip44.mnemonic)).derive(
      bip44.account,
    ).publicExtendedKey
    expect(addresses({ evm: xpub }, evm, 2)).toEqual(bip44.receiving)
  })

  it('takes the receiving branch as well: the same addresses, paths below the key as given', () => {
    const root = HDKey.fromMasterSeed(mnemonicToSeedSync(bip44.mnemonic))
    const branch = root.derive(`${bip44.account}/0`).publicExtendedKey
    expect(addresses({ evm: branch }, evm, 2)).toEqual(
      bip44.receiving.map(({ address, path }) => ({ address, path: path.replace('0/', '') })),
    )
  })

  it('gives the public keys of BIP-84', () => {
    const key = parse(bip84.zpub, 'p2wpkh', false)
    expect([0, 1].map((i) => hex.encode(key.publicKey(i)))).toEqual(bip84.receiving.map((r) => r.publicKey))
  })

  it.each([
    ['BIP-84, p2wpkh', bip84, 'p2wpkh', 'zpub'],
    ['BIP-86, p2tr', bip86, 'p2tr', 'xpub'],
  ] as const)('derives as %s does', (_name, vector, script, prefix) => {
    // The vectors' own key is refused on a main network, so their addresses are compared by their program.
    const root = HDKey.fromMasterSeed(mnemonicToSeedSync(vector.mnemonic), VERSIONS[prefix])
    const xpub = root.derive(vector.account).publicExtendedKey
    const local = addresses(
      { bitcoin: { xpub, script } },
      { ...bitcoin, network: 'regtest', bech32: 'bc' },
      2,
    )
    expect(local).toEqual(vector.receiving.map(({ address, path }) => ({ address, path })))
    expect(xpub).toBe('zpub' in vector ? vector.zpub : vector.xpub)
  })

  it('never gives one address for two indexes', () => {
    const key = parse(account("m/44'/60'/0'").publicExtendedKey)
    fc.assert(
      fc.property(fc.nat(2 ** 31 - 1), fc.nat(2 ** 31 - 1), (a, b) => {
        expect(hex.encode(key.publicKey(a)) === hex.encode(key.publicKey(b))).toBe(a === b)
      }),
      { numRuns: 30 },
    )
  })

  it.each([-1, 2 ** 31, 1.5, Number.NaN])('refuses the index %s', (index) => {
    const key = parse(account("m/44'/60'/0'").publicExtendedKey)
    expect(errorOf(() => key.publicKey(index)).code).toBe('invalid_request')
  })
})

describe('what is accepted', () => {
  it.each([
    ["m/44'/60'/0'", 'evm', 'xpub', true],
    ["m/44'/60'/3'", 'evm', 'xpub', true],
    ["m/44'/60'/0'/0", 'evm', 'xpub', true],
    ["m/44'/60'/0'", 'evm', 'tpub', false],
    ["m/84'/0'/0'", 'p2wpkh', 'xpub', true],
    ["m/84'/0'/0'", 'p2wpkh', 'zpub', true],
    ["m/84'/1'/0'", 'p2wpkh', 'tpub', false],
    ["m/84'/1'/0'", 'p2wpkh', 'vpub', false],
    ["m/84'/0'/0'", 'p2wpkh', 'zpub', false],
    ["m/86'/0'/0'", 'p2tr', 'xpub', true],
    ["m/86'/1'/0'", 'p2tr', 'tpub', false],
  ] as const)('%s for %s as %s (main: %s)', (path, kind, prefix, main) => {
    const node = account(path, prefix)
    const expected = node.depth === 4 ? node.deriveChild(5) : node.deriveChild(0).deriveChild(5)
    expect(parse(`  ${node.publicExtendedKey}\n`, kind, main).publicKey(5)).toEqual(expected.publicKey)
  })

  it('accepts the account key of BIP-32 vector 1', () => {
    const found = bip32.publicKeys.filter(({ xpub }) => {
      try {
        return parse(xpub).path(3) === '0/3'
      } catch {
        return false
      }
    })
    expect(found.map(({ path }) => path)).toEqual(["m/0'/1/2'"])
  })
})

describe('fingerprints', () => {
  it('are the same for each way of writing one key', () => {
    const path = "m/84'/0'/0'"
    const forms = (['xpub', 'zpub', 'tpub', 'vpub'] as const).map((prefix) =>
      parse(account(path, prefix).publicExtendedKey, 'p2wpkh', false),
    )
    expect(new Set(forms.map(({ fingerprint }) => fingerprint)).size).toBe(1)
    const evmForms = ["m/44'/60'/0'", "m/44'/60'/0'/0"].map((p) => parse(account(p).publicExtendedKey))
    expect(new Set(evmForms.map(({ fingerprint }) => fingerprint)).size).toBe(1)
  })

  it('differ between keys, and between kinds', () => {
    const xpubs = ["m/44'/60'/0'", "m/44'/60'/1'", "m/84'/0'/0'"].map((p) => account(p).publicExtendedKey)
    const kinds: KeyKind[] = ['evm', 'p2wpkh', 'p2tr']
    const all = xpubs.flatMap((xpub) => kinds.map((kind) => parse(xpub, kind).fingerprint))
    expect(new Set(all).size).toBe(9)
    for (const fingerprint of all) expect(fingerprint).toMatch(/^[0-9a-f]{40}$/)
  })
})

describe('private keys', () => {
  const prefixes = Object.keys(VERSIONS) as Prefix[]
  const secrets: [string, string][] = [
    ...prefixes.map((p): [string, string] => [
      p.replace('pub', 'prv'),
      account("m/84'/0'/0'", p).privateExtendedKey,
    ]),
    ['BIP-84 zprv', bip84.zprv],
    ['BIP-86 xprv', bip86.xprv],
    ['xprv with a wrong checksum', `${bip86.xprv.slice(0, -1)}1`],
    ['xprv cut short', bip86.xprv.slice(0, 60)],
    ['xprv in a descriptor', `tr([73c5da0a/86'/0'/0']${bip86.xprv}/0/*)`],
    ['a private key under a public version (BIP-32 vector 5)', bip32.invalid[0]?.key ?? ''],
    ['hex', hex.encode(seed)],
    ['0x hex', `0x${hex.encode(seed).toUpperCase()}`],
    ['a 64-byte seed', hex.encode(mnemonicToSeedSync(bip84.mnemonic))],
    ['a recovery phrase', bip84.mnemonic],
    ['a phrase with commas', bip84.mnemonic.replaceAll(' ', ',')],
    ['WIF', bip84.receiving[0]?.wif ?? ''],
  ]

  it.each(secrets)('refuses %s without repeating any of it', (_name, secret) => {
    for (const kind of ['evm', 'p2wpkh', 'p2tr'] as const) {
      const error = refused(secret, kind, false)
      expect(error.message).toMatch(/public keys only/)
      expect(error.remedy).toMatch(/PUBLIC/)
      const said = [error.message, error.remedy, JSON.stringify(error.toProblem()), String(error.stack)].join(
        '\n',
      )
      for (let i = 0; i + 9 <= secret.length; i += 1) {
        const part = secret.slice(i, i + 9)
        // Words of the error itself ("about") are no leak; nine characters of a secret are.
        expect(said.includes(part), part).toBe(false)
      }
      expect(error.cause).toBeUndefined()
    }
  })
})

describe('a public key', () => {
  const root = HDKey.fromMasterSeed(new Uint8Array(32).fill(11))
  it.each([192, 256, 480])('is taken whatever its characters spell: account %i', (number) => {
    const xpub = root.derive(`m/84'/0'/${number}'`).publicExtendedKey
    expect(xpub).toMatch(/prv/i)
    expect(parse(xpub, 'p2wpkh').path(0)).toBe('0/0')
  })
})

describe('what is refused', () => {
  it.each([
    ["m/44'/60'", /depth 2.*expected the account m\/44'\/60'\/0' \(depth 3\)/],
    ["m/44'/60'/0'/1", /depth 4, child 1.*\(depth 4\)/],
    ["m/44'/60'/0'/0/0", /depth 5/],
    ["m/44'/60'/0", /depth 3, child 0;/],
    ['m', /depth 0/],
  ])('the EVM key %s', (path, message) => {
    expect(refused(account(path).publicExtendedKey).message).toMatch(message)
  })

  it('a receiving branch of Bitcoin, whose depth wallets do not export', () => {
    expect(refused(account("m/84'/0'/0'/0").publicExtendedKey, 'p2wpkh').message).toMatch(/m\/84'\/0'\/0'/)
    expect(refused(account("m/86'/0'/0'/0").publicExtendedKey, 'p2tr').message).toMatch(/m\/86'\/0'\/0'/)
  })

  it.each([
    ['tpub', 'evm', /test network.*main network/],
    ['tpub', 'p2wpkh', /test network.*main network/],
    ['vpub', 'p2wpkh', /test network.*main network/],
    ['zpub', 'evm', /Bitcoin key/],
    ['ypub', 'p2wpkh', /nested segwit/],
    ['zpub', 'p2tr', /script is p2tr/],
    ['Zpub', 'p2wpkh', /one key of several/],
  ] as const)('a %s for %s on a main network', (prefix, kind, message) => {
    expect(refused(account("m/84'/0'/0'", prefix).publicExtendedKey, kind).message).toMatch(message)
  })

  it('nested segwit on a test network too', () => {
    expect(refused(account("m/49'/1'/0'", 'upub').publicExtendedKey, 'p2wpkh', false).message).toMatch(
      /nested/,
    )
  })

  it.each(bip32.invalid)('BIP-32 vector 5: $why', ({ key }) => {
    refused(key)
  })

  it('every key with one character changed', () => {
    const good = account("m/44'/60'/0'").publicExtendedKey
    const alphabet = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.constantFrom(...Array.from(alphabet)), (at, letter) => {
        fc.pre(good[at] !== letter)
        refused(good.slice(0, at) + letter + good.slice(at + 1))
      }),
      { numRuns: 50 },
    )
  })

  it.each([
    '',
    'xpub',
    '0x9858EfFD232B4033E47d90003D41EC34EcaEda94',
    'bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu',
  ])('the text %j', (text) => {
    expect(refused(text).remedy).toMatch(/xpub/)
  })
})

describe('well-known test keys', () => {
  const mnemonics = [
    `${'abandon '.repeat(11)}about`,
    `${'abandon '.repeat(23)}art`,
    `${'test '.repeat(11)}junk`,
  ]
  const places = [
    ["m/44'/60'", 'evm'],
    ["m/84'/0'", 'p2wpkh'],
    ["m/86'/0'", 'p2tr'],
  ] as const
  const known = mnemonics.flatMap((mnemonic) =>
    places.flatMap(([path, kind]) =>
      [0, 1, 2].map((n) => [kind, account(`${path}/${n}'`, 'xpub', mnemonicToSeedSync(mnemonic))] as const),
    ),
  )

  it('are refused on a main network, in either form, and taken on a test network', () => {
    expect(known).toHaveLength(27)
    for (const [kind, node] of known) {
      expect(isWellKnownKey(fingerprintOf(node.deriveChild(0), kind))).toBe(true)
      expect(refused(node.publicExtendedKey, kind).message).toMatch(/well-known test mnemonic/)
      if (kind === 'evm') refused(node.deriveChild(0).publicExtendedKey, kind)
      expect(parse(node.publicExtendedKey, kind, false).path(0)).toBe('0/0')
    }
  })

  it('are refused as soon as one configured EVM network is a main network', () => {
    const node = account("m/44'/60'/0'", 'xpub', mnemonicToSeedSync(bip44.mnemonic))
    const { chain_id: _, ...polygon } = { ...evm, assets: ['USDC'] }
    const config = { keys: { evm: node.publicExtendedKey }, chains: { local: evm, polygon } }
    expect(errorOf(() => openChains({ config, runtime: systemRuntime('silent') })).code).toBe(
      'invalid_config',
    )
    expect(
      openChains({ config: { ...config, chains: { local: evm } }, runtime: systemRuntime('silent') }),
    ).toHaveLength(1)
  })
})
