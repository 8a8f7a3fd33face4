/**
 * Coins that contracts pass on (internal transfers), from the traces of a block: geth's debug_traceBlockByHash with
 * its callTracer, or the older trace_block of Parity, which others kept. Which of them an endpoint offers, if any,
 * is found out by asking.
 *
 * A frame moves coins when it and every frame around it succeeded and it is a CALL with a value, or a SELFDESTRUCT.
 * DELEGATECALL and CALLCODE show the value of the frame around them and move nothing; STATICCALL has none; a CREATE
 * pays the contract that it makes, which no address of an extended key is. The outermost frame is the transaction
 * itself and is read from there.
 */
import { getAddress } from 'viem'
import type { Runtime } from '../../runtime.ts'
import { type Endpoint, RpcError } from '../rpc.ts'

/** One internal transfer. */
export interface Frame {
  readonly txid: string
  /** Its place in the call tree, such as `0.2`: see `pathsOf`. */
  readonly path: string
  readonly to: string
  readonly amount: bigint
}

export type TraceMethod = 'debug_traceBlockByHash' | 'trace_block'

/** The traces of one endpoint. */
export interface Tracer {
  /** As far as is known: it changes when the endpoint is asked. */
  offered(): boolean
  /** What the endpoint offers, asked about this block. */
  method(block: TracedBlock, signal?: AbortSignal): Promise<TraceMethod | null>
  /** Internal transfers in a block to addresses that `wanted` accepts; null: the endpoint does not trace it. */
  framesIn(
    block: TracedBlock,
    wanted: (address: string) => boolean,
    signal?: AbortSignal,
  ): Promise<Frame[] | null>
}

export interface TracedBlock {
  readonly height: number
  readonly hash: string
  readonly txids: readonly string[]
}

/** An endpoint without traces is asked again after this: a node may be set up, or a plan paid for. */
const ASK_AGAIN_MS = 600_000
/** Below this stand precompiled contracts; some nodes list calls of them, others leave them out. */
const PRECOMPILES = 0x1000n

const METHODS: readonly TraceMethod[] = ['debug_traceBlockByHash', 'trace_block']
/** JSON-RPC: no such method, or (EIP-1474) not supported. Providers use other codes and words for "not in your plan". */
const NO_METHOD: ReadonlySet<number> = new Set([-32601, -32004])
const NO_METHOD_TEXT = /\bmethod\b|\b(tier|plan|subscription)\b|not (available|supported|enabled|allowed)/i

/** The outermost frame of each transaction. */
type Calls = ReadonlyMap<string, Call>

/** A frame of either form, as far as it is needed. */
interface Call {
  readonly type: string
  readonly to: string | undefined
  readonly value: string | undefined
  readonly failed: boolean
  readonly calls: readonly Call[]
}

export function openTracer(endpoint: Endpoint, chain: string, runtime: Runtime): Tracer {
  let known: TraceMethod | null = null
  let deniedAt: number | null = null

  async function ask(
    method: TraceMethod,
    block: TracedBlock,
    signal?: AbortSignal,
  ): Promise<Calls | 'refused' | 'not offered'> {
    try {
      return method === 'trace_block'
        ? parityCalls(await endpoint.call(method, [`0x${block.height.toString(16)}`], signal), block)
        : gethCalls(await endpoint.call(method, [block.hash, { tracer: 'callTracer' }], signal), block)
    } catch (error) {
      if (!(error instanceof RpcError)) throw error
      return NO_METHOD.has(error.code) || NO_METHOD_TEXT.test(error.message) ? 'not offered' : 'refused'
    }
  }

  async function callsIn(block: TracedBlock, signal?: AbortSignal): Promise<Calls | null> {
    if (deniedAt !== null && runtime.now() - deniedAt < ASK_AGAIN_MS) return null
    let offered = false
    for (const method of known === null ? METHODS : [known]) {
      const answer = await ask(method, block, signal)
      if (answer === 'not offered') continue
      offered = true
      if (answer === 'refused') continue
      known = method
      return answer
    }
    const facts = { chain, endpoint: endpoint.host, height: block.height }
    if (offered) {
      // It says little about the next one: the state of this one may be too old.
      const text = 'A block could not be traced: payments by contracts in it have to be claimed.'
      runtime.log.warn({ event: 'block_untraced', ...facts }, text)
    } else {
      const text = 'The endpoint offers no block traces: payments by contracts have to be claimed.'
      runtime.log.info({ event: 'traces_not_offered', ...facts }, text)
      deniedAt = known === null ? runtime.now() : null
      known = null
    }
    return null
  }

  return {
    offered: () => known !== null,
    async method(block, signal) {
      deniedAt = null
      await callsIn(block, signal)
      return known
    },
    async framesIn(block, wanted, signal) {
      const calls = await callsIn(block, signal)
      if (calls === null) return null
      return [...calls].flatMap(([txid, root]) => framesOf(txid, root, wanted))
    },
  }
}

