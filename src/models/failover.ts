/**
 * Asks a model's upstreams one after the other, as long as the one before can have charged nothing: it was never
 * reached, or it refused the call because it is busy. Whatever was sent and then lost is never sent again.
 */
import type { CallLabels, Runtime } from '../runtime.ts'
import { type Model, placed } from './catalogue.ts'
import type { Circuit } from './circuit.ts'
import type { Ending } from './ending.ts'

export interface FailoverContext {
  readonly runtime: Runtime
  /** Absent: nothing is remembered from one call to the next. */
  readonly circuit?: Circuit | undefined
}

const OUTCOMES: Readonly<Record<Ending['kind'], CallLabels['outcome']>> = {
  answered: 'answered',
  forwarded: 'answered',
  refused: 'refused',
  unreached: 'unreached',
  lost: 'lost',
}

/** Sends the call to one upstream, to be over by then. Never rejects. */
export type Send<T> = (place: Model, deadlineMs: number) => Promise<T>

/**
 * @param deadlineMs for all of them together.
 * @returns the last one's end, and which it was.
 */
export async function askInTurn<T extends { readonly ending: Ending }>(
  { runtime, circuit }: FailoverContext,
  model: Model,
  deadlineMs: number,
  send: Send<T>,
): Promise<{ readonly place: Model; readonly result: T }> {
  const until = runtime.now() + deadlineMs
  const untried = [...placed(model)]
  for (let left = deadlineMs; ; left = until - runtime.now()) {
    const place = takeNext(circuit, untried, runtime.now())
    const ended = runtime.metrics?.startCall()
    const result = await send(place, left)
    const elsewhere = reasonToMove(circuit, place, result.ending, runtime.now())
    const last = elsewhere === null || untried.length === 0 || runtime.now() >= until
    ended?.({
      model: place.id,
      upstream: place.upstream.name,
      outcome: last ? OUTCOMES[result.ending.kind] : 'passed_over',
    })
    if (last) return { place, result }
    runtime.log.warn(
      { model: place.id, upstream: place.upstream.name, reason: elsewhere },
      'An upstream did not take a call; the next one is asked.',
    )
  }
}

/** The first one that does not rest; the first one, where all do. */
function takeNext(circuit: Circuit | undefined, untried: Model[], now: number): Model {
  const awake = untried.length > 1 ? untried.findIndex((place) => circuit?.admits(place, now) ?? true) : 0
  const [place] = untried.splice(Math.max(awake, 0), 1)
  if (!place) throw new Error('A model has at least one upstream.')
  return place
}

/** Why another upstream may be asked; null when none may. */
function reasonToMove(
  circuit: Circuit | undefined,
  place: Model,
  ending: Ending,
  now: number,
): string | null {
  if (ending.kind === 'unreached') {
    // Its caller has gone, or the till stops, which says nothing about the upstream.
    if (ending.why === 'abandoned' || ending.why === 'stopped') return null
    circuit?.unreached(place, now)
    return ending.why
  }
  circuit?.reached(place)
  if (ending.kind !== 'refused' || !ending.busy) return null
  circuit?.busy(place, ending.busy, now)
  return `status ${ending.status}`
}
