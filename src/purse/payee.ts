/**
 * Reads what an invoice asks for and whether this purse pays such a thing at all. Everything comes from the signed
 * payload, and what the payload says of networks and contracts must equal the purse's own configuration.
 */
import { type Address, getAddress, isAddress, isAddressEqual, maxUint256, zeroAddress } from 'viem'
import { splitRail } from '../chains/chain.ts'
import { BursarError, invalid } from '../errors.ts'
import type { Asset } from '../money.ts'
import { type SignedInvoice, type SignedPayload, verifyInvoice } from '../signed-invoice.ts'
import type { Network, Order, Payee } from './purse.ts'

/** Time that a transaction needs to reach a block: with less left, the rate would be lost on the way. */
export const EXPIRY_MARGIN_MS = 10_000

interface Known {
  readonly payees: readonly Payee[]
  readonly networks: readonly Network[]
}

/**
 * Verifies a signed invoice and resolves it against the purse's own payees and networks. Pure; does not look at the
 * time, because a repeat of an old request is still answered.
 *
 * @throws {BursarError} invalid_request (altered, malformed), unknown_payee, invoice_not_payable (a network, token
 *   or recipient that this purse does not pay)
 */
export function readOrder({ payees, networks }: Known, signed: SignedInvoice): Order {
  const payload = verifyInvoice(signed)
  const payee = payees.find(({ key }) => key === payload.payee)
  if (!payee) throw unknownPayee(payload.payee)
  const network = networks.find(({ caip2 }) => caip2 === payload.network)
  if (!network) {
    throw notPayable(
      `The invoice is payable on the network ${payload.network}, on which this purse does not pay.`,
      networks,
    )
  }
  const asset = assetOf(network, payload, networks)
  return {
    payee,
    invoice: payload.invoice,
    rail: payload.rail,
    network,
    asset,
    recipient: recipientOf(payload, asset),
    amount: amountOf(payload),
    expiresAt: payload.expires_at,
    payload: signed.payload,
    signature: signed.signature,
  }
}

/** @throws {BursarError} invoice_not_payable: its rate has ended, or will before a transaction is mined. */
export function requireTime(order: Pick<Order, 'invoice' | 'expiresAt'>, now: number): void {
  if (order.expiresAt - now >= EXPIRY_MARGIN_MS) return
  const ended = order.expiresAt <= now
  throw new BursarError(
    'invoice_not_payable',
    `The rate of invoice ${order.invoice} ${ended ? 'ended' : 'ends'} at ${new Date(order.expiresAt).toISOString()}${ended ? '' : ', too soon for a payment to arrive'}.`,
    { remedy: 'Create a new invoice and pay that one.', details: { reason: 'expired' } },
  )
}

function assetOf(network: Network, payload: SignedPayload, networks: readonly Network[]): Asset {
  const asset = network.assets.find(({ contract }) => sameContract(contract, payload.contract))
  const { symbol } = splitRail(payload.rail)
  if (!asset) {
    const what = payload.contract === null ? 'its native coin' : `the token ${payload.contract.slice(0, 60)}`
    throw notPayable(
      `The invoice asks for ${what} on ${network.caip2}, which is none of the assets that this purse pays with.`,
      networks,
    )
  }
  // A rail that says one thing and pays in another would mislead whoever reads it.
  if (asset.symbol !== symbol) {
    throw notPayable(
      `The invoice's rail names ${symbol.slice(0, 20)}, but its contract is this purse's ${asset.symbol}.`,
      networks,
    )
  }
  return asset
}

function sameContract(own: string | undefined, asked: string | null): boolean {
  if (own === undefined || asked === null) return own === undefined && asked === null
  return isAddress(asked, { strict: false }) && isAddressEqual(own as Address, asked)
}

function recipientOf({ recipient }: SignedPayload, asset: Asset): Address {
  // Strict: a mixed-case address whose EIP-55 checksum is wrong has been mistyped.
  if (!isAddress(recipient)) {
    throw invalid("The invoice's recipient is not an EVM address, or its EIP-55 checksum is wrong.", {
      remedy: 'Fetch the invoice again; if it stays so, tell the seller.',
    })
  }
  const burnt = [zeroAddress, asset.contract].some(
    (address) => address !== undefined && isAddressEqual(recipient, address as Address),
  )
  if (burnt) {
    throw new BursarError(
      'invoice_not_payable',
      `Money sent to ${getAddress(recipient)} is lost: it is the zero address or the token itself.`,
      { remedy: 'Do not pay this invoice; tell the seller.', details: { reason: 'recipient' } },
    )
  }
  return getAddress(recipient)
}

function amountOf({ amount }: SignedPayload): bigint {
  const value = BigInt(amount)
  if (value > maxUint256) throw invalid('The amount of the invoice is larger than any EVM transfer can be.')
  return value
}

function unknownPayee(key: string): BursarError {
  return new BursarError('unknown_payee', `This purse does not know the payee ${key}.`, {
    remedy: `If a human has checked that this key is the seller's, they add {"name": "...", "key": "${key}"} to purse.payees in the purse's bursar.config.json and restart the purse. An agent cannot do that.`,
    details: { payee: key },
  })
}

function notPayable(message: string, networks: readonly Network[]): BursarError {
  const own = networks.flatMap(({ id, caip2, assets }) =>
    assets.map(({ symbol }) => `${id}:${symbol} (${caip2})`),
  )
  return new BursarError('invoice_not_payable', message, {
    remedy:
      own.length > 0
        ? `Create an invoice on a rail that this purse pays: ${own.join(', ')}.`
        : "Add an EVM chain to `chains` in the purse's configuration.",
    details: { reason: 'rail' },
  })
}
