/** Each endpoint of an EVM network as a source of its own. */
import type { Watched } from '../chain.ts'
import type { Source } from '../tips.ts'
import type { EvmNetwork } from './network.ts'
import { openTracer, type Tracer } from './traces.ts'
import { type EvmBlock, type EvmReader, evmReader } from './transfers.ts'

export interface EvmSource extends Source<EvmBlock> {
  /** null: the coin is not accepted, or the configuration wants no traces. */
  readonly tracer: Tracer | null
  reader(watched: Watched, signal: AbortSignal | undefined): EvmReader
}

export function openEvmSources(network: EvmNetwork): EvmSource[] {
  const { id: chain, assets, finalityDepth, rpc, runtime } = network
  const coins = assets.some(({ contract }) => contract === undefined)
  return rpc.endpoints.map((endpoint) => {
    const tracer = coins && network.traces ? openTracer(endpoint, chain, runtime) : null
    const { host, call } = endpoint
    const final = { height: null }
    return {
      host,
      tracer,
      resting: () => endpoint.resting(),
      seesMore: () => tracer?.offered() ?? false,
      reader: (watched, signal) =>
        evmReader({ chain, assets, finalityDepth, call, tracer, final, watched, signal }),
    }
  })
}