function framesOf(txid: string, root: Call, wanted: (address: string) => boolean): Frame[] {
  const frames: Frame[] = []
  walk(root, '')
  return frames

  function walk(call: Call, path: string): void {
    // What a failed frame did, and all that was done within it, did not happen.
    if (call.failed) return
    if (path !== '' && movesCoins(call) && call.to !== undefined && BigInt(call.value ?? 0) > 0n) {
      const to = getAddress(call.to)
      if (wanted(to)) frames.push({ txid, path, to, amount: BigInt(call.value ?? 0) })
    }
    for (const [place, inner] of pathsOf(call)) walk(inner, path === '' ? `${place}` : `${path}.${place}`)
  }
}

function movesCoins({ type }: Call): boolean {
  return type === 'CALL' || type === 'SELFDESTRUCT'
}

/**
 * The calls that a frame made, numbered from 0 in their order. Calls of precompiled contracts are not counted, so
 * that a payment has the same place at nodes that list them and at nodes that do not.
 */
function pathsOf({ calls }: Call): [number, Call][] {
  return calls.filter(({ to }) => to === undefined || BigInt(to) >= PRECOMPILES).map((call, i) => [i, call])
}

/* What nodes answer, as far as it is read. Malformed answers throw when they are converted. */
interface GethFrame {
  readonly type: string
  readonly to?: string
  readonly value?: string
  readonly error?: string
  readonly calls?: readonly GethFrame[]
}
interface GethTrace {
  readonly txHash?: string
  readonly result?: GethFrame
  readonly error?: string
}

/** `refused`: not every transaction is among them, which is another thing than one without payments. */
function gethCalls(answer: unknown, { txids }: TracedBlock): Calls | 'refused' {
  if (!Array.isArray(answer)) return 'refused'
  const calls = new Map<string, Call>()
  for (const [i, trace] of (answer as GethTrace[]).entries()) {
    const txid = trace.txHash ?? txids[i]
    if (trace.result && txid !== undefined) calls.set(txid, gethCall(trace.result))
  }
  return txids.every((txid) => calls.has(txid)) ? calls : 'refused'
}

function gethCall({ type, to, value, error, calls = [] }: GethFrame): Call {
  if (typeof type !== 'string') throw new TypeError('not a frame')
  return { type: type.toUpperCase(), to, value, failed: error !== undefined, calls: calls.map(gethCall) }
}

interface ParityTrace {
  readonly type: string
  readonly action: {
    readonly callType?: string
    readonly to?: string
    readonly value?: string
    /** Of a self-destruct. */
    readonly refundAddress?: string
    readonly balance?: string
  }
  readonly error?: string | null
  readonly blockHash: string
  readonly traceAddress: readonly number[]
  /** null: the block's reward. */
  readonly transactionHash?: string | null
}

function parityCalls(answer: unknown, { hash, txids }: TracedBlock): Calls | 'refused' {
  if (!Array.isArray(answer)) return 'refused'
  const traces = (answer as ParityTrace[]).filter(
    ({ transactionHash }) => typeof transactionHash === 'string',
  )
  if (traces.some(({ blockHash }) => blockHash !== hash)) return 'refused'
  const byTransaction = Map.groupBy(traces, ({ transactionHash }) => transactionHash ?? '')
  if (txids.some((txid) => !byTransaction.has(txid))) return 'refused'
  return new Map([...byTransaction].map(([txid, own]) => [txid, parityTree(own)]))
}

function parityTree(traces: readonly ParityTrace[]): Call {
  const built = new Map<string, Call & { readonly calls: Call[] }>()
  const inOrder = traces.toSorted((a, b) => compareAddresses(a.traceAddress, b.traceAddress))
  for (const trace of inOrder) {
    const call = { ...parityCall(trace), calls: [] }
    built.set(trace.traceAddress.join('.'), call)
    if (trace.traceAddress.length === 0) continue
    const parent = built.get(trace.traceAddress.slice(0, -1).join('.'))
    if (!parent) throw new TypeError('a trace without the one around it')
    parent.calls.push(call)
  }
  const root = built.get('')
  if (!root) throw new TypeError('a transaction without its own trace')
  return root
}

function parityCall({ type, action, error }: ParityTrace): Omit<Call, 'calls'> {
  const failed = typeof error === 'string'
  if (type === 'suicide' || type === 'selfdestruct') {
    return { type: 'SELFDESTRUCT', to: action.refundAddress, value: action.balance, failed }
  }
  const kind = type === 'call' ? (action.callType ?? 'call') : type
  return { type: kind.toUpperCase(), to: action.to, value: action.value, failed }
}

function compareAddresses(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i += 1) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}
