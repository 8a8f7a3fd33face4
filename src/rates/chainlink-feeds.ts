/**
 * Chainlink's USD feeds, as https://docs.chain.link/data-feeds/price-feeds/addresses lists them (standard proxies,
 * by EIP-155 chain id). The heartbeat is the longest time that passes between two rounds, or a little more; a move of
 * the market makes a round sooner. A wrong address cannot misprice: the contract's own description is checked at use.
 */
import type { Address } from 'viem'

export interface Feed {
  readonly address: Address
  readonly heartbeatSeconds: number
}

/** By chain id, then by symbol. */
export type Feeds = Readonly<Record<number, Readonly<Record<string, Feed>>>>

const TWENTY_MINUTES = 1_200
const HOUR = 3_600
const DAY = 86_400

export const FEEDS: Feeds = {
  1: {
    ETH: { address: '0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419', heartbeatSeconds: HOUR },
    BTC: { address: '0xF4030086522a5bEEa4988F8cA5B36dbC97BeE88c', heartbeatSeconds: HOUR },
    USDC: { address: '0x8fFfFfd4AfB6115b954Bd326cbe7B4BA576818f6', heartbeatSeconds: DAY },
    USDT: { address: '0x3E7d1eAB13ad0104d2750B8863b489D65364e32D', heartbeatSeconds: DAY },
  },
  10: {
    ETH: { address: '0x13e3Ee699D1909E989722E753853AE30b17e08c5', heartbeatSeconds: TWENTY_MINUTES },
    BTC: { address: '0xD702DD976Fb76Fffc2D3963D037dfDae5b04E593', heartbeatSeconds: TWENTY_MINUTES },
    POL: { address: '0x22Ba046769b584c3B05530F7c50d0E8638bd71F1', heartbeatSeconds: DAY },
    USDC: { address: '0x16a9FA2FDa030272Ce99B29CF780dFA30361E0f3', heartbeatSeconds: DAY },
    USDT: { address: '0xECef79E109e997bCA29c1c0897ec9d7b03647F5E', heartbeatSeconds: DAY },
  },
  137: {
    ETH: { address: '0xF9680D99D6C9589e2a93a78A04A279e509205945', heartbeatSeconds: HOUR },
    BTC: { address: '0xc907E116054Ad103354f2D350FD2514433D57F6f', heartbeatSeconds: HOUR },
    POL: { address: '0xAB594600376Ec9fD91F8e885dADF0CE036862dE0', heartbeatSeconds: HOUR },
    USDC: { address: '0xfE4A8cc5b5B2366C1B58Bea3858e81843581b2F7', heartbeatSeconds: DAY },
    USDT: { address: '0x0A6513e40db6EB1b165753AD52E80663aeA50545', heartbeatSeconds: DAY },
  },
  8453: {
    ETH: { address: '0x71041dddad3595F9CEd3DcCFBe3D1F4b0a16Bb70', heartbeatSeconds: TWENTY_MINUTES },
    BTC: { address: '0x64c911996D3c6aC71f9b455B1E8E7266BcbD848F', heartbeatSeconds: TWENTY_MINUTES },
    POL: { address: '0x5E988c11a4f92155C30D9fb69Ed75597f712B113', heartbeatSeconds: DAY },
    USDC: { address: '0x7e860098F58bBFC8648a4311b374B1D669a2bc6B', heartbeatSeconds: DAY },
    USDT: { address: '0xf19d560eB8d2ADf07BD6D13ed03e1D11215721F9', heartbeatSeconds: DAY },
  },
  42_161: {
    ETH: { address: '0x639Fe6ab55C921f74e7fac1ee960C0B6293ba612', heartbeatSeconds: DAY },
    BTC: { address: '0x6ce185860a4963106506C203335A2910413708e9', heartbeatSeconds: DAY },
    POL: { address: '0x82BA56a2fADF9C14f17D08bc51bDA0bDB83A8934', heartbeatSeconds: DAY },
    USDC: { address: '0x50834F3163758fcC1Df9973b6e91f0F0F0434aD3', heartbeatSeconds: DAY },
    USDT: { address: '0x3f3f5dF88dC9F13eac63DF89EC16ef6e7E25DdE7', heartbeatSeconds: DAY },
  },
}

/** What a feed may call itself. Polygon's coin was MATIC until it became POL, one for one. */
export function descriptionsOf(symbol: string): readonly string[] {
  return symbol === 'POL' ? ['POL / USD', 'MATIC / USD'] : [`${symbol} / USD`]
}
