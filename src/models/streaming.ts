/** A streamed answer on its way through: whole frames are passed on, each looked at once for what it used. */
import type { TokenCounts } from '../credits/prices.ts'
import { parseObject } from './answer.ts'
import type { Ending } from './ending.ts'
import type { StreamMeter, StreamState } from './endpoints/endpoint.ts'
import type { Exchanged, LostReason } from './exchange.ts'
import { createFrames, dataOf } from './frames.ts'

/** Who asked, and is given the answer as it comes. */
export interface Client {
  /** Begins a streamed answer. */
  start(headers: Readonly<Record<string, string>>): void
  /** False: it takes no more now; `onDrain` tells when it does. */
  write(chunk: Buffer): boolean
  onDrain(resume: () => void): void
  gone(): boolean
  /** Told once: it has gone, or will be sent away. Until it has gone it is given what still comes. */
  onGone(left: (why: 'abandoned' | 'stopped') => void): void
}

export interface Stream {
  /** False pauses the upstream. */
  data(chunk: Buffer): boolean
  /** The client takes more. */
  drained(): void
  /** Something arrived that cannot be metered or passed on. */
  broken(): LostReason | null
  end(ended: Exchanged): Exclude<Ending, { kind: 'answered' }>
}

/** A frame is one event, a stream one answer; none that is honest comes near. */
const MAX_FRAME_BYTES = 32 * 1024 * 1024
const MAX_STREAM_BYTES = 256 * 1024 * 1024

/** @param keep takes what was passed on, too. */
export function createStream(
  client: Client,
  meter: StreamMeter,
  keep: ((chunk: Buffer) => void) | null,
): Stream {
  const frames = createFrames()
  let size = 0
  let paused = false
  let broken: LostReason | null = null

  function pass(chunk: Buffer): void {
    keep?.(chunk)
    if (!client.gone() && !client.write(chunk)) paused = true
  }

  /** The bytes as they came, unless something in between was hidden. */
  function passOn(complete: readonly string[], chunk: Buffer): void {
    const passed = complete.filter((frame) => {
      if (broken) return false
      const verdict = meter.read(frame)
      if (verdict === 'failed') broken = 'upstream_failed'
      return verdict === 'pass'
    })
    const text = passed.join('')
    if (text === '') return
    pass(
      text.length === chunk.length && passed.length === complete.length && frames.pending() === 0
        ? chunk
        : Buffer.from(text, 'latin1'),
    )
  }

  return {
    broken: () => broken,
    data(chunk) {
      size += chunk.length
      passOn(frames.add(chunk), chunk)
      if (frames.pending() > MAX_FRAME_BYTES || size > MAX_STREAM_BYTES) broken ??= 'answer_too_large'
      return !paused || client.gone()
    },
    drained() {
      paused = false
    },
    end(ended) {
      // The last frame may lack its blank line. One that was cut off is nothing, and an error event would stick to it.
      const rest = frames.rest()
      if (ended.kind === 'complete' && isWhole(rest)) passOn([`${rest}\n\n`], NOTHING)
      return endingOf(ended, meter.state(), broken, client.gone() || paused)
    },
  }
}

const NOTHING = Buffer.alloc(0)

function isWhole(frame: string): boolean {
  // A carriage return may be all that is left of its line end.
  const data = dataOf(frame).trimEnd()
  return data === '[DONE]' || parseObject(data) !== null
}

/**
 * What a stream that has ended counts as. A fault of the upstream leaves what it reported; a caller that left, or read
 * no further, has what it was given.
 */
function endingOf(
  ended: Exchanged,
  state: StreamState,
  broken: LostReason | null,
  left: boolean,
): Exclude<Ending, { kind: 'answered' }> {
  const { complete, usage, outputBytes, code, requestId } = state
  if (broken === 'upstream_failed' && outputBytes === 0 && usage === null) {
    return { kind: 'refused', status: 200, code, requestId }
  }
  if (broken === null && (complete || (left && usage !== null))) {
    return { kind: 'forwarded', usage, outputBytes, requestId }
  }
  const why = broken ?? (left ? 'abandoned' : ended.kind === 'lost' ? ended.why : 'disconnect')
  const known: TokenCounts | null = usage ?? state.input
  return why === 'abandoned' && outputBytes > 0
    ? { kind: 'lost', why, usage: known, outputBytes, requestId }
    : { kind: 'lost', why, usage: known, requestId }
}
