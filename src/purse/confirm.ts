/**
 * Looks a sent payment up on the chain: mined and deep enough, displaced by another transaction with its nonce, or
 * still to be waited for, and then sent again where no node remembers it.
 */
import { type Address, type Hex, TransactionNotFoundError, TransactionReceiptNotFoundError } from 'viem'
import { atomicToUsdCeil } from '../money.ts'
import { ask } from './ask.ts'
import { dueOf, mayBePaid } from './forgotten.ts'
import { type Payment, step } from './payment.ts'
import type { Network, Purse } from './purse.ts'
import { seconded } from './seconded.ts'
import { send } from './send.ts'

interface Receipt {
  readonly block: bigint
  readonly reverted: boolean
  /** Wei. */
  readonly fee: bigint
}

/**
 * To be called in the network's turn, for a payment that is `unknown` or `broadcast`.
 *
 * @throws {BursarError} chain_unavailable, database_unavailable
 */
export async function confirm(purse: Purse, network: Network, payment: Payment): Promise<Payment> {
  const txid = txidOf(payment)
  const tip = await ask(network, (client) => client.getBlockNumber({ cacheTime: 0 }))
  const receipt = await readReceipt(network, txid)
  if (receipt) return mined(purse, network, payment, receipt, tip)
  const counted = await ask(network, (client) =>
    client.getTransactionCount({ address: payment.wallet as Address, blockTag: 'latest' }),
  )
  if (payment.nonce !== null && BigInt(counted) > payment.nonce) {
    return displaced(purse, network, payment, tip)
  }
  const waiting = await forgetBlock(purse, payment)
  const known = await isKnown(network, txid)
  return known && waiting.state === 'broadcast' ? waiting : send(purse, network, waiting)
}

function txidOf({ id, txid }: Payment): Hex {
  if (txid === null) throw new Error(`payment ${id} has no transaction`)
  return txid
}

/**
 * A payment is done when its seller would take it for done. What gives money back to the budget waits until no
 * reorganisation that the purse follows can undo it.
 */
function depthNeeded(network: Network, payment: Payment, { reverted }: Receipt): number {
  return reverted ? network.finalityDepth : network.confirmationsNeeded(payment.amount_usd)
}

/** Blocks from the payment's own to the tip, both counted. */
function depthOf(block: bigint, tip: bigint): bigint {
  return tip - block + 1n
}

async function mined(
  purse: Purse,
  network: Network,
  payment: Payment,
  receipt: Receipt,
  tip: bigint,
): Promise<Payment> {
  const now = purse.runtime.now()
  const deep = depthOf(receipt.block, tip) >= BigInt(depthNeeded(network, payment, receipt))
  if (!deep || (receipt.reverted && !(await seconded(network, txidOf(payment), 'reverted')))) {
    if (payment.state === 'broadcast' && payment.block === receipt.block) return payment
    return step(purse.db, now, payment, {
      state: 'broadcast',
      reason: null,
      block: receipt.block,
      displaced_at: null,
    })
  }
  const feeUsd = atomicToUsdCeil(
    receipt.fee,
    BigInt(payment.native_price_e8),
    Number(payment.native_decimals),
  )
  if (feeUsd > payment.fee_usd) {
    purse.runtime.log.error(
      { payment: payment.id },
      "a parent chain's fee rose above what was reserved for it",
    )
  }
  return step(purse.db, now, payment, {
    state: receipt.reverted ? 'failed' : 'confirmed',
    reason: receipt.reverted ? 'reverted' : null,
    usd: receipt.reverted ? feeUsd : payment.amount_usd + feeUsd,
    block: receipt.block,
    displaced_at: null,
    fee: receipt.fee.toString(),
  })
}

/**
 * Another transaction of this wallet holds the nonce, so this one can never be mined, unless a reorganisation undoes
 * that. Certain once the chain has grown by its depth since we first saw it, and the recipient has nothing: a human may
 * have sent the same payment again at a higher fee, and a node that keeps receipts for some days only shows the same.
 */
async function displaced(purse: Purse, network: Network, payment: Payment, tip: bigint): Promise<Payment> {
  const now = purse.runtime.now()
  if (payment.displaced_at === null) {
    return step(purse.db, now, payment, { displaced_at: tip, block: null })
  }
  if (depthOf(payment.displaced_at, tip) <= BigInt(network.finalityDepth)) return payment
  // At the tip that was seen: behind one URL there may be nodes that lag, which know neither receipt nor balance.
  if (await mayBePaid(network, dueOf(payment), tip)) {
    if (payment.reason === 'replaced') return payment
    purse.runtime.log.warn({ payment: payment.id }, 'a payment was replaced, and its recipient has the money')
    return step(purse.db, now, payment, { reason: 'replaced' })
  }
  if (!(await seconded(network, txidOf(payment), 'none'))) return payment
  return step(purse.db, now, payment, { state: 'failed', reason: 'displaced', usd: 0n })
}

/** A reorganisation may have taken the block away, or what displaced it. */
async function forgetBlock(purse: Purse, payment: Payment): Promise<Payment> {
  if (payment.block === null && payment.displaced_at === null) return payment
  const reason = payment.reason === 'replaced' ? null : payment.reason
  return step(purse.db, purse.runtime.now(), payment, { block: null, displaced_at: null, reason })
}

function readReceipt(network: Network, hash: Hex): Promise<Receipt | null> {
  return ask(network, async (client) => {
    try {
      const receipt = await client.getTransactionReceipt({ hash })
      // OP-stack chains report what the parent chain took beside the gas.
      const { l1Fee, operatorFee } = receipt as {
        l1Fee?: Hex | bigint | null
        operatorFee?: Hex | bigint | null
      }
      return {
        block: receipt.blockNumber,
        reverted: receipt.status === 'reverted',
        fee: receipt.gasUsed * receipt.effectiveGasPrice + BigInt(l1Fee ?? 0) + BigInt(operatorFee ?? 0),
      }
    } catch (error) {
      if (error instanceof TransactionReceiptNotFoundError) return null
      throw error
    }
  })
}

function isKnown(network: Network, hash: Hex): Promise<boolean> {
  return ask(network, async (client) => {
    try {
      await client.getTransaction({ hash })
      return true
    } catch (error) {
      if (error instanceof TransactionNotFoundError) return false
      throw error
    }
  })
}
