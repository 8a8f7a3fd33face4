/** What gives money back to the budget is not believed of one endpoint alone, where there are several. */
import type { Hex } from 'viem'
import type { Endpoint } from '../chains/rpc.ts'
import type { Network } from './purse.ts'

/** What a node says became of a transaction: it has no receipt, or one of these. */
type Outcome = 'none' | 'success' | 'reverted'

/**
 * Whether two endpoints say the same of a transaction (the only one, where there is one), and none anything else. An
 * endpoint that does not answer, or without sense, says nothing.
 */
export async function seconded({ rpc }: Network, hash: Hex, outcome: Outcome): Promise<boolean> {
  const { endpoints } = rpc
  const said = await Promise.all(endpoints.map((endpoint) => askOne(endpoint, hash)))
  const agreeing = said.filter((each) => each === outcome).length
  return agreeing >= Math.min(2, endpoints.length) && said.every((each) => each === null || each === outcome)
}

async function askOne(endpoint: Endpoint, hash: Hex): Promise<Outcome | null> {
  let receipt: unknown
  try {
    receipt = await endpoint.call('eth_getTransactionReceipt', [hash])
  } catch {
    return null
  }
  if (receipt === null) return 'none'
  const status = (receipt as { status?: unknown }).status
  if (status === '0x1') return 'success'
  return status === '0x0' ? 'reverted' : null
}
