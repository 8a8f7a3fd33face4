/**
 * Chainlink's data feeds, read through the node that is configured for a chain anyway: AggregatorV3Interface with
 * latestRoundData, decimals and description. https://docs.chain.link/data-feeds/api-reference
 *
 * All feeds come from the same oracle network, so any number of chains is one source: the first good answer counts.
 */
import { type Address, type PublicClient, parseAbi } from 'viem'
import { PRICE_DECIMALS, type PriceE8 } from '../money.ts'
import { descriptionsOf, FEEDS, type Feed, type Feeds } from './chainlink-feeds.ts'
import { type RateSource, SourceError, type SourceQuote } from './source.ts'

/** An EVM chain on which feeds can be read. */
export interface FeedChain {
  readonly chainId: number
  client(signal?: AbortSignal): PublicClient
}

const aggregator = parseAbi([
  'function description() view returns (string)',
  'function decimals() view returns (uint8)',
  'function latestRoundData() view returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)',
])

/** A round takes a while to be mined once it is due. */
const GRACE_MS = 600_000
const MOST_DECIMALS = 36

export function chainlinkSource(chains: readonly FeedChain[], feeds: Feeds = FEEDS): RateSource {
  /** Decimals of the feeds that were found to be what they should be. */
  const known = new Map<string, number>()
  const feedsOf = (symbol: string) =>
    chains.flatMap((chain) => {
      const feed = feeds[chain.chainId]?.[symbol]
      return feed ? [{ chain, feed }] : []
    })

  async function decimalsOf(client: PublicClient, key: string, symbol: string, address: Address) {
    const found = known.get(key)
    if (found !== undefined) return found
    const [description, decimals] = await Promise.all([
      client.readContract({ address, abi: aggregator, functionName: 'description' }),
      client.readContract({ address, abi: aggregator, functionName: 'decimals' }),
    ])
    if (!descriptionsOf(symbol).includes(description)) throw new SourceError('the contract is another feed')
    if (decimals > MOST_DECIMALS) throw new SourceError('a feed of another shape')
    known.set(key, decimals)
    return decimals
  }

  async function read(
    chain: FeedChain,
    feed: Feed,
    symbol: string,
    signal: AbortSignal,
  ): Promise<SourceQuote> {
    try {
      const client = chain.client(signal)
      const [decimals, round] = await Promise.all([
        decimalsOf(client, `${chain.chainId}:${feed.address}`, symbol, feed.address),
        client.readContract({ address: feed.address, abi: aggregator, functionName: 'latestRoundData' }),
      ])
      return quoteOf(round, decimals, feed)
    } catch (cause) {
      signal.throwIfAborted()
      throw cause instanceof SourceError ? cause : new SourceError('the feed cannot be read', { cause })
    }
  }

  return {
    name: 'chainlink',
    prices: (symbol) => feedsOf(symbol).length > 0,
    async quote(symbol, signal) {
      try {
        return await Promise.any(feedsOf(symbol).map(({ chain, feed }) => read(chain, feed, symbol, signal)))
      } catch (thrown) {
        const [first]: unknown[] = thrown instanceof AggregateError ? thrown.errors : [thrown]
        throw first ?? new SourceError('no feed')
      }
    },
  }
}

type Round = readonly [
  roundId: bigint,
  answer: bigint,
  startedAt: bigint,
  updatedAt: bigint,
  answeredInRound: bigint,
]

/** @throws {SourceError} the round has no answer of its own */
function quoteOf(
  [roundId, answer, , updatedAt, answeredInRound]: Round,
  decimals: number,
  feed: Feed,
): SourceQuote {
  if (answer <= 0n) throw new SourceError('a price of zero or less')
  if (updatedAt === 0n || updatedAt > 99_999_999_999n) throw new SourceError('an unfinished round')
  if (answeredInRound < roundId) throw new SourceError('an answer carried over from an earlier round')
  const priceE8 = toE8(answer, decimals)
  if (priceE8 === 0n) throw new SourceError('a price of zero or less')
  return { priceE8, at: Number(updatedAt) * 1000, maxAgeMs: feed.heartbeatSeconds * 1000 + GRACE_MS }
}

/** Beyond 10^-8 USD it is cut off. */
function toE8(answer: bigint, decimals: number): PriceE8 {
  return decimals <= PRICE_DECIMALS
    ? answer * 10n ** BigInt(PRICE_DECIMALS - decimals)
    : answer / 10n ** BigInt(decimals - PRICE_DECIMALS)
}
