/** Whether an EVM address has a past. */
import { padHex } from 'viem'
import type { Asset } from '../../money.ts'
import type { Runtime } from '../../runtime.ts'
import { type Rpc, RpcError } from '../rpc.ts'

export interface HasHistory {
  readonly rpc: Rpc
  readonly runtime: Pick<Runtime, 'sleep'>
  readonly assets: readonly Asset[]
  readonly address: string
  readonly signal: AbortSignal | undefined
}

/** A node that replaces its latest block may fail to read it, for a moment. */
const ATTEMPTS = 3
const PAUSE_MS = 200
/** The selector of `balanceOf(address)` (ERC-20). */
const BALANCE_OF = '0x70a08231'

/**
 * It has sent a transaction, has code, or holds the coin or an accepted token. An address that was paid and emptied
 * by someone else's hand (a permit, EIP-2612) looks new: a node cannot tell without reading the whole chain.
 */
export async function hasEvmHistory(given: HasHistory): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await look(given)
    } catch (error) {
      if (!(error instanceof RpcError) || attempt === ATTEMPTS) throw error
    }
    await given.runtime.sleep(PAUSE_MS, given.signal)
  }
}

async function look({ rpc, assets, address, signal }: HasHistory): Promise<boolean> {
  const ask = (method: string, ...params: unknown[]) => rpc.call(method, [...params, 'latest'], signal)
  const data = `${BALANCE_OF}${padHex(address as `0x${string}`, { size: 32 }).slice(2)}`
  const answers = await Promise.all([
    ask('eth_getTransactionCount', address),
    ask('eth_getBalance', address),
    ask('eth_getCode', address),
    ...assets.flatMap(({ contract }) =>
      contract === undefined ? [] : [ask('eth_call', { to: contract, data })],
    ),
  ])
  return answers.some((answer) => !isZero(answer))
}

/** @throws {TypeError} not a number: it must look neither new nor used */
function isZero(answer: unknown): boolean {
  if (typeof answer !== 'string' || !/^0x[0-9a-f]*$/i.test(answer)) throw new TypeError('not a number')
  return answer === '0x' || BigInt(answer) === 0n
}
