/** Pays invoices on the chain, whatever the till does, and now and then replaces the newest blocks. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Said } from './acknowledged.ts'
import type { Dice } from './dice.ts'
import type { Stage } from './stage.ts'

export type Invoice = Extract<Said, { kind: 'invoiced' }>

export interface PayerCounts {
  payments: number
  reorgs: number
  /** Transactions that a reorganisation took away, and of these, those that were not sent again. */
  dropped: number
  gone: number
}

/** One credit ($0.10) in atomic units: ETH at $2,500, USDC at $1. */
export const ATOMIC_PER_CREDIT = { ETH: 40_000_000_000_000n, USDC: 100_000n } as const
const DEEPEST = 5

export async function pay(
  stage: Pick<Stage, 'chain' | 'token'>,
  dice: Dice,
  invoices: readonly Invoice[],
  stopping: AbortSignal,
): Promise<PayerCounts> {
  const { chain, token } = stage
  const counts = { payments: 0, reorgs: 0, dropped: 0, gone: 0 }
  let recent: { hash: string; raw: string }[] = []
  while (!stopping.aborted) {
    const [first, ...others] = invoices.slice(-6)
    if (first && dice.chance(60)) {
      await payOne(dice.pick([first, ...others]))
    } else if (dice.chance(70)) {
      await chain.mine()
    } else {
      await reorganise()
    }
    await delay(dice.between(20, 120))
  }
  return counts

  async function payOne({ address, rail, amount }: Invoice): Promise<void> {
    // Mostly on its rail; sometimes the right address with the other coin.
    const symbol = dice.chance(90) === rail.endsWith('ETH') ? 'ETH' : 'USDC'
    const whole = rail.endsWith(symbol) && dice.chance(60)
    const value = whole ? BigInt(amount) : BigInt(dice.between(1, 8)) * ATOMIC_PER_CREDIT[symbol]
    const payer = chain.accounts[1]?.address ?? ''
    const hash =
      symbol === 'ETH'
        ? await chain.send({ from: payer, to: address, value })
        : await token.transfer(payer, address, value)
    await chain.mined(hash)
    recent = [...recent.slice(-11), { hash, raw: await chain.rawTransaction(hash) }]
    counts.payments++
  }

  /** What it takes away comes back in the order of its nonces, or not at all. */
  async function reorganise(): Promise<void> {
    await chain.reorg(dice.between(1, DEEPEST))
    counts.reorgs++
    const lost: typeof recent = []
    for (const one of recent) {
      if (!(await chain.rpc('eth_getTransactionReceipt', [one.hash]))) lost.push(one)
    }
    counts.dropped += lost.length
    const back = dice.chance(50)
    // Meanwhile the till may see the chain without them.
    if (lost.length > 0) {
      await chain.mine()
      await delay(dice.between(0, 500))
    }
    if (back) for (const { raw } of lost) await chain.mined(await chain.sendRaw(raw))
    else counts.gone += lost.length
    const gone = new Set(back ? [] : lost)
    recent = recent.filter((one) => !gone.has(one))
  }
}

/** What an invoice's address holds on the chain, in micro-credits, and whether a pack's price has arrived. */
export async function paidOnChain(
  { chain, token }: Pick<Stage, 'chain' | 'token'>,
  { address, rail, amount, pack }: Invoice,
): Promise<{ granted: bigint; discount: bigint }> {
  const held = {
    ETH: BigInt(await chain.rpc<string>('eth_getBalance', [address, 'latest'])),
    USDC: await token.balance(address),
  }
  const micro = (symbol: 'ETH' | 'USDC'): bigint => (held[symbol] * 1_000_000n) / ATOMIC_PER_CREDIT[symbol]
  const onRail = held[rail.endsWith('ETH') ? 'ETH' : 'USDC']
  return {
    granted: micro('ETH') + micro('USDC'),
    // Ten credits for the price of eight: the other two come when that price has arrived.
    discount: pack && onRail >= BigInt(amount) ? 2_000_000n : 0n,
  }
}
