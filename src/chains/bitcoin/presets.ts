/** What is known about Bitcoin's networks: genesis blocks, address prefixes (BIP-173), how deep forks go. */
import type { BTC_NETWORK } from '@scure/btc-signer/utils.js'
import { NETWORK, TEST_NETWORK } from '@scure/btc-signer/utils.js'
import type { BitcoinChainConfig } from '../../config-schema.ts'
import type { ConfirmationRows } from '../confirmations.ts'

export interface Preset {
  readonly title: string
  readonly main: boolean
  /** The `chain` that Bitcoin Core's getblockchaininfo names. */
  readonly coreName: string
  readonly genesis: string
  readonly addresses: BTC_NETWORK
  readonly confirmations: ConfirmationRows
  readonly pollMs: number
}

const CONFIRMATIONS: ConfirmationRows = [
  { up_to_usd: '100', blocks: 1 },
  { up_to_usd: '1000', blocks: 2 },
  { up_to_usd: '10000', blocks: 3 },
  { blocks: 6 },
]

export const FINALITY_BLOCKS = 24

export const PRESETS: Readonly<Record<BitcoinChainConfig['network'], Preset>> = {
  mainnet: {
    title: 'Bitcoin',
    main: true,
    coreName: 'main',
    genesis: '000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f',
    addresses: NETWORK,
    confirmations: CONFIRMATIONS,
    pollMs: 10_000,
  },
  testnet: {
    title: 'Bitcoin testnet3',
    main: false,
    coreName: 'test',
    genesis: '000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943',
    addresses: TEST_NETWORK,
    confirmations: CONFIRMATIONS,
    pollMs: 10_000,
  },
  regtest: {
    title: 'Bitcoin regtest',
    main: false,
    coreName: 'regtest',
    genesis: '0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206',
    addresses: { ...TEST_NETWORK, bech32: 'bcrt' },
    confirmations: CONFIRMATIONS,
    pollMs: 500,
  },
}

/** CAIP-2 by way of BIP-122: the first 32 hex digits of the genesis block's hash. */
export function caip2Of({ genesis }: Preset): string {
  return `bip122:${genesis.slice(0, 32)}`
}
