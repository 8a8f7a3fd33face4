/** Server-sent events (HTML Living Standard, "Server-sent events"): what a waiting client is told as it happens. */
import type { Runtime } from '../runtime.ts'

/** Proxies drop connections that stay silent for a minute; clients count on hearing something. */
const KEEP_ALIVE_MS = 15_000

export interface EventStream {
  send(event: string, data: unknown): void
  /** Aborted when the client has gone. */
  readonly signal: AbortSignal
}

/**
 * Answers with a stream that ends when `tell` does. What `tell` throws breaks the stream off, so that its client comes
 * back and is told what is wrong.
 */
export function eventStream(
  { after }: Pick<Runtime, 'after'>,
  tell: (stream: EventStream) => Promise<void>,
): Response {
  const gone = new AbortController()
  const encoder = new TextEncoder()
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      const write = (text: string): void => {
        if (!gone.signal.aborted) controller.enqueue(encoder.encode(text))
      }
      let cancel = (): void => {}
      const keepAlive = (): void => {
        cancel = after(KEEP_ALIVE_MS, () => {
          write(': still here\n\n')
          keepAlive()
        })
      }
      keepAlive()
      const send = (event: string, data: unknown): void =>
        write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
      const telling = async (): Promise<void> => {
        try {
          await tell({ send, signal: gone.signal })
          if (!gone.signal.aborted) controller.close()
        } catch (error) {
          if (!gone.signal.aborted) controller.error(error)
        } finally {
          cancel()
        }
      }
      void telling()
    },
    cancel: () => gone.abort(new Error('The client went away.')),
  })
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      // nginx would hold events back.
      'x-accel-buffering': 'no',
    },
  })
}
