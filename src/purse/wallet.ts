/**
 * The key that pays. It lives in this closure and nowhere else: what leaves is an address and signatures. Only the
 * purse's own process imports this module.
 */
import { getAddress, type Hex, isHex, type TransactionSerializableEIP1559 } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import type { PurseConfig } from '../config-schema.ts'
import { BursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import { keystoreAddress, readKeystore, writeKeystore } from './keystore.ts'
import { PUBLISHED } from './published-keys.ts'

export interface Wallet {
  /** EIP-55 checksummed. */
  readonly address: Hex
  /** The signed transaction's bytes, as `eth_sendRawTransaction` takes them. */
  sign(transaction: TransactionSerializableEIP1559): Promise<Hex>
}

type WalletConfig = PurseConfig['wallet']

/**
 * Makes a new random key and writes it, encrypted, to a new file.
 *
 * @throws {BursarError} invalid_request (password too short, path not writable), conflict (the file exists)
 */
export async function createWallet(
  { random }: Pick<Runtime, 'random'>,
  { path, password }: { path: string; password: string },
): Promise<{ address: Hex; path: string }> {
  const privateKey: Hex = `0x${Buffer.from(random(32)).toString('hex')}`
  const { address } = privateKeyToAccount(privateKey)
  await writeKeystore({ path, password, privateKey, address, random })
  return { address, path }
}

/**
 * Opens the wallet that the configuration names.
 *
 * @throws {BursarError} invalid_config: an unreadable keystore, a wrong password, a malformed key. Never repeats it.
 */
export async function openWallet(config: WalletConfig): Promise<Wallet> {
  if ('keystore' in config) {
    const wallet = walletOf(await readKeystore(config.keystore, config.password))
    const named = keystoreAddress(config.keystore)
    if (named !== null && getAddress(named) !== wallet.address) {
      throw new BursarError(
        'invalid_config',
        `The keystore ${config.keystore} names the address ${getAddress(named)}, but its key belongs to ${wallet.address}.`,
        { remedy: 'Restore the file from a backup: it was changed.' },
      )
    }
    return wallet
  }
  return walletOf(config.private_key)
}

/**
 * The address of the configured wallet; asks for no password where the keystore names it in clear.
 *
 * @throws {BursarError} invalid_config
 */
export async function walletAddress(config: WalletConfig): Promise<Hex> {
  const named = 'keystore' in config ? keystoreAddress(config.keystore) : null
  return named === null ? (await openWallet(config)).address : getAddress(named)
}

/**
 * Keys that everybody knows hold no real money for long.
 *
 * @throws {BursarError} invalid_config: a test key beside a main network.
 */
export function refuseTestKey(address: Hex, mainNetworks: readonly string[]): void {
  if (mainNetworks.length === 0 || !PUBLISHED.has(address.toLowerCase())) return
  throw new BursarError(
    'invalid_config',
    `The purse's key is a published test key (${address}), and ${mainNetworks.join(', ')} is a main network: anybody can take what it holds.`,
    { remedy: 'Make a wallet of your own: bursar wallet create.' },
  )
}

function walletOf(key: string): Wallet {
  const hex = key.startsWith('0x') ? key : `0x${key}`
  if (!isHex(hex) || hex.length !== 66) {
    throw malformed(`purse.wallet.private_key is not 32 bytes of hex (64 digits); it has ${hex.length - 2}.`)
  }
  let account: ReturnType<typeof privateKeyToAccount>
  try {
    account = privateKeyToAccount(hex)
  } catch {
    // Not passed on as a cause: the library's error repeats the key.
    throw malformed('The key in purse.wallet is not a valid secp256k1 key: zero, or above the curve order.')
  }
  return { address: account.address, sign: (transaction) => account.signTransaction(transaction) }
}

function malformed(message: string): BursarError {
  return new BursarError('invalid_config', message, {
    remedy:
      'Put the key into the environment variable that purse.wallet.private_key names, or use a keystore.',
  })
}
