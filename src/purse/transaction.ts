/**
 * The transaction of a payment: what it may cost at most, and its signed bytes. EIP-1559 transactions only: their
 * fee has a ceiling that is known before they are signed.
 */
import {
  type Address,
  encodeFunctionData,
  erc20Abi,
  type Hex,
  keccak256,
  parseAbi,
  serializeTransaction,
  size,
  type TransactionSerializableEIP1559,
} from 'viem'
import { BursarError } from '../errors.ts'
import type { Asset } from '../money.ts'
import { ask, isRevert } from './ask.ts'
import { mustBeOf, type Payment } from './payment.ts'
import type { Network, Order } from './purse.ts'
import type { Wallet } from './wallet.ts'

/** The highest price of a transaction. */
export interface FeeBound {
  readonly gas: bigint
  /** Wei for each unit of gas. */
  readonly maxFeePerGas: bigint
  readonly maxPriorityFeePerGas: bigint
  /** Wei, everything together: gas at its highest price, and a parent chain's part. */
  readonly maxFee: bigint
}

type Transfer = Pick<Order, 'recipient' | 'amount'> & { readonly asset: Pick<Asset, 'contract'> }

/** A plain transfer costs exactly this; anything that runs code gets room for a state that changes meanwhile. */
const PLAIN_GAS = 21_000n

/**
 * The highest fee of a transfer at the present price of gas: twice the base fee lasts for at least five full blocks
 * (EIP-1559 raises it by an eighth each).
 *
 * @throws {BursarError} chain_unavailable; invalid_config: a chain without EIP-1559; invoice_not_payable: the chain
 *   refuses the transfer
 */
export async function boundFee(network: Network, from: Address, transfer: Transfer): Promise<FeeBound> {
  const [block, tip] = await ask(network, (client) =>
    Promise.all([client.getBlock({ blockTag: 'latest' }), client.estimateMaxPriorityFeePerGas()]),
  )
  if (block.baseFeePerGas === null) {
    throw new BursarError(
      'invalid_config',
      `${network.id} has no EIP-1559 fees; the purse needs their ceiling.`,
      {
        remedy: 'Pay on another chain.',
      },
    )
  }
  const gas = await estimateGas(network, from, transfer)
  await requireObedient(network, from, transfer)
  const maxFeePerGas = 2n * block.baseFeePerGas + tip
  const bare: FeeBound = { gas, maxFeePerGas, maxPriorityFeePerGas: tip, maxFee: gas * maxFeePerGas }
  return {
    ...bare,
    maxFee: bare.maxFee + (await parentChainFee(network, unsigned(network, transfer, bare, 0))),
  }
}

/** Signs the transaction of a payment with a nonce. */
export async function signPayment(
  network: Network,
  wallet: Wallet,
  payment: Payment,
  nonce: number,
): Promise<{ raw: Hex; txid: Hex }> {
  mustBeOf(network, payment)
  const transfer = {
    recipient: payment.recipient as Address,
    amount: BigInt(payment.amount),
    asset: payment.contract === null ? {} : { contract: payment.contract },
  }
  const fee = {
    gas: payment.gas,
    maxFeePerGas: BigInt(payment.max_fee_per_gas),
    maxPriorityFeePerGas: BigInt(payment.max_priority_fee_per_gas),
  }
  const raw = await wallet.sign(unsigned(network, transfer, fee, nonce))
  return { raw, txid: keccak256(raw) }
}

function unsigned(
  network: Network,
  { recipient, amount, asset }: Transfer,
  fee: Omit<FeeBound, 'maxFee'>,
  nonce: number,
): TransactionSerializableEIP1559 {
  const { gas, maxFeePerGas, maxPriorityFeePerGas } = fee
  const common = {
    type: 'eip1559',
    chainId: network.chainId,
    nonce,
    gas,
    maxFeePerGas,
    maxPriorityFeePerGas,
  } as const
  if (asset.contract === undefined) return { ...common, to: recipient, value: amount }
  return { ...common, to: asset.contract as Address, value: 0n, data: transferData(recipient, amount) }
}

async function estimateGas(network: Network, account: Address, transfer: Transfer): Promise<bigint> {
  const { recipient, amount, asset } = transfer
  const request =
    asset.contract === undefined
      ? { account, to: recipient, value: amount }
      : { account, to: asset.contract as Address, data: transferData(recipient, amount) }
  const gas = await ask(network, async (client) => {
    try {
      return await client.estimateGas(request)
    } catch (error) {
      if (isRevert(error)) return null
      throw error
    }
  })
  if (gas === null) throw refused(network, 'it would be reverted', 'reverts')
  return gas === PLAIN_GAS ? gas : gas + gas / 4n
}

/**
 * A token may say no without reverting: it answers false, moves nothing, and the transaction counts as a success. Some
 * (USDT on Ethereum) answer nothing, which is a yes.
 */
async function requireObedient(network: Network, account: Address, transfer: Transfer): Promise<void> {
  const { recipient, amount, asset } = transfer
  if (asset.contract === undefined) return
  const data = transferData(recipient, amount)
  const answer = await ask(network, (client) => client.call({ account, to: asset.contract as Address, data }))
  if (answer.data === undefined || BigInt(answer.data) !== 0n) return
  throw refused(network, 'the token would not make it', 'refused_by_token')
}

function refused(network: Network, why: string, reason: string): BursarError {
  return new BursarError('invoice_not_payable', `${network.id} refuses this transfer: ${why}.`, {
    remedy:
      'Check that the token is not paused and neither side is blocked by its issuer; pay on another rail.',
    details: { reason },
  })
}

/** The contract in which OP-stack chains (Base, Optimism) price what they owe to their parent chain. */
const GAS_PRICE_ORACLE: Address = '0x420000000000000000000000000000000000000F'
const oracleAbi = parseAbi([
  'function getL1FeeUpperBound(uint256 unsignedTxSize) view returns (uint256)',
  'function getOperatorFee(uint256 gasUsed) view returns (uint256)',
])

/**
 * OP-stack chains charge for the parent chain's data beside the gas, at a price that the transaction cannot limit:
 * twice its upper bound at present is reserved. Zero on other chains, which have no such contract.
 */
async function parentChainFee(
  network: Network,
  transaction: TransactionSerializableEIP1559,
): Promise<bigint> {
  const bytes = BigInt(size(serializeTransaction(transaction)))
  const read = (functionName: 'getL1FeeUpperBound' | 'getOperatorFee', argument: bigint) =>
    ask(network, async (client) => {
      const data = encodeFunctionData({ abi: oracleAbi, functionName, args: [argument] })
      try {
        const answer = await client.call({ to: GAS_PRICE_ORACLE, data })
        return answer.data === undefined || size(answer.data) < 32 ? null : BigInt(answer.data)
      } catch (error) {
        // Chains before the Isthmus upgrade know no operator fee.
        if (functionName === 'getOperatorFee' && isRevert(error)) return null
        throw error
      }
    })
  const data = await read('getL1FeeUpperBound', bytes)
  if (data === null) return 0n
  return 2n * (data + ((await read('getOperatorFee', transaction.gas ?? 0n)) ?? 0n))
}

function transferData(recipient: Address, amount: bigint): Hex {
  return encodeFunctionData({ abi: erc20Abi, functionName: 'transfer', args: [recipient, amount] })
}
