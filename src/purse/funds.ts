/** What the wallet holds on a chain, less what its own open payments may still take. */
import type { Address } from 'viem'
import { BursarError } from '../errors.ts'
import { type Asset, formatDecimal } from '../money.ts'
import { readBalance } from './balance.ts'
import { confirm } from './confirm.ts'
import { openPayments } from './payment.ts'
import type { Network, Order, Purse } from './purse.ts'

/**
 * Checks that the wallet can pay an order and its highest network fee.
 *
 * @param maxFee wei
 * @throws {BursarError} insufficient_funds (what is free, what is needed, where to send it), chain_unavailable
 */
export async function requireFunds(purse: Purse, order: Order, maxFee: bigint): Promise<void> {
  const first = await shortfall(purse, order, maxFee)
  if (!first) return
  // A payment that was mined a moment ago is missing from the balance and still counted as open: look again.
  for (const payment of await openPayments(purse.db, order.network.caip2, purse.wallet.address)) {
    if (payment.state === 'broadcast') await confirm(purse, order.network, payment)
  }
  const second = await shortfall(purse, order, maxFee)
  if (second) throw lacking(order, second, purse.wallet.address)
}

interface Shortfall {
  readonly asset: Asset
  readonly available: bigint
  readonly required: bigint
}

async function shortfall(purse: Purse, order: Order, maxFee: bigint): Promise<Shortfall | null> {
  const { network, asset, amount } = order
  const { native } = network
  const [ofAsset, ofNative] = await free(purse, network, asset)
  const isNative = asset.contract === undefined
  if (!isNative && ofAsset < amount) return { asset, available: ofAsset, required: amount }
  const required = isNative ? amount + maxFee : maxFee
  return ofNative < required ? { asset: native, available: ofNative, required } : null
}

/** Free atomic units of the asset and free wei; the same number twice for the native coin. */
async function free(purse: Purse, network: Network, asset: Asset): Promise<[asset: bigint, native: bigint]> {
  const { address } = purse.wallet
  let ofNative = await readBalance(network, address, network.native)
  let ofAsset = asset.contract === undefined ? ofNative : await readBalance(network, address, asset)
  for (const payment of await openPayments(purse.db, network.caip2, address)) {
    // What is in a block is missing from the balance already, and what was replaced takes nothing any more.
    if (payment.block !== null || payment.reason === 'replaced') continue
    ofNative -= BigInt(payment.max_fee) + (payment.contract === null ? BigInt(payment.amount) : 0n)
    if (payment.contract === asset.contract) ofAsset -= BigInt(payment.amount)
  }
  return asset.contract === undefined ? [ofNative, ofNative] : [ofAsset, ofNative]
}

function lacking(
  { network, asset: paid }: Order,
  { asset, available, required }: Shortfall,
  wallet: Address,
): BursarError {
  const text = (value: bigint) => `${formatDecimal(value, asset.decimals)} ${asset.symbol}`
  const have = available > 0n ? available : 0n
  const needed =
    paid.contract === undefined
      ? `up to ${text(required)}, network fee included`
      : asset.contract === undefined
        ? `up to ${text(required)} for the network fee`
        : `${text(required)}, and ${network.native.symbol} for the network fee`
  return new BursarError(
    'insufficient_funds',
    `The wallet has ${text(have)} free on ${network.id}; this payment needs ${needed}.`,
    {
      remedy: `Send at least ${text(required - have)} to ${wallet} on ${network.id} (${network.caip2}), then pay again.`,
      details: {
        network: network.caip2,
        asset: asset.symbol,
        available_atomic: have.toString(),
        required_atomic: required.toString(),
        address: wallet,
      },
    },
  )
}
