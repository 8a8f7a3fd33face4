/**
 * The load: connections that each ask, read the whole answer and ask again. Raw sockets, and answers are looked at no
 * more than needed, so that it costs less than what it measures. A process of its own, told over IPC what to do.
 */
import { connect, type Socket } from 'node:net'

export interface Job {
  readonly port: number
  readonly connections: number
  readonly warmUpMs: number
  readonly ms: number
  /** Ends early after this many answers. */
  readonly most?: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly streamed: boolean
}

export interface Measured {
  /** Answers within the time that is measured. */
  readonly answers: number
  readonly seconds: number
  /** Every good answer, also while warming up and while ending. */
  readonly total: number
  readonly failed: number
  /** The first wrong answer, for whoever looks for the reason. */
  readonly failure: string | null
  /** Microseconds from the request to the end of the answer. */
  readonly p50: number
  readonly p99: number
  /** Microseconds to the first byte of the answer's body. */
  readonly firstByteP50: number
}

const HEAD_END = '\r\n\r\n'
/** A connection that is silent for so long will never answer. */
const PATIENCE_MS = 20_000
const LAST_CHUNK = '\r\n0\r\n\r\n'

function ask(job: Job): Promise<Measured> {
  const request = Buffer.from(requestOf(job))
  const began = performance.now()
  const from = began + job.warmUpMs
  const until = from + job.ms
  const whole: number[] = []
  const first: number[] = []
  let total = 0
  let failed = 0
  let failure: string | null = null
  let open = job.connections
  const { promise, resolve } = Promise.withResolvers<Measured>()

  function ended(): void {
    open -= 1
    if (open > 0) return
    resolve({
      answers: whole.length,
      seconds: (Math.min(performance.now(), until) - from) / 1000,
      total,
      failed,
      failure,
      p50: quantile(whole, 0.5),
      p99: quantile(whole, 0.99),
      firstByteP50: quantile(first, 0.5),
    })
  }

  function wrong(text: string): void {
    failed += 1
    failure ??= text.slice(0, 1000)
  }

  function run(socket: Socket): void {
    let text = ''
    let asked = 0
    let firstByte = 0
    let bodyAt = -1
    let length: number | null = null
    const next = (): void => {
      if (performance.now() >= until || total >= (job.most ?? Infinity)) {
        asked = 0
        socket.end()
        return
      }
      text = ''
      firstByte = 0
      bodyAt = -1
      asked = performance.now()
      socket.write(request)
    }
    socket.on('connect', next)
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (bodyAt === -1) {
        const headEnd = text.indexOf(HEAD_END)
        if (headEnd === -1) return
        bodyAt = headEnd + HEAD_END.length
        length = lengthOf(text.slice(0, headEnd))
      }
      if (firstByte === 0 && text.length > bodyAt) firstByte = performance.now()
      // One answer at a time: it ends with its last chunk, or has the length that it says.
      if (length === null ? !text.endsWith(LAST_CHUNK) : text.length < bodyAt + length) return
      const now = performance.now()
      if (isGood(text, job.streamed)) {
        total += 1
        if (asked >= from && now <= until) {
          whole.push(now - asked)
          first.push(firstByte - asked)
        }
      } else wrong(text)
      next()
    })
    socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error('no answer')))
    socket.on('error', (error) => wrong(String(error)))
    socket.on('end', () => {
      if (asked !== 0) wrong(`closed while answering: ${text}`)
    })
    socket.on('close', ended)
  }

  for (let n = 0; n < job.connections; n++) {
    run(connect({ port: job.port, host: '127.0.0.1', noDelay: true }))
  }
  return promise
}

function requestOf({ path, port, headers, body }: Job): string {
  const all = {
    host: `127.0.0.1:${port}`,
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    ...headers,
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`)
  return [`POST ${path} HTTP/1.1`, ...lines, '', body].join('\r\n')
}

function lengthOf(head: string): number | null {
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
  return length === undefined ? null : Number(length)
}

function isGood(text: string, streamed: boolean): boolean {
  return text.startsWith('HTTP/1.1 200') && text.includes(streamed ? 'data: [DONE]' : '"usage":{')
}

function quantile(values: number[], q: number): number {
  values.sort((a, b) => a - b)
  return Math.round((values[Math.floor(q * (values.length - 1))] ?? 0) * 1000)
}

process.on('message', (job: Job) => void ask(job).then((measured) => process.send?.(measured)))
