/** What a buyer hears when the seller's configuration is wrong: not what is wrong with it. */
import { BursarError } from '../errors.ts'

/**
 * Runs a buyer's request. The log, and `bursar doctor`, tell the seller the exact reason.
 *
 * @param chain its name, for the message
 * @throws {BursarError} chain_unavailable in place of invalid_config: an endpoint of another chain, another token
 */
export async function forBuyer<T>(chain: string, request: () => Promise<T>): Promise<T> {
  try {
    return await request()
  } catch (thrown) {
    if (!(thrown instanceof BursarError) || thrown.code !== 'invalid_config') throw thrown
    throw new BursarError(
      'chain_unavailable',
      `${chain} cannot be read: the seller's setup of it is wrong.`,
      {
        remedy: 'Pay on another rail, or try again later; the seller finds the reason with bursar doctor.',
        cause: thrown,
      },
    )
  }
}
