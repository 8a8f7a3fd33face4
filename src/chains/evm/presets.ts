/**
 * What is known about EVM networks before anyone is asked: chain ids (EIP-155), the coin's ticker, the contracts of
 * the stablecoins as their issuers publish them, how deep forks go and how often to look.
 */
import type { ConfirmationRows } from '../confirmations.ts'

export interface Preset {
  /** The name under `chains` that means this network. */
  readonly name: string
  readonly chainId: number
  readonly title: string
  readonly native: string
  readonly tokens: Readonly<Record<string, { readonly contract: string; readonly decimals: number }>>
  readonly confirmations: ConfirmationRows
  readonly finalityBlocks: number
  /** Some times as many blocks as usually are not yet final: more of them, and finality has stalled. */
  readonly stallBlocks: number
  readonly pollMs: number
}

/** Bridged dollars (Polygon's USDC.e, Arbitrum's, Optimism's) are other tokens and are not listed as USDC. */
const PRESETS: readonly Preset[] = [
  {
    name: 'ethereum',
    chainId: 1,
    title: 'Ethereum',
    native: 'ETH',
    tokens: {
      USDC: { contract: '0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48', decimals: 6 },
      USDT: { contract: '0xdAC17F958D2ee523a2206206994597C13D831ec7', decimals: 6 },
    },
    // Two epochs (64 blocks) finalise in normal times.
    confirmations: [{ up_to_usd: '100', blocks: 6 }, { up_to_usd: '1000', blocks: 12 }, { blocks: 64 }],
    finalityBlocks: 96,
    stallBlocks: 192,
    pollMs: 4_000,
  },
  {
    name: 'polygon',
    chainId: 137,
    title: 'Polygon',
    native: 'POL',
    tokens: {
      USDC: { contract: '0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359', decimals: 6 },
      USDT: { contract: '0xc2132D05D31c914a87C6611C10748AEb04B58e8F', decimals: 6 },
    },
    // Forks of more than a hundred blocks have happened.
    confirmations: [{ up_to_usd: '100', blocks: 16 }, { up_to_usd: '1000', blocks: 64 }, { blocks: 200 }],
    finalityBlocks: 256,
    stallBlocks: 512,
    pollMs: 2_000,
  },
  {
    name: 'base',
    chainId: 8453,
    title: 'Base',
    native: 'ETH',
    tokens: { USDC: { contract: '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913', decimals: 6 } },
    confirmations: [{ up_to_usd: '100', blocks: 5 }, { up_to_usd: '1000', blocks: 30 }, { blocks: 240 }],
    finalityBlocks: 256,
    // Final when their batch is on a final block of Ethereum: two hours is far beyond that.
    stallBlocks: 3_600,
    pollMs: 2_000,
  },
  {
    name: 'arbitrum',
    chainId: 42161,
    title: 'Arbitrum One',
    native: 'ETH',
    tokens: { USDC: { contract: '0xaf88d065e77c8cC2239327C5EDb3A432268e5831', decimals: 6 } },
    // Four blocks a second.
    confirmations: [{ up_to_usd: '100', blocks: 20 }, { up_to_usd: '1000', blocks: 80 }, { blocks: 240 }],
    finalityBlocks: 256,
    stallBlocks: 28_800,
    pollMs: 1_000,
  },
  {
    name: 'optimism',
    chainId: 10,
    title: 'OP Mainnet',
    native: 'ETH',
    tokens: { USDC: { contract: '0x0b2C639c533813f4Aa9D7837CAf62653d097Ff85', decimals: 6 } },
    confirmations: [{ up_to_usd: '100', blocks: 5 }, { up_to_usd: '1000', blocks: 30 }, { blocks: 240 }],
    finalityBlocks: 256,
    stallBlocks: 3_600,
    pollMs: 2_000,
  },
]

/** For networks that are not listed, local ones among them. */
export const UNKNOWN: Pick<Preset, 'native' | 'confirmations' | 'finalityBlocks' | 'pollMs'> = {
  native: 'ETH',
  confirmations: [{ up_to_usd: '100', blocks: 3 }, { up_to_usd: '1000', blocks: 6 }, { blocks: 12 }],
  finalityBlocks: 64,
  pollMs: 1_000,
}

/**
 * Networks that carry real money, by chain id; every other id is a test or local network. BNB, Gnosis, Avalanche,
 * Celo, Linea, Scroll, zkSync and others are here without a preset: they can be configured with their chain id.
 */
const MAIN: ReadonlySet<number> = new Set([
  1, 10, 14, 25, 30, 40, 50, 56, 61, 66, 82, 88, 100, 106, 108, 122, 130, 137, 143, 146, 148, 151, 169, 185,
  196, 204, 232, 239, 250, 252, 255, 288, 291, 295, 314, 321, 324, 360, 369, 388, 480, 592, 690, 747, 988,
  999, 1088, 1101, 1116, 1135, 1284, 1285, 1329, 1514, 1625, 1750, 1868, 1890, 2000, 2020, 2222, 2741, 3637,
  4158, 4200, 4326, 4337, 4663, 5000, 5031, 5464, 6900, 7000, 7700, 8217, 8333, 8453, 9001, 9745, 13_371,
  16_661, 23_294, 32_520, 33_139, 34_443, 42_161, 42_170, 42_220, 42_766, 42_793, 43_111, 43_114, 48_900,
  50_104, 53_935, 55_244, 57_073, 59_144, 60_808, 61_166, 80_094, 81_457, 98_866, 111_188, 167_000, 200_901,
  534_352, 660_279, 747_474, 7_777_777, 21_000_000, 245_022_934, 666_666_666, 728_126_428, 888_888_888,
  1_313_161_554, 1_666_600_000,
])

export function isMainNetwork(chainId: number): boolean {
  return MAIN.has(chainId)
}

export function presetByName(name: string): Preset | undefined {
  return PRESETS.find((preset) => preset.name === name)
}

export function presetById(chainId: number): Preset | undefined {
  return PRESETS.find((preset) => preset.chainId === chainId)
}
